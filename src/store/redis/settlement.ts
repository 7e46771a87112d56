import type { Envelope } from '../../model/envelope.js';
import type { Settlement } from '../../model/store.js';
import { payloadBytes } from '../claim-builder.js';
import { sortSettled } from '../sort-settled.js';
import { writeAttemptState, type Claimed } from './claimed.js';
import { encodeDeadLetter } from './dead-letter.js';

/** One envelope: number, the claim that it is of, verdict, bytes, keys, and for what is kept the place of its text (from 1) and its delay in ms. */
type Line = readonly [
  seq: number,
  claim: number,
  verdict: 'd' | 'm' | 'b' | 'r' | 'f',
  weight: number,
  keys: readonly string[],
  text?: number,
  afterMs?: number,
];

export type PackedSettlement = {
  /** For the script. */
  readonly json: string;
  /** What this relay holds no more once it is done. */
  readonly gone: readonly Claimed[];
  /** What it holds on to, with what is known since. */
  readonly followed: readonly Claimed[];
};

/** A settlement as the script takes it. `find` gives what this relay has claimed. */
export function packSettlement(
  { settled, delivery }: Settlement,
  find: (id: string) => Claimed | undefined,
  now: number,
): PackedSettlement {
  const deliveryId = delivery?.id ?? null;
  // What others took over and gave back may be claimed here again: the earlier attempt is not of that claim.
  const current = settled.filter(({ envelope }) => isOfClaim(envelope, find(envelope.id)));
  const sorted = sortSettled(current, deliveryId, find);
  const { followed } = sorted;
  const texts = new Texts();
  const back = [...sorted.back].flatMap(([afterMs, all]) =>
    all.map((one) => toLine(one, 'r', texts.add(writeAttemptState(one)), afterMs)),
  );
  const lines: readonly Line[] = [
    ...sorted.delivered.map((one) => toLine(one, 'd')),
    ...sorted.merged.map((one) => toLine(one, 'm')),
    ...sorted.buried.map(({ queued, reason }) =>
      toLine(
        queued,
        'b',
        texts.add(encodeDeadLetter(queued, { reason, deliveryId, deadLetteredAt: now })),
      ),
    ),
    ...back,
    ...followed.map((one) => toLine(one, 'f', texts.add(writeAttemptState(one)))),
  ];
  const gone = [
    ...sorted.delivered,
    ...sorted.merged,
    ...sorted.buried.map(({ queued }) => queued),
    ...[...sorted.back.values()].flat(),
  ];
  const [first] = followed;
  const seqs = followed.map(({ seq }) => seq);
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
    gone,
    followed,
  };
}

/** Whether it is held by the claim that gave it out, and not by a later one. */
export function isOfClaim(envelope: Envelope, held: Claimed | undefined): boolean {
  return held !== undefined && 'claim' in envelope && envelope.claim === held.claim;
}

function toLine(
  one: Claimed,
  verdict: Line[2],
  ...rest: readonly [text?: number, afterMs?: number]
): Line {
  return [one.seq, one.claim, verdict, payloadBytes(one), one.keys, ...rest];
}

/** Those alike are sent once. */
class Texts {
  readonly all: string[] = [];
  readonly #places = new Map<string, number>();

  /** Its place, from 1. */
  add(text: string): number {
    const known = this.#places.get(text);
    if (known !== undefined) return known;
    this.all.push(text);
    this.#places.set(text, this.all.length);
    return this.all.length;
  }
}
