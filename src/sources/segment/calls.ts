import { groupByEntry } from '../../ingest/entries.js';
import { limits } from '../../ingest/limits.js';
import type { SourceWarning } from '../../ingest/source-entry.js';
import { describeIssues, toIssues } from '../../ingest/validation.js';
import { isJsonObject, stringifyJson, type JsonIssue, type JsonObject } from '../../json/json.js';
import type { FindExcess } from '../../json/large.js';
import { asId, asObject } from '../json.js';
import { readTime } from '../time.js';

/**
 * Reads a request body as calls: one call, or a batch of calls. An invalid part of a batch does not affect
 * the others. Bounds keep one request from costing more than its size justifies.
 */

/** Calls of Segment's specification, and `merge` of RudderStack's. */
export const callTypes = [
  'track',
  'identify',
  'page',
  'screen',
  'group',
  'alias',
  'merge',
] as const;
export type CallType = (typeof callTypes)[number];

/** One call of an SDK, with the members of the batch that hold for all calls. */
export type SegmentCall = {
  /** Place in the batch, from 0. */
  readonly index: number;
  readonly type: CallType;
  readonly fields: JsonObject;
  readonly context: JsonObject;
  readonly integrations: JsonObject;
  readonly time: CallTime;
};

/** A part of a batch that is not a call, and the reason. */
export type InvalidCall = {
  readonly index: number;
  readonly code: 'not_valid' | 'unknown_type';
  readonly detail: string;
};

export type ListedCalls =
  | {
      readonly ok: true;
      readonly calls: readonly SegmentCall[];
      readonly invalidCalls: readonly InvalidCall[];
      /** The `messageId` of each part, by its index. */
      readonly messageIds: readonly (string | undefined)[];
    }
  /** The whole body is invalid; `detail` describes the fault. */
  | { readonly ok: false; readonly detail: string };

/** The JSON of a request, and the issues in parts of it. */
export type SegmentBody = { readonly value: unknown; readonly issues: readonly JsonIssue[] };

/** Reads a body that is one call of the type that its path names. */
export function readSingleCall(body: SegmentBody, type: CallType, receivedAt: number): ListedCalls {
  const { value, issues: faults } = body;
  if (faults.length > 0) return { ok: false, detail: describeIssues(toIssues(faults)) };
  if (!isJsonObject(value)) return { ok: false, detail: 'must be a JSON object: one call' };
  const call = createCall({ fields: value, around: {}, index: 0, receivedAt }, type);
  return { ok: true, calls: [call], invalidCalls: [], messageIds: [asId(value.messageId)] };
}

/** Reads a body `{"batch":[…]}`, one call a step. Issues inside a call make only this call invalid. */
export function* readBatchCalls(
  { value, issues: faults }: SegmentBody,
  receivedAt: number,
): Generator<undefined, ListedCalls> {
  const around = asObject(value);
  const { batch } = around;
  const inside = faults.filter(({ path }) => path[0] === 'batch');
  const { byEntry, elsewhere } = groupByEntry(inside, 1);
  const outside = [...faults.filter(({ path }) => path[0] !== 'batch'), ...elsewhere];
  if (!Array.isArray(batch)) {
    const detail = faults.length === 0 ? 'must be {"batch":[…]}' : describeIssues(toIssues(faults));
    return { ok: false, detail };
  }
  if (batch.length > limits.callsPerRequest) {
    return { ok: false, detail: `holds more than ${limits.callsPerRequest} calls` };
  }
  if (outside.length > 0) return { ok: false, detail: describeIssues(toIssues(outside)) };
  if (countSharedChars(around) * batch.length > limits.sharedChars) {
    return { ok: false, detail: 'holds too many calls for what stands beside the batch' };
  }

  const calls: SegmentCall[] = [];
  const invalidCalls: InvalidCall[] = [];
  const messageIds: (string | undefined)[] = [];
  for (const [index, each] of (batch as readonly unknown[]).entries()) {
    const found = byEntry.get(index);
    const read =
      found === undefined
        ? readCall(each, around, { index, receivedAt })
        : createInvalidCall(index, describeIssues(toIssues(found, 2)));
    if ('code' in read) invalidCalls.push(read);
    else calls.push(read);
    messageIds.push(asId(asObject(each).messageId));
    yield;
  }
  return { ok: true, calls, invalidCalls: invalidCalls, messageIds };
}

/** Characters beside the batch that hold for each call. They are copied into each, so their product is bounded. */
function countSharedChars({ context, integrations }: JsonObject): number {
  return stringifyJson({ context, integrations }).length;
}

