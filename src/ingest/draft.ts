import type { Clock } from '../clock.js';
import { isGiven, isJsonObject, stringifyJson } from '../json/json.js';
import type { Draft } from '../model/envelope.js';
import type { PostedLane } from '../model/lane.js';
import type { Issue } from '../model/outcome.js';
import { draftErasure } from './draft-erasure.js';
import { draftListMembers, findListIssues } from './draft-list-members.js';
import { draftSubscription, draftUnsubscription } from './draft-subscription.js';
import { draftSuppression, draftUnsuppression } from './draft-suppression.js';
import type { Entry } from './entries.js';
import {
  exactRequestBytes,
  findExactIssues,
  readExactUpdate,
  toExactPayload,
} from './exact-profile.js';
import { identify, toEventKeys, toIdText, toProfileKeys } from './identity.js';
import { limits } from './limits.js';
import { toEventProperties, toEventText, toProfilePayload, type Accepted } from './map.js';
import type { ToE164 } from './phone.js';
import { eventSchema, notAnEntry, profileSchema, type PostedEvent } from './schema.js';
import {
  capIssues,
  createCheck,
  findPropertyIssues,
  invalidBody,
  type Invalid,
} from './validation.js';

/**
 * Drafting: one entry is validated, mapped to Klaviyo's JSON and serialised. The result is what the
 * store appends. An event gets its `time` and `unique_id` here, and both never change again. Drafting
 * does no I/O.
 */

/** What Klaviyo accepts of an event, as far as its revisions differ. */
export type EventRules = {
  /** Names directly under an event's properties, those that the mapping adds included. */
  readonly maxEventProperties: number;
  /** Epoch ms. */
  readonly earliestEventTime: number;
};

/** What holds for all entries of a request. */
export type RequestTerms = {
  /** Epoch ms. */
  readonly acceptedAt: number;
  /** Epoch ms. Klaviyo records earlier events without triggering flows (backfill). */
  readonly backfillBefore: number;
  readonly rules: EventRules;
};

export type TermsDeps = {
  readonly clock: Pick<Clock, 'now'>;
  /** Rules of the revision in use, which may change while the relay runs. */
  readonly eventRules: () => EventRules;
  /** BACKFILL_AFTER: the age at acceptance, in ms, beyond which an event is backfilled. Infinity: no event is. */
  readonly backfillAfterMs: number;
};

/**
 * Fixes the terms of a request when it arrives.
 *
 * `backfill`: what the caller requested for all events; absent: the age of each event decides.
 * `firstAcceptedAt`: epoch ms of the first acceptance, for entries that are ingested again.
 */
export function fixTerms(
  { clock, eventRules, backfillAfterMs }: TermsDeps,
  request: {
    readonly backfill?: boolean | undefined;
    readonly firstAcceptedAt?: number | undefined;
  },
): RequestTerms {
  const acceptedAt = clock.now();
  const { backfill, firstAcceptedAt = acceptedAt } = request;
  const requested = backfill === true ? Infinity : -Infinity;
  const backfillBefore = backfill === undefined ? firstAcceptedAt - backfillAfterMs : requested;
  return { acceptedAt, backfillBefore, rules: eventRules() };
}

/** What drafting needs besides the entry. */
export type DraftContext = RequestTerms & {
  /** Returns a new unique_id. */
  readonly newId: () => string;
  readonly toE164: ToE164;
  /** The caller's Idempotency-Key. An event's own insert_id has priority. */
  readonly idempotencyKey?: string | undefined;
  /** True: a null in a profile clears. False or absent: the sender has no value, and nothing is cleared. */
  readonly nullClears?: boolean | undefined;
};

/** A draft, or the issues of the entry. Pointers start at the entry. */
export type Drafted =
  | {
      readonly ok: true;
      readonly draft: Draft;
      /** Drafts of lanes beside that of the entry, which are stored with it or not at all. */
      readonly beside?: readonly Draft[];
      readonly warnings: readonly Issue[];
    }
  | Invalid;

/** Validates, maps and serialises one entry of a lane. */
export function draftEntry(lane: PostedLane, entry: Entry, context: DraftContext): Drafted {
  if (entry.errors.length > 0) return { ok: false, errors: entry.errors };
  return drafters[lane](entry.value, context);
}

const drafters: Readonly<Record<PostedLane, (entry: unknown, context: DraftContext) => Drafted>> = {
  events: draftEvent,
  profiles: draftProfile,
  subscribe: draftSubscription,
  unsubscribe: draftUnsubscription,
  suppress: draftSuppression,
  unsuppress: draftUnsuppression,
  erase: draftErasure,
};

const checkPostedEvent = createCheck(eventSchema, 'an event');

