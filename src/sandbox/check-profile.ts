import type { Blame } from './blame.js';
import { checkKnown, checkNested, toResource } from './check-value.js';
import { isObject, toMember, toText } from './json.js';
import type { JsonObject } from './json.js';
import type { Revision } from './revisions.js';

/** What a request says of one profile, checked. Members of `attributes` are as they were sent. */
export type ProfileInput = {
  /** Klaviyo's own id for the profile; null where the request gave none. */
  readonly id: string | null;
  readonly attributes: JsonObject;
  readonly patch: JsonObject | undefined;
};

/** What the request around a profile decides about it. */
export type ProfileRules = {
  readonly revision: Revision;
  /** Bytes of the attributes as JSON. */
  readonly maxBytes: number;
  readonly within: 'event' | 'bulk-event' | 'import' | 'create' | 'update';
};

/** Klaviyo's limits: 95 KB inside an event, 100 KB for a profile by itself; KB read the strict way. */
export const maxEventProfileBytes = 95_000;
export const maxProfileBytes = 100_000;

/** Strongest first: where two profiles are joined, the one found by the stronger identifier stays. */
export const identifierFields = [
  'external_id',
  'email',
  'phone_number',
  'anonymous_id',
  '_kx',
] as const;
/** Plain text, or null. */
export const textFields = [
  'first_name',
  'last_name',
  'organization',
  'locale',
  'title',
  'image',
] as const;
const locationText = ['address1', 'address2', 'city', 'country', 'region', 'zip', 'timezone', 'ip'];
const locationFields = new Set([...locationText, 'latitude', 'longitude']);
const attributeFields = new Set<string>([
  ...identifierFields,
  ...textFields,
  'location',
  'properties',
]);
const eventAttributeFields = new Set([...attributeFields, 'meta']);
const importAttributeFields = new Set(
  [...attributeFields].filter((field) => field !== 'anonymous_id'),
);
const createdAttributeFields = new Set(
  [...importAttributeFields].filter((field) => field !== '_kx'),
);
const updatedAttributeFields = new Set([...createdAttributeFields, 'anonymous_id']);
const resourceMembers: Readonly<Record<ProfileRules['within'], ReadonlySet<string>>> = {
  event: new Set(['type', 'id', 'attributes']),
  'bulk-event': new Set(['type', 'id', 'attributes', 'meta']),
  import: new Set(['type', 'id', 'attributes', 'meta']),
  create: new Set(['type', 'attributes']),
  update: new Set(['type', 'id', 'attributes', 'meta']),
};
const metaMembers = new Set(['patch_properties']);
const laterMetaMembers = new Set([...metaMembers, 'patch_identifiers']);

