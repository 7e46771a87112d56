import type { Envelope } from '../../model/envelope.js';
import type { Settlement } from '../../model/store.js';
import { payloadBytes } from '../claim-builder.js';
import { sortSettlement } from '../sort-settled.js';
import { type Claimed, writeAttemptState } from './claims.js';
import { stringifyDeadLetter } from './dead-letter.js';

/** One envelope: number, claim, verdict (delivered, merged, dead-lettered, retry, waits for its import job), bytes, keys, and for stored text its place (from 1) and the delay in ms. */
type Line = readonly [
  seq: number,
  claim: number,
  verdict: 'd' | 'm' | 'b' | 'r' | 'f',
  weight: number,
  keys: readonly string[],
  text?: number,
  afterMs?: number,
];

export type EncodedSettlement = {
  /** The argument of settle.lua. */
  readonly json: string;
  /** Envelopes that this relay no longer holds after the settlement. */
  readonly released: readonly Claimed[];
  /** Envelopes that this relay keeps, with their new attempt state. */
  readonly polled: readonly Claimed[];
};

/** Encodes a settlement for settle.lua. `find` returns what this relay has claimed. */
export function encodeSettlement(
  { settled, delivery }: Settlement,
  find: (id: string) => Claimed | undefined,
  now: number,
): EncodedSettlement {
  const deliveryId = delivery?.id ?? null;
  // This relay may have claimed an envelope again that others took over: the earlier attempt does not count.
  const current = settled.filter(({ envelope }) => isOfClaim(envelope, find(envelope.id)));
  const sorted = sortSettlement(current, deliveryId, find);
  const { polled } = sorted;
  const texts = new Texts();
  const retries = [...sorted.retries].flatMap(([afterMs, all]) =>
    all.map((one) => toVerdictLine(one, 'r', texts.add(writeAttemptState(one)), afterMs)),
  );
  const lines: readonly Line[] = [
    ...sorted.delivered.map((one) => toVerdictLine(one, 'd')),
    ...sorted.merged.map((one) => toVerdictLine(one, 'm')),
    ...sorted.deadLettered.map(({ queued, reason }) =>
      toVerdictLine(
        queued,
        'b',
        texts.add(stringifyDeadLetter(queued, { reason, deliveryId, deadLetteredAt: now })),
      ),
    ),
    ...retries,
    ...polled.map((one) => toVerdictLine(one, 'f', texts.add(writeAttemptState(one)))),
  ];
  const released = [
    ...sorted.delivered,
    ...sorted.merged,
    ...sorted.deadLettered.map(({ queued }) => queued),
    ...[...sorted.retries.values()].flat(),
  ];
  const [first] = polled;
  const seqs = polled.map(({ seq }) => seq);
  return {
    json: JSON.stringify({
      count: settled.length,
      settled: lines,
      texts: texts.all,
      ended: [...sorted.ended],
      ...(delivery && { delivery: { id: delivery.id, text: JSON.stringify(delivery) } }),
      ...(first && { import: { ref: first.ref, text: JSON.stringify({ delivery, seqs }) } }),
      ...(settled.length === 0 && delivery?.importJob && { following: delivery.importJob.id }),
    }),
    released,
    polled,
  };
}

/** Returns true if this relay holds the envelope by the claim that it was sent under. */
export function isOfClaim(envelope: Envelope, claimed: Claimed | undefined): boolean {
  return claimed !== undefined && 'claim' in envelope && envelope.claim === claimed.claim;
}

function toVerdictLine(
  one: Claimed,
  verdict: Line[2],
  ...rest: readonly [text?: number, afterMs?: number]
): Line {
  return [one.seq, one.claim, verdict, payloadBytes(one), one.keys, ...rest];
}

/** Texts of the settlement; equal ones are stored once. */
class Texts {
  readonly all: string[] = [];
  readonly #places = new Map<string, number>();

  /** Adds a text and returns its place, from 1. */
  add(text: string): number {
    const known = this.#places.get(text);
    if (known !== undefined) return known;
    this.all.push(text);
    this.#places.set(text, this.all.length);
    return this.all.length;
  }
}
