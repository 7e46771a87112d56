import { asText } from '../json.js';

/** ISO 8601, as Segment's specification asks for; a time without an offset counts as UTC. */
const iso =
  /^(\d{4}-\d{2}-\d{2})(?:[T ](\d{2}:\d{2}(?::\d{2}(?:[.,]\d{1,9})?)?)(Z|[+-]\d{2}(?::?\d{2})?)?)?$/i;

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

/**
 * When a call happened, put right by how far the sender's clock is off, as Segment does it
 * (`receivedAt - sentAt`). ISO 8601 in UTC; undefined where no time was given.
 */
export function toTime({ happened, sent, receivedAt }: Times): string | undefined {
  const at = findTime(happened);
  if (at === undefined) return undefined;
  const offMs = receivedAt - (findTime(sent) ?? receivedAt);
  const isOff = Math.abs(offMs) > transitMs;
  return new Date(isOff ? shift(at, offMs, receivedAt) : at).toISOString();
}

/** Never on into the future: what a sender with a slow clock dates ahead stays where it is. */
function shift(at: number, offMs: number, receivedAt: number): number {
  return Math.min(at + offMs, Math.max(at, receivedAt));
}

function findTime(candidates: readonly unknown[]): number | undefined {
  for (const candidate of candidates) {
    const at = toEpochMs(candidate);
    if (at !== undefined) return at;
  }
  return undefined;
}

function toEpochMs(value: unknown): number | undefined {
  const [, date, time = '00:00', offset = 'Z'] = iso.exec(asText(value)?.trim() ?? '') ?? [];
  if (date === undefined) return undefined;
  const [, hours, minutes = '00'] = /^([+-]\d{2}):?(\d{2})?$/.exec(offset) ?? [];
  const zone = hours === undefined ? 'Z' : `${hours}:${minutes}`;
  const at = Date.parse(`${date}T${time.replace(',', '.')}${zone}`);
  return Number.isNaN(at) ? undefined : at;
}
