import { isJsonObject, type JsonObject } from '../../json/json.js';
import { limits } from '../../ingest/limits.js';
import { asId, asObject, asText, compact } from '../json.js';
import type { SegmentCall } from './calls.js';
import { removeConsent } from './consent.js';
import { readCallPerson, mergeTraits } from './person.js';
import type { SourceWarning } from '../../ingest/source-entry.js';

/** Members of an object, of which each can be taken once. */
type TraitReader = {
  /** The first of these that can be read. */
  extract(
    names: readonly string[],
    read?: (value: unknown) => string | undefined,
  ): string | undefined;
  /** What was not taken. */
  rest(): JsonObject;
};

export type ReadProfile = {
  readonly entry: JsonObject;
  readonly warnings: readonly SourceWarning[];
};

/** The profile of an identify call: Segment's reserved traits by Klaviyo's names, the others as they are. */
export function readProfile(call: SegmentCall): ReadProfile {
  const { context } = call;
  const consent = removeConsent(mergeTraits(call));
  const traits = createTraitReader(consent.traits);
  traits.extract(['email']);
  traits.extract(['phone', 'phone_number'], asId);
  const names = extractNames(traits);
  const title = traits.extract(['title']);
  const image = traits.extract(['avatar']);
  const locale = traits.extract(['locale']) ?? asText(context.locale);
  const timezone = traits.extract(['timezone']) ?? asText(context.timezone);
  const { organization, rest: others } = extractCompany(traits.rest());
  const { place, rest: properties } = extractAddress(others);
  const location = compact({ ...place, timezone });
  const entry = compact({
    ...readCallPerson(call),
    ...names,
    title,
    image,
    locale,
    organization,
    location: unlessEmpty(location),
    properties: unlessEmpty(properties),
  });
  return { entry, warnings: consent.warnings };
}

/** `name` is one trait for both, and read only where neither is given. */
function extractNames(traits: TraitReader): JsonObject {
  const first = traits.extract(['firstName', 'first_name']);
  const last = traits.extract(['lastName', 'last_name']);
  if (first !== undefined || last !== undefined) return { first_name: first, last_name: last };
  const name = traits.extract(['name'])?.trim() ?? '';
  if (name.length > limits.nameChars) return { first_name: name };
  const [, given, family] = /^(\S+)\s*(.*)$/s.exec(name) ?? [];
  return { first_name: given, last_name: asText(family) };
}

/** `company` is an object with a name (Segment's specification), or the name itself. */
function extractCompany(traits: JsonObject) {
  const members = createTraitReader(traits);
  const name = members.extract(['company', 'organization']);
  if (name !== undefined) return { organization: name, rest: members.rest() };
  const company = createTraitReader(asObject(traits.company));
  const organization = company.extract(['name']);
  return { organization, rest: replaceTrait(traits, 'company', company.rest()) };
}

function extractAddress(traits: JsonObject) {
  const address = createTraitReader(asObject(traits.address));
  const place = {
    address1: address.extract(['street']),
    city: address.extract(['city']),
    region: address.extract(['state', 'region']),
    zip: address.extract(['postalCode', 'postal_code', 'zip'], asId),
    country: address.extract(['country']),
  };
  return { place, rest: replaceTrait(traits, 'address', address.rest()) };
}

function createTraitReader(object: JsonObject): TraitReader {
  const left = new Map(Object.entries(object));
  return {
    extract(names, read = asText) {
      for (const name of names) {
        const value = read(left.get(name));
        if (value === undefined) continue;
        left.delete(name);
        return value;
      }
      return undefined;
    },
    rest: () => Object.fromEntries(left),
  };
}

/** An object of which something was taken, by what is left of it; anything else stays. */
function replaceTrait(traits: JsonObject, name: string, left: JsonObject): JsonObject {
  if (!isJsonObject(traits[name])) return traits;
  return compact({ ...traits, [name]: unlessEmpty(left) });
}

function unlessEmpty(object: JsonObject): JsonObject | undefined {
  return Object.keys(object).length === 0 ? undefined : object;
}
