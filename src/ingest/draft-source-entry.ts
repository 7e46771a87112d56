import { z } from 'zod';
import { isGiven, isJsonObject, parseJson, stringifyJson, type JsonObject } from '../json/json.js';
import type { Draft } from '../model/envelope.js';
import { isPostedLane, postedLanes, type PostedLane, type StoreLane } from '../model/lane.js';
import type { Issue } from '../model/outcome.js';
import { draftEntry, encodePayload, type DraftContext, type Drafted } from './draft.js';
import type { SourceEntry, SourcePost, SourceWarning } from './source-entry.js';
import { describeIssues } from './validation.js';

/**
 * Drafts one entry of a source. No sender reads the response, so an entry that cannot be mapped to
 * Klaviyo's JSON is not rejected. Its draft holds all that is needed to ingest it again
 * (`UnmappableEntry`), and is one of:
 *
 * - a draft of the lane `waiting`, if the entry only lacks a person and its `personKeys` may still be
 *   resolved by a later request;
 * - a dead letter of its own lane otherwise.
 */
export type DraftedSourceEntry = {
  readonly index: number;
  /** Lane of the entry. A draft that waits is in the lane `waiting`. */
  readonly lane: PostedLane;
  readonly draft: Draft;
  /** Drafts of lanes beside that of the entry. */
  readonly beside: readonly Draft[];
  /** Not empty: the draft is a dead letter. */
  readonly errors: readonly Issue[];
  readonly warnings: readonly SourceWarning[];
};

/** Reason codes of entries that become dead letters when they are accepted. */
export const unknownPerson = 'unknown_person';
export const invalidEntry = 'not_valid';

const unknownDetail =
  'no request has identified the person; redrive it after a request with its order, payment or customer';
const waitingFullDetail = `WAITING_MAX_COUNT entries wait already, and ${unknownDetail}`;

export type SourceEntryContext = DraftContext & {
  /** Reserves capacity for an entry that waits. Returns false if there is none. Absent: no entry waits. */
  readonly reserveWaiting?: ((bytes: number) => boolean) | undefined;
};

export function draftSourceEntry(
  source: string,
  sourceEntry: SourceEntry,
  context: SourceEntryContext,
): DraftedSourceEntry {
  const { index, lane } = sourceEntry;
  const { drafted, entry, warnings } = draftWithoutBadEmail(sourceEntry, context);
  if (drafted.ok) {
    const phoneWarnings = drafted.warnings.map((issue) => ({ code: 'phone_unusable', ...issue }));
    return {
      index,
      lane,
      draft: drafted.draft,
      beside: drafted.beside ?? [],
      errors: [],
      warnings: [...warnings, ...phoneWarnings],
    };
  }
  const { errors } = drafted;
  const { acceptedAt, reserveWaiting } = context;
  const lacksPerson = lacksOnlyPerson(sourceEntry, context);
  const payload = encodeUnmappable(source, sourceEntry, entry);
  if (lacksPerson && reserveWaiting?.(payload.byteLength) === true) {
    const waiting: Draft = { lane: 'waiting', keys: [], acceptedAt, payload };
    return { index, lane, draft: waiting, beside: [], errors: [], warnings };
  }
  const unknown = reserveWaiting === undefined ? unknownDetail : waitingFullDetail;
  const reason = lacksPerson
    ? { code: unknownPerson, detail: unknown, faults: errors }
    : { code: invalidEntry, detail: describeIssues(errors), faults: errors };
  const deadLetter: Draft = { lane, keys: [], acceptedAt, payload, deadLetterReason: reason };
  return { index, lane, draft: deadLetter, beside: [], errors, warnings };
}

type DraftedWithWarnings = {
  readonly drafted: Drafted;
  readonly entry: JsonObject;
  readonly warnings: readonly SourceWarning[];
};

/**
 * Drafts an entry. Shops store e-mail addresses that are not valid: if another identifier names the
 * person, such an address becomes the property `email_invalid`.
 */
function draftWithoutBadEmail(
  { lane, entry: posted, warnings = [] }: SourceEntry,
  context: DraftContext,
): DraftedWithWarnings {
  const entry = stampEntry(lane, posted, context);
  const drafted = draftEntry(lane, { value: entry, errors: [] }, context);
  const hasProperties = lane === 'events' || lane === 'profiles';
  if (drafted.ok || !hasProperties || drafted.errors.some(({ pointer }) => pointer !== '/email')) {
    return { drafted, entry, warnings };
  }
  const { email, properties, ...rest } = entry;
  const withInvalid = { ...(isJsonObject(properties) && properties), email_invalid: email };
  const value = { ...rest, properties: withInvalid };
  const again = draftEntry(lane, { value, errors: [] }, context);
  if (!again.ok) return { drafted, entry, warnings };
  const emailWarnings = drafted.errors.map(({ pointer, detail }) => ({
    code: 'email_unusable',
    pointer,
    detail: `${detail}; it was kept as the property email_invalid`,
  }));
  return { drafted: again, entry, warnings: [...warnings, ...emailWarnings] };
}

