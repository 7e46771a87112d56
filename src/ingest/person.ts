import type { Issue } from '../model/outcome.js';
import type { Lane } from '../model/lane.js';
import { invalidBody, type Invalid } from './validation-issues.js';
import type { Identifiers } from './identity.js';
import { ExactInteger } from '../json/json.js';
import type { ToE164 } from './phone.js';
import { identifierFields, type Identifier } from './schema.js';

/** The fields of an event or a profile that say whom it is about. */
type Posted = {
  readonly email?: string | null | undefined;
  readonly distinct_id?: Identifier | null | undefined;
  readonly phone_number?: string | null | undefined;
  readonly anonymous_id?: Identifier | null | undefined;
};

/** `unusablePhone`: a phone number that is none, as it came; then there is a warning too. */
export type Identified =
  | {
      readonly ok: true;
      readonly identifiers: Identifiers;
      readonly unusablePhone?: string | undefined;
      readonly warnings: readonly Issue[];
    }
  | Invalid;

const noFaults: readonly Issue[] = [];
const phonePointer = '/phone_number';
const unusable =
  'is not a phone number that can be brought into E.164 form, such as +15005550006 (numbers without a + need a country)';

const missing: Readonly<Record<Lane, string>> = {
  events: toMissing(identifierFields.events),
  profiles: toMissing(identifierFields.profiles),
};

function toMissing(fields: readonly string[]): string {
  return `needs at least one of ${fields.slice(0, -1).join(', ')} and ${fields.at(-1) ?? ''}`;
}

export type IdentifyOptions = {
  readonly lane: Lane;
  readonly toE164: ToE164;
  /** Where the person lives, if known. */
  readonly place?: string | null | undefined;
};

/**
 * One bad phone number would fail a whole batch at Klaviyo, so it is taken out; the rest is refused
 * only where nothing else says whom it is about.
 */
export function identify(posted: Posted, { lane, toE164, place }: IdentifyOptions): Identified {
  const { email, phone_number: phone } = posted;
  const externalId = toIdText(posted.distinct_id);
  const anonymousId = toIdText(posted.anonymous_id);
  const hasPhone = phone !== null && phone !== undefined;
  const phoneNumber = hasPhone ? toE164(phone, place) : null;
  const identifiers: { -readonly [name in keyof Identifiers]: Identifiers[name] } = {};
  if (isGiven(email)) identifiers.email = email;
  if (phoneNumber !== null) identifiers.phoneNumber = phoneNumber;
  if (externalId !== undefined) identifiers.externalId = externalId;
  if (anonymousId !== undefined) identifiers.anonymousId = anonymousId;
  const isUnusable = hasPhone && phoneNumber === null;
  if (Object.keys(identifiers).length > 0) {
    if (!isUnusable) return { ok: true, identifiers, unusablePhone: undefined, warnings: noFaults };
    const warnings = [{ pointer: phonePointer, detail: `${unusable}; it was left out` }];
    return { ok: true, identifiers, unusablePhone: phone, warnings };
  }
  if (isUnusable) {
    return invalidBody(phonePointer, `${unusable}, and it is the only identifier`);
  }
  return invalidBody('', missing[lane]);
}

/** An id as Klaviyo takes it: text. */
export function toIdText(id: Identifier | null | undefined): string | undefined {
  if (id === null || id === undefined) return undefined;
  return id instanceof ExactInteger ? id.digits : String(id);
}

function isGiven<T>(value: T): value is NonNullable<T> {
  return value !== null && value !== undefined;
}
