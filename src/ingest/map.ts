import { backfillMember, eventEnd } from '../model/backfill.js';
import { stringifyJson, type JsonObject } from '../json/json.js';
import type { PostedEvent, PostedProfile } from './schema.js';
import type { Identifiers } from './identity.js';

/**
 * From what a caller posted to Klaviyo's JSON: the tables of design/interface.md, and nothing else.
 * Pure; every name comes from Klaviyo's OpenAPI (EventsBulkCreateJob, ProfileBulkImportJob).
 */

/** Custom property that keeps a phone number which could not be brought into E.164 form, as it came. */
export const unusablePhoneProperty = 'phone_number_invalid';

/** What accept found out or decided beyond what was posted. */
export type Accepted = {
  readonly identifiers: Identifiers;
  /** A phone number that is none, as it came. */
  readonly unusablePhone?: string | undefined;
};

export type AcceptedEvent = Accepted & {
  /** ISO 8601. */
  readonly time: string;
  readonly uniqueId: string;
  /** Klaviyo records it and triggers no flow with it. */
  readonly backfill: boolean;
};

/**
 * One element of `events-bulk-create.data`, as JSON: one event a wrapper, so that Klaviyo's error
 * pointers name one event. Written as text, since this runs for every event: to build the object
 * first and serialise it takes twice as long (docs/performance.md).
 */
export function toEventText(event: PostedEvent, accepted: AcceptedEvent): string {
  // Identifiers only: attributes on a late event would overwrite newer ones.
  const profile = JSON.stringify(toIdentifiers(accepted.identifiers));
  const properties = toPropertiesText(event, accepted);
  const uniqueId = JSON.stringify(accepted.uniqueId);
  const time = JSON.stringify(accepted.time);
  const metric = JSON.stringify(event.event_name);
  const backfill = accepted.backfill ? backfillMember : '';
  return `{"type":"event-bulk-create","attributes":{"profile":{"data":{"type":"profile","attributes":${profile}}},"events":{"data":[{"type":"event","attributes":{"properties":${properties},"time":${time}${toValueText(event)},"unique_id":${uniqueId},"metric":{"data":{"type":"metric","attributes":{"name":${metric}}}}${backfill}${eventEnd}`;
}

/** Revenue reports read these two; the same numbers inside properties are not counted. */
function toValueText({ value, currency }: PostedEvent): string {
  if (!isGiven(value)) return '';
  const text = `,"value":${stringifyJson(value)}`;
  return isGiven(currency) ? `${text},"value_currency":"${currency.toUpperCase()}"` : text;
}

function toPropertiesText(event: PostedEvent, accepted: Accepted): string {
  const { properties } = event;
  const added = toRevenueProperties(event);
  // A name that is in both must be there once.
  if (!isGiven(properties) || accepted.unusablePhone !== undefined || isAnyIn(added, properties)) {
    return stringifyJson(toEventProperties(event, accepted));
  }
  return joinObjects(stringifyJson(properties), stringifyJson(added));
}

function isAnyIn(added: JsonObject, properties: JsonObject): boolean {
  for (const name in added) if (Object.hasOwn(properties, name)) return true;
  return false;
}

/** Two objects' JSON, as that of one with the members of both. */
function joinObjects(one: string, other: string): string {
  if (one === '{}') return other;
  return other === '{}' ? one : `${one.slice(0, -1)},${other.slice(1)}`;
}

/** A revenue field wins over the same name inside `properties`; a kept phone number does not. */
export function toEventProperties(event: PostedEvent, accepted: Accepted): JsonObject {
  return { ...toKeptPhone(accepted), ...event.properties, ...toRevenueProperties(event) };
}

function toRevenueProperties(event: PostedEvent): JsonObject {
  const added: Record<string, unknown> = {};
  if (isGiven(event.value)) added.$value = event.value;
  if (isGiven(event.order_id)) added.order_id = event.order_id;
  if (isGiven(event.total_amount)) added.total_amount = event.total_amount;
  if (isGiven(event.currency)) added.currency = event.currency.toUpperCase();
  return added;
}

const attributeNames = [
  'first_name',
  'last_name',
  'organization',
  'locale',
  'title',
  'image',
] as const;

const knownNames = new Set<string>([
  ...attributeNames,
  'email',
  'distinct_id',
  'phone_number',
  'anonymous_id',
  'location',
  'properties',
]);

/** One element of a bulk import's `profiles.data`. */
export function toProfilePayload(profile: PostedProfile, accepted: Accepted): JsonObject {
  const attributes: Record<string, unknown> = toIdentifiers(accepted.identifiers);
  for (const name of attributeNames) {
    if (isGiven(profile[name])) attributes[name] = profile[name];
  }
  const location = toGivenMembers(profile.location ?? {});
  if (Object.keys(location).length > 0) attributes.location = location;
  const properties = toProfileProperties(profile, accepted);
  if (Object.keys(properties).length > 0) attributes.properties = properties;
  return { type: 'profile', attributes };
}

/** Klaviyo's bulk import does not clear a field for null, so null is the same as absent. */
function toGivenMembers(object: JsonObject): JsonObject {
  if (Object.values(object).every(isGiven)) return object;
  return Object.fromEntries(Object.entries(object).filter(([, value]) => isGiven(value)));
}

/** A field of its own wins over the same name inside `properties`. */
function toProfileProperties(profile: PostedProfile, accepted: Accepted): JsonObject {
  const properties = profile.properties ?? {};
  const others = Object.keys(profile).filter((name) => !knownNames.has(name));
  // Mostly there is nothing to add, and a copy takes longer than all the rest here.
  if (others.length === 0 && accepted.unusablePhone === undefined) return properties;
  const added = Object.fromEntries(others.map((name) => [name, profile[name]]));
  return { ...toKeptPhone(accepted), ...properties, ...added };
}

function toIdentifiers(identifiers: Identifiers): Record<string, unknown> {
  const { email, phoneNumber, externalId, anonymousId } = identifiers;
  const attributes: Record<string, unknown> = {};
  if (email !== undefined) attributes.email = email;
  if (phoneNumber !== undefined) attributes.phone_number = phoneNumber;
  if (externalId !== undefined) attributes.external_id = externalId;
  if (anonymousId !== undefined) attributes.anonymous_id = anonymousId;
  return attributes;
}

function toKeptPhone({ unusablePhone }: Accepted): JsonObject {
  return unusablePhone === undefined ? {} : { [unusablePhoneProperty]: unusablePhone };
}

function isGiven<T>(value: T): value is NonNullable<T> {
  return value !== null && value !== undefined;
}
