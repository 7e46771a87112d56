import type { ClaimBounds, Draft, Envelope, BatchItem } from '../../src/model/envelope.js';
import type { Delivery } from '../../src/model/delivery.js';
import type { Outcome, Reason, Verdict } from '../../src/model/outcome.js';
import type { SettledEnvelope } from '../../src/model/store.js';
import type { StoreLane } from '../../src/model/lane.js';

/** Where the manual clock starts. */
export const startMs = Date.UTC(2026, 0, 15, 12);

const encoder = new TextEncoder();
const decoder = new TextDecoder();

export const toBytes = (text: string): Uint8Array => encoder.encode(text);
export const toText = ({ payload }: { readonly payload: Uint8Array }): string =>
  decoder.decode(payload);
export const toTexts = (payloads: readonly Uint8Array[]): readonly string[] =>
  payloads.map((payload) => decoder.decode(payload));

/** Number of drafts created: drafts differ in key and text by default. */
let made = 0;

type DraftOverrides = Partial<Omit<Draft, 'payload'>> & { readonly text?: string };

export function aDraft(lane: StoreLane, { text, ...overrides }: DraftOverrides): Draft {
  const number = ++made;
  return {
    lane,
    keys: [`e${lane}-${number}`],
    acceptedAt: startMs,
    payload: toBytes(text ?? `{"n":${number}}`),
    ...overrides,
  };
}

export const anEvent = (overrides: DraftOverrides = {}): Draft => aDraft('events', overrides);
export const aProfile = (overrides: DraftOverrides = {}): Draft => aDraft('profiles', overrides);

/** `count` drafts whose texts are `prefix0`, `prefix1`, … */
export const someEvents = (count: number, prefix = 'n'): readonly Draft[] =>
  Array.from({ length: count }, (_, index) => anEvent({ text: `${prefix}${index}` }));
export const someProfiles = (count: number, prefix = 'n'): readonly Draft[] =>
  Array.from({ length: count }, (_, index) => aProfile({ text: `${prefix}${index}` }));

export function anEnvelope(
  overrides: DraftOverrides & { readonly id?: string; readonly attempts?: number } = {},
): Envelope {
  const { id, attempts = 0, ...draft } = overrides;
  const lane = draft.lane ?? 'events';
  return { ...aDraft(lane, draft), id: id ?? `ev_000000_${made.toString(36)}`, attempts };
}

export const anItem = (...texts: [string, ...string[]]): BatchItem => {
  const [oldest, ...newer] = texts;
  return [anEnvelope({ text: oldest }), ...newer.map((text) => anEnvelope({ text }))];
};

export const someItems = (count: number): readonly BatchItem[] =>
  Array.from({ length: count }, (_, index) => anItem(`n${index}`));

export const aReason = (overrides: Partial<Reason> = {}): Reason => ({
  code: 'server_error',
  detail: 'Internal Server Error',
  ...overrides,
});

export const bounds = (overrides: Partial<ClaimBounds> = {}): ClaimBounds => ({
  maxCount: 1000,
  maxBytes: 5_000_000,
  isolateAfterAttempts: 3,
  ...overrides,
});

export const delivered: Outcome = { kind: 'delivered' };
export const retryable = (afterMs?: number): Outcome => ({
  kind: 'retryable',
  reason: aReason({ status: 500 }),
  ...(afterMs !== undefined && { afterMs }),
});
/** A failure that a record may have caused, without a pointer to the record. */
export const failed: Outcome = {
  kind: 'retryable',
  reason: aReason({ code: 'unavailable', detail: 'Klaviyo answered 500', status: 500 }),
  mayBeContent: true,
};
export const rejected: Outcome = {
  kind: 'rejected',
  reason: aReason({ code: 'invalid', detail: 'Invalid email address', status: 400 }),
};
export const throttled = (afterMs = 1000): Outcome => ({
  kind: 'throttled',
  reason: aReason({ code: 'throttled', status: 429 }),
  afterMs,
});
export const blocked: Outcome = {
  kind: 'blocked',
  reason: aReason({ code: 'not_authenticated', status: 401 }),
};
export const unattributed = (method: 'pointer' | 'bisect' | 'size'): Outcome => ({
  kind: 'unattributed',
  method,
  reason: aReason({ code: 'invalid', detail: 'Something in it is wrong', status: 400 }),
});
export const pending = (ref: string): Outcome => ({ kind: 'pending', ref });

export const ack: Verdict = { kind: 'ack', as: 'delivered' };
export const merged: Verdict = { kind: 'ack', as: 'merged' };
export const deadLetter = (code = 'invalid'): Verdict => ({
  kind: 'dead-letter',
  reason: aReason({ code }),
});
export const retry = (
  afterMs = 0,
  overrides: Partial<Extract<Verdict, { kind: 'retry' }>> = {},
): Verdict => ({ kind: 'retry', afterMs, reason: aReason(), countAttempt: true, ...overrides });

/** The same verdict for every envelope of the items. */
export const settledAs = (
  items: readonly BatchItem[],
  verdict: Verdict,
): readonly SettledEnvelope[] => items.flat().map((envelope) => ({ envelope, verdict }));

let deliveries = 0;

export const aDelivery = (overrides: Partial<Delivery> = {}): Delivery => ({
  id: `dl_${String(++deliveries)}`,
  lane: 'events',
  trigger: 'time',
  at: startMs,
  durationMs: 20,
  count: 1,
  bytes: 100,
  status: 202,
  attempt: 1,
  result: 'delivered',
  delivered: 1,
  merged: 0,
  retried: 0,
  deadLettered: 0,
  reason: null,
  importJob: null,
  ...overrides,
});
