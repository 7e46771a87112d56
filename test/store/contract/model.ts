import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { isLane, mapStoreLanes, storeLanes, type StoreLane } from '../../../src/model/lane.js';
import type { Fact } from '../../../src/model/fact.js';
import type { BatchItem } from '../../../src/model/envelope.js';
import type { Verdict } from '../../../src/model/outcome.js';
import {
  ack,
  aDelivery,
  aDraft,
  aReason,
  bounds,
  deadLetter,
  retry,
  settledAs,
} from '../../support/builders.js';
import {
  append,
  atMost,
  expectBalanced,
  type OpenStore,
  type StoreUnderTest,
  wideBounds,
} from './harness.js';
import { NaiveFacts } from './naive-facts.js';
import { type Fate, NaiveStore } from './naive-store.js';

type Drafted = { readonly keys: readonly string[]; readonly isBuried: boolean };

/** What becomes of one item in flight. */
type Wanted = { readonly nth: number; readonly fate: Fate; readonly delayMs: number };

type Op =
  | { readonly kind: 'append'; readonly drafts: readonly Drafted[] }
  | { readonly kind: 'putFacts'; readonly facts: readonly Fact[] }
  | { readonly kind: 'claim'; readonly maxCount: number; readonly maxBytes: number }
  | { readonly kind: 'settle'; readonly together: readonly Wanted[]; readonly isRepeated: boolean }
  | { readonly kind: 'settleAgain'; readonly nth: number }
  | { readonly kind: 'redrive' }
  | { readonly kind: 'discard' }
  | { readonly kind: 'advance'; readonly ms: number }
  | { readonly kind: 'crash' };

type Step = { readonly lane: StoreLane; readonly op: Op };

const maxDelayMs = 50;
/** At most one key of a kind, as a person has. */
const keys = fc
  .tuple(
    fc.constantFrom('ea', 'eb', 'ec', null),
    fc.constantFrom('xa', 'xb', null),
    fc.constantFrom('p1', null, null),
  )
  .map((all) => all.filter((key) => key !== null))
  .filter(({ length }) => length > 0);
const drafted: fc.Arbitrary<Drafted> = fc.record({
  keys,
  isBuried: fc.constantFrom(true, false, false, false),
});
const maxFacts = 4;
const fact: fc.Arbitrary<Fact> = fc.record({
  kind: fc.constant('order' as const),
  key: fc.constantFrom('a', 'b', 'c', 'd', 'e', 'f', 'g', 'h'),
  value: fc.constantFrom('1', '1', '2'),
});
const fate = fc.constantFrom<Fate>('ack', 'ack', 'dead-letter', 'retry', 'alone');

const wanted: fc.Arbitrary<Wanted> = fc.record({
  nth: fc.nat(9),
  fate,
  delayMs: fc.integer({ min: 0, max: maxDelayMs }),
});

const op: fc.Arbitrary<Op> = fc.oneof(
  {
    weight: 6,
    arbitrary: fc.record({
      kind: fc.constant('append' as const),
      drafts: fc.array(drafted, { minLength: 1, maxLength: 4 }),
    }),
  },
  {
    weight: 2,
    arbitrary: fc.record({
      kind: fc.constant('putFacts' as const),
      facts: fc.array(fact, { maxLength: 6 }),
    }),
  },
  {
    weight: 5,
    arbitrary: fc.record({
      kind: fc.constant('claim' as const),
      maxCount: fc.constantFrom(1, 2, 5, 1000),
      maxBytes: fc.constantFrom(1, 20, 60, 1_000_000),
    }),
  },
  {
    weight: 8,
    arbitrary: fc.record({
      kind: fc.constant('settle' as const),
      together: fc.array(wanted, { minLength: 1, maxLength: 3 }),
      isRepeated: fc.constantFrom(true, false, false, false),
    }),
  },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant('advance' as const), ms: fc.nat(60) }) },
  {
    weight: 1,
    arbitrary: fc.record({ kind: fc.constant('settleAgain' as const), nth: fc.nat(9) }),
  },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('redrive' as const) }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('discard' as const) }) },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant('crash' as const) }) },
);

