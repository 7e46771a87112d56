import type { JsonObject } from '../../json/json.js';
import type { SourceWarning } from '../../ingest/source-entry.js';
import { asId } from '../json.js';
import { readTime } from '../time.js';

/**
 * A difference that says nothing of the sender's clock. SDKs break a request off after 10 s
 * (analytics-node's httpRequestTimeout), so up to that it may be the way here and no more; and the
 * times of a sender with a good clock stay as they are, to the millisecond.
 */
const transitMs = 10_000;

export type Times = {
  /** The first that is a time counts. */
  readonly happened: readonly unknown[];
  /** By the same clock, when the request left; the first that is a time counts. */
  readonly sent: readonly unknown[];
  /** Epoch ms, by ours. */
  readonly receivedAt: number;
};

export type CallTime = {
  /** ISO 8601 in UTC; undefined where no time was given that can be read. */
  readonly time: string | undefined;
  readonly warnings: readonly SourceWarning[];
  /** What is no time, as it came. */
  readonly kept: JsonObject;
};

/**
 * When a call happened, put right by how far the sender's clock is off, as Segment does it
 * (`receivedAt - sentAt`).
 */
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

/** Never on into the future: what a sender with a slow clock dates ahead stays where it is. */
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