/** Klaviyo publishes no form; this is the strict, ASCII one: no dot at a border or twice, a dotted domain. */
const emailForm =
  /^(?!\.)(?!.*\.\.)[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]{1,64}(?<!\.)@(?:[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?\.)+[A-Za-z][A-Za-z0-9-]*[A-Za-z0-9]$/;
/** E.164, from seven digits on. Whether a number is in use or in a supported region is not looked at. */
const phoneForm = /^\+[1-9]\d{6,14}$/;

/** RFC 5321 leaves 254 characters for an address. */
export function isEmail(text: string): boolean {
  return text.length <= 254 && emailForm.test(text);
}

/** Checks one profile resource; undefined where there is nothing to go on with. */
export function checkProfile(
  value: unknown,
  rules: ProfileRules,
  blame: Blame,
): ProfileInput | undefined {
  const members = resourceMembers[rules.within];
  const found = toResource(value, { type: 'profile', members }, blame);
  if (found === undefined) return undefined;
  const { resource, attributes } = found;
  blame.within(['attributes'], () => {
    checkAttributes(attributes, rules, blame);
    if (rules.within === 'update') return;
    if (!isGiven(resource.id) && !identifierFields.some((field) => isGiven(attributes[field]))) {
      blame.add('At least one of email, phone_number or external_id is required.');
    }
  });
  checkText(resource, 'id', blame);
  const inEvent = rules.within === 'event';
  const meta = inEvent ? attributes.meta : resource.meta;
  blame.within(inEvent ? ['attributes', 'meta'] : ['meta'], () =>
    checkMeta(meta, rules.revision, blame),
  );
  const patch = toMember(meta, 'patch_properties');
  return {
    id: toText(resource.id) ?? null,
    attributes,
    patch: isObject(patch) ? patch : undefined,
  };
}

function checkAttributes(attributes: JsonObject, rules: ProfileRules, blame: Blame): void {
  checkKnown(attributes, { fields: toKnownFields(rules), resource: 'profile' }, blame);
  checkIdentifiers(attributes, blame);
  for (const field of textFields) checkText(attributes, field, blame);
  blame.within(['location'], () => checkLocation(attributes.location, blame));
  const { properties } = attributes;
  const before = blame.errors().length;
  blame.within(['properties'], () => {
    if (properties === undefined || properties === null) return;
    if (!isObject(properties)) blame.add("'properties' must be an object.");
    else checkNested(properties, blame);
  });
  // What is nested too deep cannot be measured without running out of stack.
  if (blame.errors().length > before) return;
  if (isSurelySmall(attributes, rules.maxBytes)) return;
  if (Buffer.byteLength(JSON.stringify(toSized(attributes))) > rules.maxBytes) {
    blame.add(`The profile must not be larger than ${rules.maxBytes} bytes.`);
  }
}

/** At `POST /api/events` `meta` is among the attributes, everywhere else beside them (Klaviyo's OpenAPI). */
function toKnownFields({ within, revision }: ProfileRules): ReadonlySet<string> {
  switch (within) {
    case 'event':
      return eventAttributeFields;
    case 'bulk-event':
      return attributeFields;
    case 'import':
      return revision.takesAnonymousIdOnImport ? attributeFields : importAttributeFields;
    case 'create':
      return createdAttributeFields;
    case 'update':
      return revision.takesAnonymousIdOnImport ? updatedAttributeFields : createdAttributeFields;
  }
}

/** Spares the usual profile the measuring: one UTF-16 unit is at most 6 bytes of JSON, escapes included. */
function isSurelySmall(attributes: JsonObject, maxBytes: number): boolean {
  let units = 0;
  for (const field in attributes) {
    const value = attributes[field];
    if (typeof value !== 'string') return false;
    units += field.length + value.length + 4;
  }
  return units * 6 < maxBytes;
}

/** Only the known fields: an unknown one is refused already, and may be nested too deep to measure. */
function toSized(attributes: JsonObject): JsonObject {
  return Object.fromEntries(
    Object.entries(attributes).filter(
      ([field, value]) =>
        attributeFields.has(field) && (field === 'properties' || !hasDeepMember(value)),
    ),
  );
}

function hasDeepMember(value: unknown): boolean {
  return isObject(value)
    ? Object.values(value).some((member) => typeof member === 'object' && member !== null)
    : Array.isArray(value);
}

/** Recorded words for address and phone number (the tests of Klaviyo's own mobile SDKs); ours for the rest. */
function checkIdentifiers(attributes: JsonObject, blame: Blame): void {
  const { email, phone_number: phone, external_id: externalId } = attributes;
  if (isGiven(email) && !(typeof email === 'string' && isEmail(email))) {
    blame.add('Invalid email address', 'email');
  }
  if (isGiven(phone) && !(typeof phone === 'string' && phoneForm.test(phone))) {
    blame.add(
      'Invalid phone number format (Example of a valid format: +12345678901)',
      'phone_number',
    );
  }
  if (isGiven(externalId) && !isTextOf(externalId, 255)) {
    blame.add('external_id must be a string of 1 to 255 characters.', 'external_id');
  }
  checkText(attributes, 'anonymous_id', blame);
  checkText(attributes, '_kx', blame);
}

/** `patch_identifiers` is checked for its form and has no effect. */
function checkMeta(meta: unknown, { takesPatchIdentifiers }: Revision, blame: Blame): void {
  if (!isGiven(meta)) return;
  if (!isObject(meta)) {
    blame.add("'meta' must be an object.");
    return;
  }
  const fields = takesPatchIdentifiers ? laterMetaMembers : metaMembers;
  checkKnown(meta, { fields, resource: 'profile' }, blame);
  for (const [member, value] of Object.entries(meta)) {
    blame.within([member], () => {
      if (isObject(value)) checkNested(value, blame);
      else blame.add(`'${member}' must be an object.`);
    });
  }
}

function checkText(attributes: JsonObject, field: string, blame: Blame): void {
  const value = attributes[field];
  if (isGiven(value) && typeof value !== 'string') blame.add(`'${field}' must be a string.`, field);
}

function checkLocation(location: unknown, blame: Blame): void {
  if (!isGiven(location)) return;
  if (!isObject(location)) {
    blame.add("'location' must be an object.");
    return;
  }
  checkKnown(location, { fields: locationFields, resource: 'profile' }, blame);
  for (const field of locationText) checkText(location, field, blame);
  for (const field of ['latitude', 'longitude']) {
    const value = location[field];
    if (!isGiven(value) || typeof value === 'number' || typeof value === 'string') continue;
    blame.add(`'${field}' must be a number or a string.`, field);
  }
}

/** To Klaviyo, null in a request is as good as nothing, but for clearing a field. */
export function isGiven(value: unknown): boolean {
  return value !== undefined && value !== null;
}

/** Length in UTF-16 units, the strictest way to count characters. */
export function isTextOf(value: unknown, maxLength: number): value is string {
  return typeof value === 'string' && value.length >= 1 && value.length <= maxLength;
}

/** What a profile is found by, strongest first; e-mail addresses are compared in lower case. */
export function toIdentifiers(id: string | null, attributes: JsonObject): readonly string[] {
  const found: string[] = id === null ? [] : [`id:${id}`];
  for (const field of identifierFields) {
    const value = toText(attributes[field]);
    if (value === undefined) continue;
    found.push(`${field}:${field === 'email' ? value.toLowerCase() : value}`);
  }
  return found;
}
