import { backfillMember, eventEnd } from '../model/backfill.js';
import type { Identifiers } from '../identity-keys.js';
import { isGiven, stringifyJson, type JsonObject } from '../json/json.js';
import {
  profileAttributeNames,
  profileFieldNames,
  type PostedEvent,
  type PostedProfile,
} from './schema.js';

/**
 * Maps a validated event or profile to Klaviyo's JSON. Pure. All names come from Klaviyo's OpenAPI
 * document (EventsBulkCreateJob, ProfileBulkImportJob).
 */

/** Custom property for a phone number that cannot be brought into E.164 form. It has the posted text. */
const unusablePhoneProperty = 'phone_number_invalid';

/** What drafting adds to the posted fields. */
export type Accepted = {
  readonly identifiers: Identifiers;
  /** The posted phone number if it is not a valid one. */
  readonly unusablePhone?: string | undefined;
};

export type AcceptedEvent = Accepted & {
  /** ISO 8601. */
  readonly time: string;
  readonly uniqueId: string;
  /** True: Klaviyo records the event and triggers no flow with it. */
  readonly backfill: boolean;
};

/**
 * One element of `events-bulk-create.data`, as JSON text. Each event has a wrapper of its own, so that
 * Klaviyo's error pointers name one event. Building an object first and serialising it takes twice as
 * long, and this runs for every event (docs/performance.md).
 */
export function toEventText(event: PostedEvent, accepted: AcceptedEvent): string {
  // Identifiers only: attributes on a late event would overwrite newer ones.
  const profile = JSON.stringify(toIdentifierAttributes(accepted.identifiers));
  const properties = toPropertiesText(event, accepted);
  const uniqueId = JSON.stringify(accepted.uniqueId);
  const time = JSON.stringify(accepted.time);
  const metric = JSON.stringify(event.event_name);
  const backfill = accepted.backfill ? backfillMember : '';
  return `{"type":"event-bulk-create","attributes":{"profile":{"data":{"type":"profile","attributes":${profile}}},"events":{"data":[{"type":"event","attributes":{"properties":${properties},"time":${time}${toValueText(event)},"unique_id":${uniqueId},"metric":{"data":{"type":"metric","attributes":{"name":${metric}}}}${backfill}${eventEnd}`;
}

/** Klaviyo's revenue reports read these two members, and not the same numbers inside properties. */
function toValueText({ value, currency }: PostedEvent): string {
  if (!isGiven(value)) return '';
  const text = `,"value":${stringifyJson(value)}`;
  return isGiven(currency) ? `${text},"value_currency":"${currency.toUpperCase()}"` : text;
}

function toPropertiesText(event: PostedEvent, accepted: Accepted): string {
  const { properties } = event;
  const added = toRevenueProperties(event);
  // A name that is in both objects must appear once in the result.
  if (
    !isGiven(properties) ||
    accepted.unusablePhone !== undefined ||
    sharesName(added, properties)
  ) {
    return stringifyJson(toEventProperties(event, accepted));
  }
  return joinObjects(stringifyJson(properties), stringifyJson(added));
}

function sharesName(added: JsonObject, properties: JsonObject): boolean {
  for (const name in added) if (Object.hasOwn(properties, name)) return true;
  return false;
}

/** Joins the JSON texts of two objects to the text of one object with the members of both. */
function joinObjects(one: string, other: string): string {
  if (one === '{}') return other;
  return other === '{}' ? one : `${one.slice(0, -1)},${other.slice(1)}`;
}

/** A revenue field replaces the same name inside `properties`; an unusable phone number does not. */
export function toEventProperties(event: PostedEvent, accepted: Accepted): JsonObject {
  return {
    ...toUnusablePhoneProperty(accepted),
    ...event.properties,
    ...toRevenueProperties(event),
  };
}

function toRevenueProperties(event: PostedEvent): JsonObject {
  const added: Record<string, unknown> = {};
  if (isGiven(event.value)) added.$value = event.value;
  if (isGiven(event.order_id)) added.order_id = event.order_id;
  if (isGiven(event.total_amount)) added.total_amount = event.total_amount;
  if (isGiven(event.currency)) added.currency = event.currency.toUpperCase();
  return added;
}

/** One element of `profiles.data` of a bulk import. */
export function toProfilePayload(
  profile: PostedProfile,
  accepted: Accepted,
): { readonly type: 'profile'; readonly attributes: JsonObject } {
  const attributes: Record<string, unknown> = toIdentifierAttributes(accepted.identifiers);
  for (const name of profileAttributeNames) {
    if (isGiven(profile[name])) attributes[name] = profile[name];
  }
  const location = withoutNulls(profile.location ?? {});
  if (Object.keys(location).length > 0) attributes.location = location;
  const properties = toProfileProperties(profile, accepted);
  if (Object.keys(properties).length > 0) attributes.properties = properties;
  return { type: 'profile', attributes };
}

/** Leaves out null members: Klaviyo's bulk import does not clear a field for null, so null is the same as absent. */
function withoutNulls(object: JsonObject): JsonObject {
  if (Object.values(object).every(isGiven)) return object;
  return Object.fromEntries(Object.entries(object).filter(([, value]) => isGiven(value)));
}

function toProfileProperties(profile: PostedProfile, accepted: Accepted): JsonObject {
  const properties = mergeProperties(profile);
  if (accepted.unusablePhone === undefined) return properties;
  return { ...toUnusablePhoneProperty(accepted), ...properties };
}

/** The posted custom properties. A top-level field replaces the same name inside `properties`. */
export function mergeProperties(profile: PostedProfile): JsonObject {
  const properties = profile.properties ?? {};
  const others = Object.keys(profile).filter((name) => !profileFieldNames.has(name));
  // Most profiles have nothing to add, and a copy takes longer than the rest of this function.
  if (others.length === 0) return properties;
  const added = Object.fromEntries(others.map((name) => [name, profile[name]]));
  return { ...properties, ...added };
}

export function toIdentifierAttributes(identifiers: Identifiers): Record<string, unknown> {
  const { email, phoneNumber, externalId, anonymousId } = identifiers;
  const attributes: Record<string, unknown> = {};
  if (email !== undefined) attributes.email = email;
  if (phoneNumber !== undefined) attributes.phone_number = phoneNumber;
  if (externalId !== undefined) attributes.external_id = externalId;
  if (anonymousId !== undefined) attributes.anonymous_id = anonymousId;
  return attributes;
}

function toUnusablePhoneProperty({ unusablePhone }: Accepted): JsonObject {
  return unusablePhone === undefined ? {} : { [unusablePhoneProperty]: unusablePhone };
}