/** Lanes without groups, and without an order across lanes: person-order.ts has these. */
const modelLanes = ['events', 'profiles', 'waiting'] as const;

const steps = fc.array(fc.record({ lane: fc.constantFrom(...modelLanes), op }), {
  maxLength: 60,
  size: 'max',
});

/** One random life of a store, watched by the model. */
class Life {
  readonly #under: StoreUnderTest;
  readonly #model: NaiveStore;
  readonly #facts = new NaiveFacts(maxFacts);
  readonly #inFlight: Record<StoreLane, BatchItem[]> = {
    ...mapStoreLanes(() => []),
  };
  readonly #settled: Record<StoreLane, BatchItem[]> = {
    ...mapStoreLanes(() => []),
  };

  constructor(under: StoreUnderTest, model: NaiveStore) {
    this.#under = under;
    this.#model = model;
  }

  async take({ lane, op: what }: Step): Promise<void> {
    const { store, clock } = this.#under;
    switch (what.kind) {
      case 'append':
        await this.#append(lane, what.drafts);
        break;
      case 'putFacts':
        expect(await store.putFacts(what.facts)).toEqual({ ok: true });
        this.#facts.put(what.facts);
        break;
      case 'claim':
        await this.#claim(lane, what);
        break;
      case 'settle':
        await this.#settle(lane, what);
        break;
      case 'settleAgain': {
        const item = this.#settled[lane].at(what.nth);
        if (item !== undefined && !this.#isClaimed(lane, item)) {
          await store.settle({ lane, settled: settledAs([item], ack), delivery: aDelivery() });
        }
        break;
      }
      case 'redrive':
        expect(await store.redrive({ lane }, { dryRun: false })).toBe(
          this.#model.redrive({ lane }),
        );
        break;
      case 'discard':
        expect(await store.discard({ lane }, { dryRun: false })).toBe(
          this.#model.discard({ lane }),
        );
        break;
      case 'advance':
        await clock.advance(what.ms);
        break;
      case 'crash':
        await this.#crash();
    }
    this.#compare();
    const found = await this.#under.store.getFacts(this.#facts.keys);
    expect(this.#facts.faults(found)).toEqual([]);
  }

  async #crash(): Promise<void> {
    if (this.#under.crash === undefined) return;
    await this.#under.crash();
    this.#model.crash();
    for (const lane of storeLanes) this.#inFlight[lane] = [];
  }

  /** Everything still buffered is delivered; then every envelope is in exactly one place. */
  async end(): Promise<void> {
    const { store, clock } = this.#under;
    for (const lane of storeLanes) {
      while (this.#model.depth(lane).count > 0) {
        const before = this.#model.depth(lane).count;
        for (const item of [...this.#inFlight[lane]]) {
          const nth = this.#inFlight[lane].indexOf(item);
          const together: readonly Wanted[] = [{ nth, fate: 'ack', delayMs: 0 }];
          await this.#settle(lane, { together, isRepeated: false });
        }
        await clock.advance(maxDelayMs);
        await this.#claim(lane, { maxCount: 1000, maxBytes: 1_000_000 });
        const isStuck =
          this.#inFlight[lane].length === 0 && this.#model.depth(lane).count === before;
        expect(isStuck, 'nothing is in flight and nothing can be claimed').toBe(false);
      }
    }
    for (const { id, lane, state } of this.#model.entries.values()) {
      const settledState = isLane(lane) ? 'delivered' : undefined;
      const expected = { delivered: settledState, dead: 'dead_lettered' }[state as 'dead'];
      expect((await store.receipt(id))?.state).toBe(expected);
    }
  }

  async #append(lane: StoreLane, drafts: readonly Drafted[]): Promise<void> {
    const built = drafts.map(({ keys: own, isBuried }) =>
      aDraft(lane, { keys: own, ...(isBuried && { deadLetterReason: aReason() }) }),
    );
    const taken = await append(this.#under.store, built);
    const expected = built.map((draft, index) => this.#model.append(draft, taken[index]!.id));
    expect(taken).toEqual(expected);
  }

  async #claim(lane: StoreLane, limits: { maxCount: number; maxBytes: number }): Promise<void> {
    const { store, clock } = this.#under;
    const items = await store.claim(lane, bounds(limits));
    const bytes = items.flat().reduce((sum, { payload }) => sum + payload.byteLength + 1, 0);
    expect(items.length).toBeLessThanOrEqual(limits.maxCount);
    expect(items.flat().length === 1 || bytes <= limits.maxBytes).toBe(true);
    if (this.#model.holdsNothing(lane) && this.#model.free(lane, clock.monotonic()).count > 0) {
      expect(items.length).toBeGreaterThan(0);
    }
    expect(this.#model.claim(lane, items, clock.monotonic())).toEqual([]);
    this.#inFlight[lane].push(...items);
  }

  /** All at once, each in a delivery of its own; a repeat of the first comes too late. */
  async #settle(
    lane: StoreLane,
    { together, isRepeated }: { together: readonly Wanted[]; isRepeated: boolean },
  ): Promise<void> {
    const { store, clock } = this.#under;
    const chosen = together.flatMap(({ nth, ...what }) =>
      this.#inFlight[lane].splice(nth, 1).map((item) => ({ item, ...what })),
    );
    const repeated: typeof chosen = isRepeated ? chosen.slice(0, 1) : [];
    const late = repeated.map(({ item }) => ({ item, fate: 'ack' as const, delayMs: 0 }));
    await Promise.all(
      [...chosen, ...late].map(({ item, fate: what, delayMs }) => {
        const settled = settledAs([item], toVerdict(what, delayMs));
        // What waits leaves without a request.
        return store.settle({
          lane,
          settled,
          ...(isLane(lane) && { delivery: aDelivery({ lane, at: clock.now() }) }),
        });
      }),
    );
    for (const { item, fate: what, delayMs } of chosen) {
      this.#model.settle(item, what, clock.monotonic() + delayMs);
      this.#settled[lane].push(item);
    }
  }

  /** Sent back and claimed again since: settling it would be no repeat. */
  #isClaimed(lane: StoreLane, item: BatchItem): boolean {
    const claimed = this.#inFlight[lane].flat().map(({ id }) => id);
    return item.some(({ id }) => claimed.includes(id));
  }

  #compare(): void {
    const { store, clock } = this.#under;
    expectBalanced(store);
    for (const lane of storeLanes) {
      expect(store.depth(lane)).toMatchObject(this.#model.depth(lane));
      const free = this.#model.free(lane, clock.monotonic());
      const { count, bytes } = store.claimable(lane);
      if (this.#model.holdsNothing(lane) && this.#under.pages !== true) {
        expect({ count, bytes }).toEqual(free);
      }
      expect(count).toBeLessThanOrEqual(free.count);
      expect(count === 0).toBe(bytes === 0);
    }
  }
}

function toVerdict(fate: Fate, delayMs: number): Verdict {
  if (fate === 'ack') return ack;
  if (fate === 'dead-letter') return deadLetter();
  return fate === 'retry' ? retry(delayMs) : retry(delayMs, { countAttempt: false, alone: true });
}

/** Any sequence of calls: nothing is lost, nothing is given twice, and per key nothing is overtaken. */
export function describeModel(openStore: OpenStore, runs: number): void {
  describe('a random sequence of calls', () => {
    it.each([
      ['where repeats are known', true],
      ['where repeats are let in', false],
    ])('agrees with a store that is obviously right, %s', async (_name, dedupes) => {
      const dedupe = dedupes ? wideBounds.dedupe : { maxAgeMs: 0, maxCount: 0 };
      const property = fc.asyncProperty(steps, async (life) => {
        const under = await openStore({ ...wideBounds, dedupe, facts: atMost(maxFacts) });
        try {
          const watched = new Life(under, new NaiveStore(dedupes));
          for (const step of life) await watched.take(step);
          await watched.end();
        } finally {
          await under.close();
        }
        expect(under.clock.pending()).toBe(0);
      });
      await fc.assert(property, { numRuns: runs });
    });
  });
}
