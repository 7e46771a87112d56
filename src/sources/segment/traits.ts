import { limits } from '../../ingest/limits.js';
import { profileFieldNames } from '../../ingest/schema.js';
import type { SourceWarning } from '../../ingest/source-entry.js';
import { isJsonObject, stringifyJson, type JsonObject } from '../../json/json.js';
import { asId, asList, asNumeral, asObject, asText, compact } from '../json.js';
import type { SegmentCall } from './calls.js';
import { mergeTraits, readCallPerson } from './person.js';
import { foldSpelling } from './spellings.js';

/**
 * Maps an identify call to a profile: Segment's reserved traits become Klaviyo's fields, and the other
 * traits become properties. Traits about consents are removed: consent.ts reads them.
 */

/** Extracts members of an object. What is left becomes properties. */
type TraitReader = {
  /** Removes and returns the first of these members that can be read. */
  extract(
    names: readonly string[],
    read?: (value: unknown) => string | undefined,
  ): string | undefined;
  /** Returns the members that were not extracted. */
  rest(): JsonObject;
};

export type ReadProfile = {
  readonly entry: JsonObject;
  readonly warnings: readonly SourceWarning[];
};

/** Reads the profile of an identify call. `hasSignal`: the call decides about consents (consent.ts). */
export function readProfile(call: SegmentCall, hasSignal: boolean): ReadProfile {
  const { context } = call;
  const consent = removeConsent(mergeTraits(call), hasSignal);
  const exact = readPatches(consent.traits, call);
  const traits = createTraitReader(exact.traits);
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
    location: omitEmptyTraits(location),
    properties: omitEmptyTraits(properties),
    ...exact.fields,
  });
  return { entry, warnings: [...consent.warnings, ...exact.warnings] };
}

/** Extracts first and last name. The trait `name` is split if neither is given. */
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

/** Replaces an object from which members were extracted by its rest. Any other value stays. */
function replaceTrait(traits: JsonObject, name: string, left: JsonObject): JsonObject {
  if (!isJsonObject(traits[name])) return traits;
  return compact({ ...traits, [name]: omitEmptyTraits(left) });
}

function omitEmptyTraits(object: JsonObject): JsonObject | undefined {
  return Object.keys(object).length === 0 ? undefined : object;
}

/**
 * Traits that ask for a subscription, in the form of `foldSpelling`: those that RudderStack's Klaviyo
 * destination reads (`subscribe`, `listId`, `consent`), and Klaviyo's former `$consent`. As custom
 * properties they would look like a consent that nobody gave to Klaviyo.
 */
const consentNames = new Set(
  'subscribe unsubscribe listid consent consentmethod consenttimestamp consentformid consentformversion consentedat emailconsent smsconsent marketingconsent emailmarketingconsent smsmarketingconsent acceptsmarketing'.split(
    ' ',
  ),
);

const isConsentTrait = (name: string): boolean =>
  consentNames.has(foldSpelling(name.replace(/^\$/, '')));

/** Traits that a signal consists of. */
const signalNames = new Set(['subscribe', 'listid', 'consent', 'smsconsent']);

export type CleanedTraits = {
  readonly traits: JsonObject;
  readonly warnings: readonly SourceWarning[];
};

/** Removes traits about consents, also from a trait `properties`, and warns about those that are no signal. */
export function removeConsent(traits: JsonObject, hasSignal: boolean): CleanedTraits {
  const nested = isJsonObject(traits.properties) ? traits.properties : {};
  const asked = [...listConsentTraits(traits), ...listConsentTraits(nested)];
  if (asked.length === 0) return { traits, warnings: [] };
  const { properties, ...others } = traits;
  const left = isJsonObject(properties) ? dropConsentTraits(properties) : properties;
  const isEmpty = isJsonObject(left) && Object.keys(left).length === 0;
  const unsent = asked.filter(([name]) => !hasSignal || !signalNames.has(foldSpelling(name)));
  const words = unsent.map(([name, value]) => `${name}=${stringifyJson(value)}`).join(', ');
  const detail = `the profile is sent without consent; asked for: ${words.slice(0, maxChars)}`;
  return {
    traits: {
      ...dropConsentTraits(others),
      ...(left !== undefined && !isEmpty && { properties: left }),
    },
    warnings: unsent.length === 0 ? [] : [{ code: 'consent_not_sent', pointer: '/traits', detail }],
  };
}

/**
 * Options of RudderStack's Klaviyo destination in `integrations.Klaviyo`, and the fields of an exact update
 * that they become. They name traits: a custom property is removed, or the value of the trait is added to a
 * list or removed from it.
 */
const patches = [
  ['fieldsToUnset', 'unset'],
  ['fieldsToAppend', 'append'],
  ['fieldsToUnappend', 'unappend'],
] as const;

type ReadPatches = CleanedTraits & {
  /** `unset`, `append` and `unappend` of the profile. */
  readonly fields: JsonObject;
};

/** Reads the changes that a call asks for. Their traits are removed, because they would replace the property. */
function readPatches(traits: JsonObject, { integrations }: SegmentCall): ReadPatches {
  const options = asObject(integrations.Klaviyo);
  const asked = patches.flatMap(([option, field]) =>
    asList(options[option]).map((name) => ({ field, name: asText(name) ?? '' })),
  );
  if (asked.length === 0) return { traits, fields: {}, warnings: [] };
  const usable = asked.filter(
    ({ field, name }, at) =>
      name !== '' &&
      !profileFieldNames.has(name) &&
      (field === 'unset' || isPatchValue(traits[name])) &&
      // Klaviyo defines no order of two changes of one property: the first counts.
      asked.findIndex((each) => each.name === name) === at,
  );
  const listNames = (wanted: string): readonly string[] =>
    usable.flatMap(({ field, name }) => (field === wanted ? [name] : []));
  const selectTraits = (wanted: string): JsonObject =>
    Object.fromEntries(listNames(wanted).map((name) => [name, traits[name]]));
  const names = new Set(asked.map(({ name }) => name));
  const detail = 'names a field of Klaviyo, a trait without a simple value, or one trait twice';
  return {
    traits: Object.fromEntries(Object.entries(traits).filter(([name]) => !names.has(name))),
    fields: dropEmptyFields({
      unset: listNames('unset'),
      append: selectTraits('append'),
      unappend: selectTraits('unappend'),
    }),
    warnings:
      usable.length === asked.length
        ? []
        : [{ code: 'patch_not_sent', pointer: '/integrations/Klaviyo', detail }],
  };
}

/** Klaviyo adds to and removes from lists simple values, or lists of these. */
function isPatchValue(value: unknown): boolean {
  const isSimple = (each: unknown): boolean =>
    ['string', 'boolean'].includes(typeof each) || asNumeral(each) !== undefined;
  return Array.isArray(value) ? value.length > 0 && value.every(isSimple) : isSimple(value);
}

const dropEmptyFields = (fields: JsonObject): JsonObject =>
  Object.fromEntries(
    Object.entries(fields).filter(([, value]) => Object.keys(value as object).length > 0),
  );

/** Maximum characters of the removed traits in the warning. */
const maxChars = 300;

function listConsentTraits(object: JsonObject): [string, unknown][] {
  return Object.entries(object).filter(
    ([name, value]) => isConsentTrait(name) && value !== undefined,
  );
}

function dropConsentTraits(object: JsonObject): JsonObject {
  return Object.fromEntries(Object.entries(object).filter(([name]) => !isConsentTrait(name)));
}
