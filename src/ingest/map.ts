import type { JsonObject } from '../json.js';
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
  readonly unusablePhone?: string;
};

export type AcceptedEvent = Accepted & {
  /** ISO 8601. */
  readonly time: string;
  readonly uniqueId: string;
};

/** One element of `events-bulk-create.data`: one event a wrapper, so that Klaviyo's error pointers name one event. */
export function toEventPayload(event: PostedEvent, accepted: AcceptedEvent): JsonObject {
  return {
    type: 'event-bulk-create',
    attributes: {
      // Identifiers only: attributes on a late event would overwrite newer ones.
      profile: { data: { type: 'profile', attributes: toIdentifiers(accepted.identifiers) } },
      events: { data: [{ type: 'event', attributes: toEventAttributes(event, accepted) }] },
    },
  };
}

function toEventAttributes(event: PostedEvent, accepted: AcceptedEvent): JsonObject {
  const hasValue = isGiven(event.value);
  const currency = event.currency?.toUpperCase();
  return {
    properties: toEventProperties(event, accepted),
    time: accepted.time,
    // Revenue reports read these two; the same numbers inside properties are not counted.
    ...(hasValue && { value: event.value }),
    ...(hasValue && isGiven(currency) && { value_currency: currency }),
    unique_id: accepted.uniqueId,
    metric: { data: { type: 'metric', attributes: { name: event.event_name } } },
  };
}

/** A revenue field wins over the same name inside `properties`; a kept phone number does not. */
export function toEventProperties(event: PostedEvent, accepted: Accepted): JsonObject {
  return {
    ...toKeptPhone(accepted),
    ...event.properties,
    ...(isGiven(event.value) && { $value: event.value }),
    ...(isGiven(event.order_id) && { order_id: event.order_id }),
    ...(isGiven(event.total_amount) && { total_amount: event.total_amount }),
    ...(isGiven(event.currency) && { currency: event.currency.toUpperCase() }),
  };
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
  'location',
  'properties',
]);

/** One element of a bulk import's `profiles.data`. */
export function toProfilePayload(profile: PostedProfile, accepted: Accepted): JsonObject {
  const attributes: Record<string, unknown> = toIdentifiers(accepted.identifiers);
  for (const name of attributeNames) {
    if (isGiven(profile[name])) attributes[name] = profile[name];
  }
  // Klaviyo's bulk import does not clear a field for null, so null is the same as absent.
  const location = Object.entries(profile.location ?? {}).filter(([, part]) => isGiven(part));
  if (location.length > 0) attributes.location = Object.fromEntries(location);
  const properties = toProfileProperties(profile, accepted);
  if (Object.keys(properties).length > 0) attributes.properties = properties;
  return { type: 'profile', attributes };
}

/** A field of its own wins over the same name inside `properties`. */
function toProfileProperties(profile: PostedProfile, accepted: Accepted): JsonObject {
  const others = Object.entries(profile).filter(([name]) => !knownNames.has(name));
  return { ...toKeptPhone(accepted), ...profile.properties, ...Object.fromEntries(others) };
}

function toIdentifiers({ email, phoneNumber, externalId }: Identifiers): Record<string, unknown> {
  return {
    ...(email !== undefined && { email }),
    ...(phoneNumber !== undefined && { phone_number: phoneNumber }),
    ...(externalId !== undefined && { external_id: externalId }),
  };
}

function toKeptPhone({ unusablePhone }: Accepted): JsonObject {
  return unusablePhone === undefined ? {} : { [unusablePhoneProperty]: unusablePhone };
}

function isGiven<T>(value: T): value is NonNullable<T> {
  return value !== null && value !== undefined;
}
