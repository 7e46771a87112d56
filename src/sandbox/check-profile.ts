/**
 * Checks one profile resource as Klaviyo does, for events, imports, creation and update. Fields are
 * those of Klaviyo's OpenAPI files; size limits are those of its API documentation; revisions.ts
 * has what differs between revisions.
 */

import { isJsonObject } from '../json/json.js';
import type { JsonObject } from '../json/json.js';
import { readString, getOwnMember } from './json.js';
import type { IssueCollector } from './issues.js';
import { checkMemberNames, checkNested, checkResource } from './check-value.js';
import type { Revision } from './revisions.js';

/** The checked content of one profile. Members of `attributes` are as sent. */
export type ProfileInput = {
  /** Klaviyo's own id for the profile; null if the request has none. */
  readonly id: string | null;
  readonly attributes: JsonObject;
  readonly patch: JsonObject | undefined;
};

/** The facts about the request that decide how a profile is checked. */
export type ProfileRules = {
  readonly revision: Revision;
  /** The largest size of the attributes as JSON. */
  readonly maxBytes: number;
  readonly context: 'event' | 'bulk-event' | 'import' | 'create' | 'update';
};

/**
 * Klaviyo's limits: 95 KB inside an event, 100 KB otherwise. The sandbox reads KB as 1000 bytes,
 * which is stricter.
 */
export const maxEventProfileBytes = 95_000;
export const maxProfileBytes = 100_000;

/** Strongest first. When two profiles are merged, the one with the stronger identifier stays. */
export const identifierFields = [
  'external_id',
  'email',
  'phone_number',
  'anonymous_id',
  '_kx',
] as const;
/** Strings or null. */
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
const resourceMembers: Readonly<Record<ProfileRules['context'], ReadonlySet<string>>> = {
  event: new Set(['type', 'id', 'attributes']),
  'bulk-event': new Set(['type', 'id', 'attributes', 'meta']),
  import: new Set(['type', 'id', 'attributes', 'meta']),
  create: new Set(['type', 'attributes']),
  update: new Set(['type', 'id', 'attributes', 'meta']),
};
const metaMembers = new Set(['patch_properties']);
const laterMetaMembers = new Set([...metaMembers, 'patch_identifiers']);

/**
 * Klaviyo publishes no pattern. This one is strict and ASCII: no dot at the start or end or twice
 * in a row, and a domain with a dot.
 */