type Place = { readonly index: number; readonly receivedAt: number };

function readCall(each: unknown, around: JsonObject, place: Place): SegmentCall | InvalidCall {
  if (!isJsonObject(each)) return createInvalidCall(place.index, 'must be a JSON object: one call');
  const type = callTypes.find((known) => known === each.type);
  if (type !== undefined) return createCall({ fields: each, around, ...place }, type);
  const detail = `type must be one of ${callTypes.join(', ')}`;
  return { index: place.index, code: 'unknown_type', detail };
}

function createInvalidCall(index: number, detail: string): InvalidCall {
  return { index, code: 'not_valid', detail };
}

type Found = Place & { readonly fields: JsonObject; readonly around: JsonObject };

/** Creates a call. Its own members override those beside the batch. */
function createCall({ fields, around, index, receivedAt }: Found, type: CallType): SegmentCall {
  const merge = (name: 'context' | 'integrations'): JsonObject =>
    fields[name] === undefined
      ? asObject(around[name])
      : { ...asObject(around[name]), ...asObject(fields[name]) };
  return {
    index,
    type,
    fields,
    context: merge('context'),
    integrations: merge('integrations'),
    time: readCallTime({
      // RudderStack's SDKs write `timestamp` beside the batch alone: the time at which the batch was sent.
      happened: [fields.timestamp, fields.originalTimestamp, around.timestamp],
      // A gateway that sets `receivedAt` has already corrected `timestamp`.
      sent: fields.receivedAt === undefined ? [fields.sentAt, around.sentAt] : [],
      receivedAt,
    }),
  };
}

/**
 * A difference between clocks up to which times are not corrected. SDKs abort a request after 10 s
 * (httpRequestTimeout of analytics-node), so a smaller difference may be the transfer alone. Times of a
 * sender with a correct clock stay as they are, to the millisecond.
 */
const transitMs = 10_000;

export type Times = {
  /** When the call happened, by the sender's clock. The first readable time counts. */
  readonly happened: readonly unknown[];
  /** When the request was sent, by the sender's clock. The first readable time counts. */
  readonly sent: readonly unknown[];
  /** Epoch ms by the clock of the relay. */
  readonly receivedAt: number;
};

export type CallTime = {
  /** ISO 8601 in UTC. Undefined if no readable time was given. */
  readonly time: string | undefined;
  readonly warnings: readonly SourceWarning[];
  /** The unreadable time as it came, as a property. */
  readonly kept: JsonObject;
};

/** Reads when a call happened, corrected by the error of the sender's clock as at Segment (`receivedAt - sentAt`). */
export function readCallTime({ happened, sent, receivedAt }: Times): CallTime {
  const at = findFirstTime(happened);
  const unreadable = happened.find((each) => readTime(each).kind === 'unreadable');
  const kept =
    unreadable === undefined ? {} : { timestamp_invalid: asId(unreadable) ?? unreadable };
  const stand = at === undefined ? 'the time of arrival' : 'the other time of the call';
  const detail = `is no time that can be read: ${stand} counts, and the text is kept as the property timestamp_invalid`;
  const warnings =
    unreadable === undefined ? [] : [{ code: 'unreadable_time', pointer: '/timestamp', detail }];
  if (at === undefined) return { time: undefined, warnings, kept };
  const offMs = receivedAt - (findFirstTime(sent) ?? receivedAt);
  const isOff = Math.abs(offMs) > transitMs;
  const time = new Date(isOff ? correctTime(at, offMs, receivedAt) : at).toISOString();
  return { time, warnings, kept };
}

/** Corrects a time, but never moves it into the future: a time that is ahead already stays. */
function correctTime(at: number, offMs: number, receivedAt: number): number {
  return Math.min(at + offMs, Math.max(at, receivedAt));
}

function findFirstTime(candidates: readonly unknown[]): number | undefined {
  for (const candidate of candidates) {
    const time = readTime(candidate);
    if (time.kind === 'read') return time.at;
  }
  return undefined;
}

/** Finds calls with too many values. The parser does not read such a call to its end. */
export function createCallBounds(): FindExcess {
  let current: { readonly place: unknown; readonly total: number } = { place: null, total: 0 };
  return ({ path, total }) => {
    const [first, second] = path;
    // The list of calls itself has no bound here; each call has its own sum of values.
    if (first === 'batch' && path.length === 1) return null;
    const place = first === 'batch' ? second : first;
    if (place === undefined) return null;
    if (current.place !== place) current = { place, total };
    return total - current.total > limits.valuesPerCall
      ? `has more than ${limits.valuesPerCall} values`
      : null;
  };
}
