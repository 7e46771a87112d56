import { afterEach, expect } from 'vitest';
import { isLane, storeLanes, type StoreLane } from '../../../src/model/lane.js';
import type { ClaimBounds, Draft, BatchItem } from '../../../src/model/envelope.js';
import type { DeadLetter } from '../../../src/model/dead-letter.js';
import type { FactKind } from '../../../src/model/fact.js';
import type { Verdict } from '../../../src/model/outcome.js';
import type { Capacity } from '../../../src/store/admission.js';
import type { DedupeBounds } from '../../../src/store/dedupe.js';
import type { LogBounds } from '../../../src/store/delivery-log.js';
import { mapKinds, type FactBounds } from '../../../src/store/facts.js';
import type { Store, AppendedEnvelope } from '../../../src/model/store.js';
import { aDelivery, bounds, deadLetter, settledAs, toText } from '../../support/builders.js';
import type { ManualClock } from '../../support/manual-clock.js';

/** A store's bounds, whatever keeps it. */
export type StoreBounds = {
  readonly capacity: Capacity;
  readonly dedupe: DedupeBounds;
  readonly log: LogBounds;
  readonly maxDeadLetters: number;
  readonly facts: FactBounds;
};

/** Bounds of facts: by age of the kinds that are given, and by count. */
export function factBounds(
  maxAgeMs: Partial<Record<FactKind, number>> = {},
  maxCount = 1000,
): FactBounds {
  return { maxCount, maxAgeMs: mapKinds((kind) => maxAgeMs[kind] ?? Infinity) };
}

export const atMost = (maxCount: number): FactBounds => factBounds({}, maxCount);

/** Wide enough that only the bound under test is felt. */
export const wideBounds: StoreBounds = {
  capacity: { maxCount: 100_000, maxBytes: 100_000_000 },
  dedupe: { maxAgeMs: 86_400_000, maxCount: 100_000 },
  log: { maxCount: 10_000, maxAgeMs: 7 * 86_400_000 },
  maxDeadLetters: 10_000,
  facts: factBounds(),
};

export type StoreUnderTest = {
  readonly store: Store;
  readonly clock: ManualClock;
  /** Dead letters the store called back for when they fell out at the bound. */
  readonly dropped: readonly DeadLetter[];
  /** Ends as a crash would and opens what is left; `store` is another one then. Absent where nothing is left. */
  crash?(): Promise<void>;
  /** True where `waiting` tells only of what there is room for in memory. */
  readonly pages?: boolean;
  /** Closes the store and removes what it kept. Safe after `store.close()`. */
  close(): Promise<void>;
};

export type OpenStore = (bounds: StoreBounds) => Promise<StoreUnderTest>;
export type Open = (overrides?: Partial<StoreBounds>) => Promise<StoreUnderTest>;

/** Opens stores for the tests of one suite; closes them after each, when no timer may be left. */
export function useStores(openStore: OpenStore): Open {
  const opened: StoreUnderTest[] = [];
  afterEach(async () => {
    for (const under of opened.splice(0)) {
      await under.close();
      expect(under.clock.pending()).toBe(0);
    }
  });
  return async (overrides = {}) => {
    const under = await openStore({ ...wideBounds, ...overrides });
    opened.push(under);
    return under;
  };
}

/** Appends what must be taken. */
export async function append(
  store: Store,
  drafts: readonly Draft[],
): Promise<readonly AppendedEnvelope[]> {
  const appended = await store.append(drafts);
  if (!appended.ok) throw new Error(`refused: ${appended.backpressure.reason}`);
  return appended.envelopes;
}

export async function appendIds(
  store: Store,
  drafts: readonly Draft[],
): Promise<readonly string[]> {
  return (await append(store, drafts)).map(({ id }) => id);
}

export const claim = (
  store: Store,
  overrides: Partial<ClaimBounds> = {},
  lane: StoreLane = 'events',
): Promise<readonly BatchItem[]> => store.claim(lane, bounds(overrides));

/** The payloads of a claim as text; one list a item. */
export const toClaimed = (items: readonly BatchItem[]): readonly (readonly string[])[] =>
  items.map((item) => item.map(toText));

/** Claims all there is and buries it, under a delivery of its own. Returns that delivery's id. */
export async function deadLetterAll(
  store: Store,
  lane: StoreLane = 'events',
  code?: string,
): Promise<string> {
  const delivery = aDelivery(isLane(lane) ? { lane } : {});
  await settleAll(store, { lane, verdict: deadLetter(code), deliveryId: delivery.id });
  return delivery.id;
}

/** Claims all there is and settles it alike. */
export async function settleAll(
  store: Store,
  { lane, verdict, deliveryId }: { lane: StoreLane; verdict: Verdict; deliveryId?: string },
): Promise<readonly BatchItem[]> {
  const items = await claim(store, { maxCount: 1_000_000 }, lane);
  const delivery = aDelivery({
    ...(isLane(lane) && { lane }),
    ...(deliveryId !== undefined && { id: deliveryId }),
  });
  await store.settle({ lane, settled: settledAs(items, verdict), delivery });
  return items;
}

/** accepted = delivered + merged + deadLettered + erased + what is unsettled; where the store keeps no books it says so. */
export function expectBalanced(store: Store): void {
  for (const lane of storeLanes) {
    const { accepted, delivered, merged, deadLettered, erased } = store.laneTotals(lane);
    const unsettled = store.durability === 'process' ? 0 : store.depth(lane).count;
    expect(accepted, lane).toBe(delivered + merged + deadLettered + erased + unsettled);
  }
}