const emailPattern =
  /^(?!\.)(?!.*\.\.)[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]{1,64}(?<!\.)@(?:[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?\.)+[A-Za-z][A-Za-z0-9-]*[A-Za-z0-9]$/;
/**
 * E.164 with at least seven digits. Whether the number is in use or its region is supported is not
 * checked.
 */
const phonePattern = /^\+[1-9]\d{6,14}$/;

/** RFC 5321 allows at most 254 characters in an address. */
export function isKlaviyoEmail(text: string): boolean {
  return text.length <= 254 && emailPattern.test(text);
}

/** Checks one profile resource. Returns undefined if it has no attributes. */
export function checkProfile(
  value: unknown,
  rules: ProfileRules,
  issues: IssueCollector,
): ProfileInput | undefined {
  const members = resourceMembers[rules.context];
  const found = checkResource(value, { type: 'profile', members }, issues);
  if (found === undefined) return undefined;
  const { resource, attributes } = found;
  issues.within(['attributes'], () => {
    checkProfileAttributes(attributes, rules, issues);
    if (rules.context === 'update') return;
    if (
      !isNotNullish(resource.id) &&
      !identifierFields.some((field) => isNotNullish(attributes[field]))
    ) {
      issues.add('At least one of email, phone_number or external_id is required.');
    }
  });
  checkTextField(resource, 'id', issues);
  const inEvent = rules.context === 'event';
  const meta = inEvent ? attributes.meta : resource.meta;
  issues.within(inEvent ? ['attributes', 'meta'] : ['meta'], () =>
    checkMeta(meta, rules.revision, issues),
  );
  const patch = getOwnMember(meta, 'patch_properties');
  return {
    id: readString(resource.id) ?? null,
    attributes,
    patch: isJsonObject(patch) ? patch : undefined,
  };
}

function checkProfileAttributes(
  attributes: JsonObject,
  rules: ProfileRules,
  issues: IssueCollector,
): void {
  checkMemberNames(attributes, { fields: getProfileFields(rules), resource: 'profile' }, issues);
  checkIdentifiers(attributes, issues);
  for (const field of textFields) checkTextField(attributes, field, issues);
  issues.within(['location'], () => checkLocation(attributes.location, issues));
  const { properties } = attributes;
  const before = issues.errors().length;
  issues.within(['properties'], () => {
    if (properties === undefined || properties === null) return;
    if (!isJsonObject(properties)) issues.add("'properties' must be an object.");
    else checkNested(properties, issues);
  });
  // A value that is nested too deep would exhaust the stack when it is measured.
  if (issues.errors().length > before) return;
  if (isCertainlySmall(attributes, rules.maxBytes)) return;
  if (Buffer.byteLength(JSON.stringify(pickMeasuredFields(attributes))) > rules.maxBytes) {
    issues.add(`The profile must not be larger than ${rules.maxBytes} bytes.`);
  }
}

/**
 * `meta` is one of the attributes at `POST /api/events` and beside them everywhere else (Klaviyo's
 * OpenAPI).
 */
function getProfileFields({ context, revision }: ProfileRules): ReadonlySet<string> {
  switch (context) {
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

/**
 * Saves measuring the usual profile: one UTF-16 unit is at most 6 bytes of JSON, escapes included.
 */
function isCertainlySmall(attributes: JsonObject, maxBytes: number): boolean {
  let units = 0;
  for (const field in attributes) {
    const value = attributes[field];
    if (typeof value !== 'string') return false;
    units += field.length + value.length + 4;
  }
  return units * 6 < maxBytes;
}

/**
 * Returns the known fields alone. Unknown ones already have an issue and may be nested too deep to
 * measure.
 */
function pickMeasuredFields(attributes: JsonObject): JsonObject {
  return Object.fromEntries(
    Object.entries(attributes).filter(
      ([field, value]) =>
        attributeFields.has(field) && (field === 'properties' || !hasDeepMember(value)),
    ),
  );
}

function hasDeepMember(value: unknown): boolean {
  return isJsonObject(value)
    ? Object.values(value).some((member) => typeof member === 'object' && member !== null)
    : Array.isArray(value);
}

/**
 * The texts are recorded in the tests of Klaviyo's mobile SDKs.
 */
export function checkEmailAndPhone(attributes: JsonObject, issues: IssueCollector): void {
  const { email, phone_number: phone } = attributes;
  if (isNotNullish(email) && !(typeof email === 'string' && isKlaviyoEmail(email))) {
    issues.add('Invalid email address', 'email');
  }
  if (isNotNullish(phone) && !(typeof phone === 'string' && phonePattern.test(phone))) {
    issues.add(
      'Invalid phone number format (Example of a valid format: +12345678901)',
      'phone_number',
    );
  }
}

function checkIdentifiers(attributes: JsonObject, issues: IssueCollector): void {
  const { external_id: externalId } = attributes;
  checkEmailAndPhone(attributes, issues);
  if (isNotNullish(externalId) && !isTextUpTo(externalId, 255)) {
    issues.add('external_id must be a string of 1 to 255 characters.', 'external_id');
  }
  checkTextField(attributes, 'anonymous_id', issues);
  checkTextField(attributes, '_kx', issues);
}

/** `patch_identifiers` is checked and has no effect. */
function checkMeta(
  meta: unknown,
  { takesPatchIdentifiers }: Revision,
  issues: IssueCollector,
): void {
  if (!isNotNullish(meta)) return;
  if (!isJsonObject(meta)) {
    issues.add("'meta' must be an object.");
    return;
  }
  const fields = takesPatchIdentifiers ? laterMetaMembers : metaMembers;
  checkMemberNames(meta, { fields, resource: 'profile' }, issues);
  for (const [member, value] of Object.entries(meta)) {
    issues.within([member], () => {
      if (!isJsonObject(value)) issues.add(`'${member}' must be an object.`);
      else {
        checkNested(value, issues);
        if (member === 'patch_properties') checkPatch(value, issues);
      }
    });
  }
}

const patchMembers = new Set(['append', 'unappend', 'unset']);

function checkPatch(patch: JsonObject, issues: IssueCollector): void {
  checkMemberNames(patch, { fields: patchMembers, resource: 'profile' }, issues);
  for (const member of ['append', 'unappend'] as const) {
    const value = patch[member];
    if (isNotNullish(value) && !isJsonObject(value)) {
      issues.add(`'${member}' must be an object.`, member);
    }
  }
  const { unset } = patch;
  const names: readonly unknown[] = Array.isArray(unset) ? unset : [unset];
  if (isNotNullish(unset) && !names.every((name) => typeof name === 'string')) {
    issues.add("'unset' must be a string or a list of strings.", 'unset');
  }
}

export function checkTextField(
  attributes: JsonObject,
  field: string,
  issues: IssueCollector,
): void {
  const value = attributes[field];
  if (isNotNullish(value) && typeof value !== 'string')
    issues.add(`'${field}' must be a string.`, field);
}

function checkLocation(location: unknown, issues: IssueCollector): void {
  if (!isNotNullish(location)) return;
  if (!isJsonObject(location)) {
    issues.add("'location' must be an object.");
    return;
  }
  checkMemberNames(location, { fields: locationFields, resource: 'profile' }, issues);
  for (const field of locationText) checkTextField(location, field, issues);
  for (const field of ['latitude', 'longitude']) {
    const value = location[field];
    if (!isNotNullish(value) || typeof value === 'number' || typeof value === 'string') continue;
    issues.add(`'${field}' must be a number or a string.`, field);
  }
}

/** In a request, null means absent, except where it clears a field. */
export function isNotNullish(value: unknown): boolean {
  return value !== undefined && value !== null;
}

/** The length counts UTF-16 units, the strictest way to count characters. */
export function isTextUpTo(value: unknown, maxLength: number): value is string {
  return typeof value === 'string' && value.length >= 1 && value.length <= maxLength;
}

/** The keys that find a profile, strongest first. Email addresses are compared in lower case. */
export function toIdentifierKeys(id: string | null, attributes: JsonObject): readonly string[] {
  const found: string[] = id === null ? [] : [`id:${id}`];
  for (const field of identifierFields) {
    const value = readString(attributes[field]);
    if (value === undefined) continue;
    found.push(`${field}:${field === 'email' ? value.toLowerCase() : value}`);
  }
  return found;
}
