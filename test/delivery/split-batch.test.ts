import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { splitBatch } from '../../src/delivery/judge.js';
import type { Outcome, Reason, SplitMethod } from '../../src/model/outcome.js';
import type { BatchItem } from '../../src/model/envelope.js';
import { anEnvelope } from '../support/builders.js';

const reason: Reason = { code: 'rejected', detail: 'no' };
const delivered: Outcome = { kind: 'delivered' };
const rejected: Outcome = { kind: 'rejected', reason };
const unattributed = (method: SplitMethod): Outcome => ({ kind: 'unattributed', method, reason });
const anItem = (): BatchItem => [anEnvelope()];
const items = (count: number): BatchItem[] => Array.from({ length: count }, anItem);

/** Sends parts until nothing is left to send, as the loop does. `limit` is the maximum of items in one request. */
function deliverAll(all: readonly BatchItem[], bad: ReadonlySet<BatchItem>, pointers: boolean) {
  const ends = new Map<BatchItem, Outcome['kind']>();
  const queue: (readonly BatchItem[])[] = [all];
  let requests = 0;
  for (let part = queue.shift(); part !== undefined; part = queue.shift()) {
    requests++;
    const hasBad = part.some((item) => bad.has(item));
    const outcomes = part.map((item): Outcome => {
      if (!hasBad) return delivered;
      if (pointers) return bad.has(item) ? rejected : unattributed('pointer');
      return part.length === 1 ? rejected : unattributed('bisect');
    });
    const { judged, again } = splitBatch(part, outcomes);
    for (const { item, outcome } of judged) {
      expect(ends.has(item)).toBe(false);
      ends.set(item, outcome.kind);
    }
    for (const next of again) expect(next.length).toBeLessThan(part.length);
    queue.unshift(...again);
  }
  return { ends, requests };
}

describe('splitBatch', () => {
  const batch = fc.integer({ min: 1, max: 300 }).chain((count) =>
    fc.record({
      count: fc.constant(count),
      bad: fc.uniqueArray(fc.nat(count - 1), { maxLength: 8 }),
    }),
  );

  it('rejects exactly the bad ones and delivers all others, in at most 2 · bad · log2(n) + 1 requests', () => {
    fc.assert(
      fc.property(batch, fc.boolean(), ({ count, bad }, pointers) => {
        const all = items(count);
        const badOnes = new Set(bad.map((index) => all[index]!));
        const { ends, requests } = deliverAll(all, badOnes, pointers);
        for (const item of all)
          expect(ends.get(item)).toBe(badOnes.has(item) ? 'rejected' : 'delivered');
        const most = pointers ? 2 : 2 * bad.length * Math.ceil(Math.log2(Math.max(2, count))) + 1;
        expect(requests).toBeLessThanOrEqual(most);
      }),
    );
  });

  it('keeps every item, in order, either judged or to be sent again', () => {
    const kinds = fc.array(
      fc.constantFrom<Outcome>(
        delivered,
        rejected,
        unattributed('pointer'),
        unattributed('bisect'),
        unattributed('size'),
      ),
      { minLength: 1, maxLength: 40 },
    );
    fc.assert(
      fc.property(kinds, (outcomes) => {
        const all = items(outcomes.length);
        const { judged, again } = splitBatch(all, outcomes);
        const seen = [...judged.map(({ item }) => item), ...again.flat()];
        expect(new Set(seen)).toEqual(new Set(all));
        expect(seen).toHaveLength(all.length);
        for (const part of again) expect(part.length).toBeLessThan(all.length);
      }),
    );
  });

  it.each([
    ['size', 'size'],
    ['bisect', 'bisect'],
    ['pointer', 'bisect'],
  ] as const)(
    'sends undecided items again in two halves, the first one larger, after %s, and counts it as %s',
    (cause, method) => {
      const all = items(3);
      const split = splitBatch(
        all,
        all.map(() => unattributed(cause)),
      );
      expect(split).toEqual({ judged: [], again: [all.slice(0, 2), all.slice(2)], method });
    },
  );

  it('sends one undecided item again in one batch if the request decided the others', () => {
    const [first, second] = [anItem(), anItem()];
    const { judged, again } = splitBatch([first, second], [delivered, unattributed('bisect')]);
    expect(judged).toEqual([{ item: first, outcome: delivered }]);
    expect(again).toEqual([[second]]);
  });

  it('rejects a single item that is too large', () => {
    const { judged, again } = splitBatch(items(1), [unattributed('size')]);
    expect(again).toEqual([]);
    expect(judged[0]?.outcome).toEqual(rejected);
  });

  it('retries an item without an outcome', () => {
    expect(splitBatch(items(2), [delivered]).judged[1]?.outcome.kind).toBe('retryable');
  });
});
