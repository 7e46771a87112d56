import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { DedupeWindow } from '../../src/store/dedupe.js';
import { createManualClock } from '../support/manual-clock.js';

type Known = { key: string; seq: number; at: number; sequence: number };

/** What the window should know: a list that is looked through from end to end. */
class NaiveWindow {
  #known: Known[] = [];

  prune(now: number, { maxAgeMs, maxCount }: { maxAgeMs: number; maxCount: number }): void {
    this.#known = this.#known.filter(({ at }) => at > now - maxAgeMs).slice(-maxCount);
    if (maxCount === 0) this.#known = [];
  }

  find(keys: readonly string[]): number | undefined {
    return keys.map((key) => this.#known.find((known) => known.key === key)?.seq).find(isThere);
  }

  remember(keys: readonly string[], { seq, at, sequence }: Omit<Known, 'key'>): void {
    this.#known = this.#known.filter(({ key }) => !keys.includes(key));
    this.#known.push(...keys.map((key) => ({ key, seq, at, sequence })));
  }

  forget(keys: readonly string[], seq: number): void {
    this.#known = this.#known.filter((known) => !keys.includes(known.key) || known.seq !== seq);
  }

  oldestNote(): number | null {
    return this.#known[0]?.sequence ?? null;
  }
}

const isThere = (seq: number | undefined): boolean => seq !== undefined;

const keys = fc.uniqueArray(fc.nat(60).map(String), { minLength: 1, maxLength: 3 });
const step = fc.oneof(
  { weight: 6, arbitrary: fc.record({ kind: fc.constant('remember' as const), keys }) },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant('forget' as const), keys }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('advance' as const), keys }) },
);

describe('the dedupe window', () => {
  it('behaves like a plain list for any sequence of additions and removals', async () => {
    const bounds = fc.record({ maxAgeMs: fc.constantFrom(0, 5, 1000), maxCount: fc.nat(40) });
    const property = fc.asyncProperty(
      bounds,
      fc.array(step, { maxLength: 300 }),
      async (bound, steps) => {
        const clock = createManualClock();
        const window = new DedupeWindow(bound, clock);
        const naive = new NaiveWindow();
        let seq = 0;
        for (const what of steps) {
          seq++;
          if (what.kind === 'advance') await clock.advance(1);
          const now = clock.monotonic();
          naive.prune(now, bound);
          if (what.kind === 'remember') {
            const known = { at: now, sequence: Math.floor(seq / 4) };
            window.add(what.keys, seq, known);
            naive.remember(what.keys, { seq, ...known });
          } else if (what.kind === 'forget') {
            const known = naive.find(what.keys) ?? 0;
            window.remove(what.keys, known);
            naive.forget(what.keys, known);
          }
          naive.prune(now, bound);
          expect(window.oldestSequence()).toBe(naive.oldestNote());
          for (let key = 0; key <= 60; key++) {
            expect(window.find([String(key)])).toBe(naive.find([String(key)]));
          }
        }
      },
    );
    await fc.assert(property, { numRuns: 60 });
  });

  it('drops each key at the end of its own time, also if an older one is added later', async () => {
    const clock = createManualClock();
    const window = new DedupeWindow({ maxAgeMs: 100, maxCount: 10 }, clock);
    const now = clock.monotonic();
    window.add(['a', 'b'], 1, { at: now, sequence: 7 });
    window.add(['c'], 2, { at: now - 60, sequence: 8 });
    window.add(['d'], 3, { at: now, sequence: 8 });
    const find = () => ['a', 'b', 'c', 'd'].map((key) => window.find([key]));
    expect(find()).toEqual([1, 1, 2, 3]);
    await clock.advance(40);
    expect(find()).toEqual([1, 1, undefined, 3]);
    expect(window.oldestSequence()).toBe(7);
    window.remove(['a', 'b'], 1);
    expect(window.oldestSequence()).toBe(8);
    await clock.advance(60);
    expect(find()).toEqual([undefined, undefined, undefined, undefined]);
    expect(window.oldestSequence()).toBeNull();
  });

  it('has the sequence 0 for keys that are added without one', () => {
    const window = new DedupeWindow({ maxAgeMs: 1000, maxCount: 10 }, createManualClock());
    window.add(['a'], 1);
    expect(window.oldestSequence()).toBe(0);
  });

  it('returns the newer of two events with a key, which only the newer one can remove', () => {
    const window = new DedupeWindow({ maxAgeMs: 1000, maxCount: 10 }, createManualClock());
    window.add(['a'], 1);
    window.add(['a'], 2);
    expect(window.find(['a'])).toBe(2);
    window.remove(['a'], 1);
    expect(window.find(['a'])).toBe(2);
    window.remove(['a'], 2);
    expect(window.find(['a'])).toBeUndefined();
  });

  it('expires a key by its own age after older keys were dropped at the count', async () => {
    const clock = createManualClock();
    const window = new DedupeWindow({ maxAgeMs: 100, maxCount: 2 }, clock);
    window.add(['a'], 1);
    window.add(['b'], 2);
    await clock.advance(50);
    window.add(['c'], 3);
    await clock.advance(49);
    expect(['a', 'b', 'c'].map((key) => window.find([key]))).toEqual([undefined, 2, 3]);
    await clock.advance(1);
    expect(['b', 'c'].map((key) => window.find([key]))).toEqual([undefined, 3]);
  });

  it('finds all keys after it has grown twice', () => {
    const window = new DedupeWindow({ maxAgeMs: 1000, maxCount: 5000 }, createManualClock());
    const all = Array.from({ length: 2050 }, (_, seq) => `k${seq}`);
    all.forEach((key, seq) => window.add([key], seq));
    expect(all.map((key) => window.find([key]))).toEqual(all.map((_, seq) => seq));
    window.remove(['k7'], 7);
    expect(window.find(['k7'])).toBeUndefined();
  });

  it('grows beyond its initial size and drops the oldest keys first', () => {
    const window = new DedupeWindow({ maxAgeMs: 1000, maxCount: 5000 }, createManualClock());
    for (let seq = 0; seq < 20_000; seq++) window.add([`e${seq}`, `p${seq}`], seq);
    expect(window.find(['e17499'])).toBeUndefined();
    expect(window.find(['e17500'])).toBe(17_500);
    expect(window.find(['p19999'])).toBe(19_999);
  });
});