function draftEvent(entry: unknown, context: DraftContext): Drafted {
  if (!isJsonObject(entry)) return invalidBody('', notAnEntry.events);
  const checked = checkPostedEvent(entry);
  if (!checked.ok) return checked;
  const event = checked.value;
  const person = identify(event, { lane: 'events', toE164: context.toE164 });
  if (!person.ok) return person;
  const errors = findEventIssues(event, person, context);
  if (errors.length > 0) return { ok: false, errors: capIssues(errors) };

  const { acceptedAt, backfillBefore } = context;
  const time = event.event_time ?? new Date(acceptedAt).toISOString();
  // Klaviyo's own default is the second of the event: it would drop a second event in the same second.
  const uniqueId = toIdText(event.insert_id) ?? context.idempotencyKey ?? context.newId();
  const { identifiers, unusablePhone, warnings } = person;
  const happenedAt = isGiven(event.event_time) ? Date.parse(event.event_time) : acceptedAt;
  const backfill = happenedAt < backfillBefore;
  const payload = encodePayload(
    toEventText(event, { identifiers, unusablePhone, time, uniqueId, backfill }),
  );
  if (payload.length > limits.eventBytes) {
    return invalidBody('', `is longer than ${limits.eventBytes} bytes`);
  }
  const keys = toEventKeys(identifiers, event.event_name, uniqueId);
  return { ok: true, draft: { lane: 'events', keys, acceptedAt, payload }, warnings };
}

/** Names that the mapping can add to an event's properties: four of revenue and an unusable phone number. */
const addedProperties = 5;

/** Finds what the schema cannot express: it depends on the time, on the mapping, or on depth. */
function findEventIssues(
  event: PostedEvent,
  accepted: Accepted,
  { acceptedAt, rules, idempotencyKey }: DraftContext,
): readonly Issue[] {
  const issues: Issue[] = [];
  if (isGiven(event.event_time)) {
    const at = Date.parse(event.event_time);
    if (at < rules.earliestEventTime) {
      const year = new Date(rules.earliestEventTime).getUTCFullYear();
      issues.push({ pointer: '/event_time', detail: `is before ${year}` });
    } else if (at > acceptedAt + limits.futureMs) {
      issues.push({ pointer: '/event_time', detail: 'is more than a year ahead' });
    }
  }
  const key = isGiven(event.insert_id) ? undefined : idempotencyKey;
  if (key !== undefined && (key === '' || key.length > limits.uniqueIdChars)) {
    const detail = `the Idempotency-Key header must have 1 to ${limits.uniqueIdChars} characters`;
    issues.push({ pointer: '', detail });
  }
  if (!isGiven(event.properties)) return issues;
  const posted = Object.keys(event.properties).length;
  if (
    posted + addedProperties > rules.maxEventProperties &&
    Object.keys(toEventProperties(event, accepted)).length > rules.maxEventProperties
  ) {
    const detail = `has more than ${rules.maxEventProperties} properties, with those that other fields add`;
    issues.push({ pointer: '/properties', detail });
  }
  issues.push(...findPropertyIssues(event.properties));
  return issues;
}

const checkPostedProfile = createCheck(profileSchema, 'a profile');

/** A profile becomes a part of a bulk import, or an exact update with a request of its own. */
function draftProfile(
  entry: unknown,
  { toE164, acceptedAt, nullClears = false }: DraftContext,
): Drafted {
  if (!isJsonObject(entry)) return invalidBody('', notAnEntry.profiles);
  const checked = checkPostedProfile(entry);
  if (!checked.ok) return checked;
  const profile = checked.value;
  const place = profile.location?.country;
  const person = identify(profile, { lane: 'profiles', toE164, place });
  if (!person.ok) return person;
  const exact = readExactUpdate(profile, nullClears);
  const errors = [...(exact === null ? [] : findExactIssues(profile)), ...findListIssues(profile)];
  if (errors.length > 0) return { ok: false, errors };
  const imported = toProfilePayload(profile, person);
  const payload = encodePayload(
    stringifyJson(exact === null ? imported : toExactPayload(imported, exact)),
  );
  const maxBytes = limits.profileBytes - (exact === null ? 0 : exactRequestBytes);
  if (payload.length > maxBytes) {
    return invalidBody('', `is longer than ${limits.profileBytes} bytes`);
  }
  const keys = toProfileKeys(person.identifiers);
  const { warnings } = person;
  const lane = exact === null ? 'profiles' : 'update_profile';
  const beside = draftListMembers(profile, person.identifiers, acceptedAt);
  return { ok: true, draft: { lane, keys, acceptedAt, payload }, beside, warnings };
}

/**
 * Encodes a payload as UTF-8. Small payloads are slices of a shared pool (Buffer.poolSize), which takes
 * half the time. A slice keeps its whole pool in memory, so that a part that keeps a payload for long
 * must copy it.
 */
export function encodePayload(text: string): Uint8Array {
  return Buffer.from(text);
}
