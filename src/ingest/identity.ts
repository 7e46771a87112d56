import { hashIdentifiers, type Identifiers } from '../identity-keys.js';
import { ExactInteger, isGiven } from '../json/json.js';
import { mapPostedLanes, type PostedLane } from '../model/lane.js';
import type { Issue } from '../model/outcome.js';
import type { ToE164 } from './phone.js';
import { identifierFields, type Identifier } from './schema.js';
import { invalidBody, type Invalid } from './validation.js';

/**
 * Which person an entry is about: the identifiers that go to Klaviyo, and the identity keys made of
 * them. Envelopes that share an identity key must not travel in one request.
 */

/** The fields of an event or a profile that identify the person. */
type PostedIdentifiers = {
  readonly email?: string | null | undefined;
  readonly distinct_id?: Identifier | null | undefined;
  readonly phone_number?: string | null | undefined;
  readonly anonymous_id?: Identifier | null | undefined;
};

export type Identified =
  | {
      readonly ok: true;
      readonly identifiers: Identifiers;
      /** The posted phone number if it is not a valid one. A warning says so. */
      readonly unusablePhone?: string | undefined;
      readonly warnings: readonly Issue[];
    }
  | Invalid;

const noWarnings: readonly Issue[] = [];
const phonePointer = '/phone_number';
const unusable =
  'is not a phone number that can be brought into E.164 form, such as +15005550006 (numbers without a + need a country)';

const missingDetails = mapPostedLanes((lane) => describeMissing(identifierFields[lane]));

function describeMissing(fields: readonly string[]): string {
  const last = fields.at(-1) ?? '';
  return fields.length === 1
    ? `needs ${last}`
    : `needs at least one of ${fields.slice(0, -1).join(', ')} and ${last}`;
}

export type IdentifyOptions = {
  readonly lane: PostedLane;
  readonly toE164: ToE164;
  /** Country of the person, if known. */
  readonly place?: string | null | undefined;
};

/**
 * Reads the identifiers of an entry. One bad phone number would fail a whole batch at Klaviyo, so the
 * number is left out with a warning. The entry is invalid only if no other identifier is left.
 */
export function identify(
  posted: PostedIdentifiers,
  { lane, toE164, place }: IdentifyOptions,
): Identified {
  const { email, phone_number: phone } = posted;
  const externalId = toIdText(posted.distinct_id);
  const anonymousId = toIdText(posted.anonymous_id);
  const phoneNumber = isGiven(phone) ? toE164(phone, place) : null;
  const identifiers: { -readonly [name in keyof Identifiers]: Identifiers[name] } = {};
  if (isGiven(email)) identifiers.email = email;
  if (phoneNumber !== null) identifiers.phoneNumber = phoneNumber;
  if (externalId !== undefined) identifiers.externalId = externalId;
  if (anonymousId !== undefined) identifiers.anonymousId = anonymousId;
  const unusablePhone = isGiven(phone) && phoneNumber === null ? phone : undefined;
  if (Object.keys(identifiers).length === 0) {
    return unusablePhone === undefined
      ? invalidBody('', missingDetails[lane])
      : invalidBody(phonePointer, `${unusable}, and it is the only identifier`);
  }
  const warnings =
    unusablePhone === undefined
      ? noWarnings
      : [{ pointer: phonePointer, detail: `${unusable}; it was left out` }];
  return { ok: true, identifiers, unusablePhone, warnings };
}

/** Converts an id to text, the form that Klaviyo accepts. */
export function toIdText(id: Identifier | null | undefined): string | undefined {
  if (!isGiven(id)) return undefined;
  return id instanceof ExactInteger ? id.digits : String(id);
}

/** One key per identifier: Klaviyo may treat two profiles that share an identifier as one person. */
export function toProfileKeys(identifiers: Identifiers): readonly string[] {
  return hashIdentifiers(identifiers);
}

/** One key per identifier: Klaviyo treats two events with the same key as one event. */
export function toEventKeys(
  identifiers: Identifiers,
  metric: string,
  uniqueId: string,
): readonly string[] {
  // The lengths separate the parts: without them two different events could have the same text.
  return hashIdentifiers(identifiers, `${metric.length}:${metric}${uniqueId.length}:${uniqueId}`);
}
