import { isJsonObject, type JsonObject } from '../../json/json.js';
import { limits } from '../../ingest/limits.js';
import { asId, asObject, asText, compact } from '../json.js';
import type { SegmentCall } from './calls.js';
import { takeConsent } from './consent.js';
import { toPerson, toTraits } from './person.js';
import type { SourceWarning } from '../../ingest/source-entry.js';

/** Members of an object, of which each can be taken once. */
type Members = {
  /** The first of these that can be read. */
  take(names: readonly string[], read?: (value: unknown) => string | undefined): string | undefined;
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
  const consent = takeConsent(toTraits(call));
  const traits = toMembers(consent.traits);
  traits.take(['email']);
  traits.take(['phone', 'phone_number'], asId);
  const names = takeNames(traits);
  const title = traits.take(['title']);
  const image = traits.take(['avatar']);
  const locale = traits.take(['locale']) ?? asText(context.locale);
  const timezone = traits.take(['timezone']) ?? asText(context.timezone);
  const { organization, rest: others } = takeCompany(traits.rest());
  const { place, rest: properties } = takeAddress(others);
  const location = compact({ ...place, timezone });
  const entry = compact({
    ...toPerson(call),
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
function takeNames(traits: Members): JsonObject {
  const first = traits.take(['firstName', 'first_name']);
  const last = traits.take(['lastName', 'last_name']);
  if (first !== undefined || last !== undefined) return { first_name: first, last_name: last };
  const name = traits.take(['name'])?.trim() ?? '';
  if (name.length > limits.nameChars) return { first_name: name };
  const [, given, family] = /^(\S+)\s*(.*)$/s.exec(name) ?? [];
  return { first_name: given, last_name: asText(family) };
}

/** `company` is an object with a name (Segment's specification), or the name itself. */
function takeCompany(traits: JsonObject) {
  const members = toMembers(traits);
  const name = members.take(['company', 'organization']);
  if (name !== undefined) return { organization: name, rest: members.rest() };
  const company = toMembers(asObject(traits.company));
  const organization = company.take(['name']);
  return { organization, rest: replace(traits, 'company', company.rest()) };
}

function takeAddress(traits: JsonObject) {
  const address = toMembers(asObject(traits.address));
  const place = {
    address1: address.take(['street']),
    city: address.take(['city']),
    region: address.take(['state', 'region']),
    zip: address.take(['postalCode', 'postal_code', 'zip'], asId),
    country: address.take(['country']),
  };
  return { place, rest: replace(traits, 'address', address.rest()) };
}

function toMembers(object: JsonObject): Members {
  const left = new Map(Object.entries(object));
  return {
    take(names, read = asText) {
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
function replace(traits: JsonObject, name: string, left: JsonObject): JsonObject {
  if (!isJsonObject(traits[name])) return traits;
  return compact({ ...traits, [name]: unlessEmpty(left) });
}

function unlessEmpty(object: JsonObject): JsonObject | undefined {
  return Object.keys(object).length === 0 ? undefined : object;
}