/** Fixes time and id of an event, so that it stays the same event however late it is ingested again. */
function stampEvent(entry: JsonObject, { acceptedAt, newId }: DraftContext): JsonObject {
  return {
    ...entry,
    event_time: entry.event_time ?? new Date(acceptedAt).toISOString(),
    insert_id: entry.insert_id ?? newId(),
  };
}

function stampEntry(lane: PostedLane, entry: JsonObject, context: DraftContext): JsonObject {
  if (lane === 'events') return stampEvent(entry, context);
  if (lane === 'subscribe') return stampDecision(entry, 'consented_at', context);
  if (lane === 'unsubscribe') return stampDecision(entry, 'unsubscribed_at', context);
  return entry;
}

/** Difference between the clocks of a source and of the relay up to which a decision counts as made now. */
const clockToleranceMs = 5 * 60_000;

/**
 * Fixes when the person decided, so that a consent does not become newer while it waits. A time that is
 * ahead of the relay's clock by a little becomes the time of acceptance.
 */
function stampDecision(
  entry: JsonObject,
  field: 'consented_at' | 'unsubscribed_at',
  { acceptedAt }: DraftContext,
): JsonObject {
  const given = entry[field];
  const aheadMs = typeof given === 'string' ? Date.parse(given) - acceptedAt : 0;
  const isNow = !isGiven(given) || (aheadMs > 0 && aheadMs <= clockToleranceMs);
  // A consent from the past needs a time of its own: the time of acceptance is not one.
  if (!isNow || (!isGiven(given) && entry.historical === true)) return entry;
  return { ...entry, [field]: new Date(acceptedAt).toISOString() };
}

/** Returns true if the entry would be valid with an identifier, and has keys under which one may become known. */
function lacksOnlyPerson(
  { lane, entry, personKeys = [] }: SourceEntry,
  context: DraftContext,
): boolean {
  if (personKeys.length === 0) return false;
  const isDecision = lane === 'subscribe' || lane === 'unsubscribe';
  // A person who is known, but has no identifier for the channel, gets none by waiting.
  if (isDecision && (isGiven(entry.email) || isGiven(entry.phone_number))) return false;
  const named = isDecision
    ? { ...entry, ...reachable }
    : { ...entry, distinct_id: entry.distinct_id ?? 'somebody' };
  return draftEntry(lane, { value: named, errors: [] }, context).ok;
}

/** A person with an identifier for each channel. */
const reachable = { email: 'somebody@klaviyo-demo.com', phone_number: '+16175551212' };

/** The stored form of an entry that cannot be mapped to Klaviyo's JSON. */
export type UnmappableEntry = {
  /** Absent in dead letters of an earlier version, whose envelope has the lane. */
  readonly lane?: PostedLane | undefined;
  readonly source: string;
  readonly personKeys: readonly string[];
  readonly idKeys?: readonly string[] | undefined;
  readonly entry: JsonObject;
};

const unmappableSchema = z.object({
  lane: z.enum(postedLanes).optional(),
  source: z.string(),
  personKeys: z.array(z.string()),
  idKeys: z.array(z.string()).optional(),
  entry: z.custom<JsonObject>(isJsonObject),
});

function encodeUnmappable(
  source: string,
  { lane, personKeys = [], idKeys }: SourceEntry,
  entry: JsonObject,
): Uint8Array {
  const unmappable: UnmappableEntry = { lane, source, personKeys, idKeys, entry };
  return encodePayload(stringifyJson(unmappable));
}

/** The post that ingests a stored entry again; null for a payload of another form. */
export function readUnmappable({
  lane: storeLane,
  payload,
  acceptedAt,
}: {
  readonly lane: StoreLane;
  readonly payload: Uint8Array;
  readonly acceptedAt: number;
}): SourcePost | null {
  const parsed = parseJson(Buffer.from(payload).toString());
  const unmappable = unmappableSchema.safeParse(parsed.ok ? parsed.value : null).data;
  if (unmappable === undefined) return null;
  const { source, personKeys, idKeys, entry } = unmappable;
  const lane = isPostedLane(storeLane) ? storeLane : unmappable.lane;
  if (lane === undefined) return null;
  const entries = [{ lane, index: 0, personKeys, ...(idKeys && { idKeys }), entry }];
  return { source, firstAcceptedAt: acceptedAt, entries, people: [], skipped: [] };
}
