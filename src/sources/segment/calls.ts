import { type JsonIssue, type JsonObject, isJsonObject, stringifyJson } from '../../json/json.js';
import { groupByEntry } from '../../ingest/entries.js';
import { toIssues, describeIssues } from '../../ingest/validation.js';
import { limits } from '../../ingest/limits.js';
import { asId, asObject } from '../json.js';
import { readCallTime, type CallTime } from './time.js';

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

/** One call of an SDK, with what the batch around it says for all of its calls. */
export type SegmentCall = {
  /** Place in the batch, from 0. */
  readonly index: number;
  readonly type: CallType;
  readonly fields: JsonObject;
  readonly context: JsonObject;
  readonly integrations: JsonObject;
  readonly time: CallTime;
};

/** A part of a batch that is no call at all, and why. */
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
      /** By index, where there is one. */
      readonly messageIds: readonly (string | undefined)[];
    }
  /** Nothing can be taken from it; `detail` says why. */
  | { readonly ok: false; readonly detail: string };

/** A request's JSON, and what is wrong with it in places. */
export type SegmentBody = { readonly value: unknown; readonly issues: readonly JsonIssue[] };

/** A body that is one call; its path says of which type. */
export function readSingleCall(body: SegmentBody, type: CallType, receivedAt: number): ListedCalls {
  const { value, issues: faults } = body;
  if (faults.length > 0) return { ok: false, detail: describeIssues(toIssues(faults)) };
  if (!isJsonObject(value)) return { ok: false, detail: 'must be a JSON object: one call' };
  const call = createCall({ fields: value, around: {}, index: 0, receivedAt }, type);
  return { ok: true, calls: [call], invalidCalls: [], messageIds: [asId(value.messageId)] };
}

/** `{"batch":[…]}`, a call a step. What is wrong inside one call stays with it. */
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
  const noCalls: InvalidCall[] = [];
  const messageIds: (string | undefined)[] = [];
  for (const [index, each] of (batch as readonly unknown[]).entries()) {
    const found = byEntry.get(index);
    const read =
      found === undefined
        ? readCall(each, around, { index, receivedAt })
        : createInvalidCall(index, describeIssues(toIssues(found, 2)));
    if ('code' in read) noCalls.push(read);
    else calls.push(read);
    messageIds.push(asId(asObject(each).messageId));
    yield;
  }
  return { ok: true, calls, invalidCalls: noCalls, messageIds };
}

/** What stands beside a batch counts for each of its calls, so that it is copied as often. */
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

/** What the call says itself wins over what stands beside the batch. */
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
      // RudderStack's SDKs write `timestamp` beside the batch alone: it is when that was sent.
      happened: [fields.timestamp, fields.originalTimestamp, around.timestamp],
      // A gateway it came through has put `timestamp` right already.
      sent: fields.receivedAt === undefined ? [fields.sentAt, around.sentAt] : [],
      receivedAt,
    }),
  };
}
