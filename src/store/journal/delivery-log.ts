import type { Clock } from '../../clock.js';
import type { Delivery, DeliveryFilter } from '../../model/delivery.js';
import { laneTraits, type StoreLane } from '../../model/lane.js';
import type { Page, PageQuery } from '../../model/store.js';
import { isShown, type LogBounds } from '../delivery-log.js';
import { parseCursor, readPage } from '../page.js';
import { RetentionTime } from '../retention-time.js';
import { toRanges } from '../range-index.js';
import type { Ranges, StoredDelivery, Tables } from './tables.js';
import { type Totals } from './totals.js';
import { put, remove, type Write } from './write.js';

/** The delivery that settled an envelope, and whether it was merged. */
export type SettledBy = { readonly deliveryId: string; readonly merged: boolean };

export type WrittenDelivery = {
  readonly delivery: Delivery;
  /** Numbers of the envelopes that it settled. */
  readonly delivered: readonly number[];
  readonly merged: readonly number[];
};

/** Old entries deleted with each delivery, at most, so that no write deletes many. */
const dropsPerDelivery = 8;
/** Longer ids are never valid, and LMDB bounds the length of keys. */
const maxIdChars = 100;

/**
 * The delivery log on disk. The envelopes of a delivery are stored as ranges of numbers: a delivery of a thousand
 * neighbours costs one entry and no write for each envelope.
 *
 * Entries beyond the bounds are hidden at once and deleted in small steps.
 */
export class JournalDeliveryLog {
  readonly #tables: Tables;
  readonly #bounds: LogBounds;
  readonly #clock: Clock;
  readonly #time: RetentionTime;

  constructor(tables: Tables, bounds: LogBounds, clock: Clock) {
    this.#tables = tables;
    this.#bounds = bounds;
    this.#clock = clock;
    this.#time = new RetentionTime(clock, findNewestDelivery(tables), bounds.maxAgeMs / 2);
  }

  /** Returns the writes that add or replace deliveries and delete old ones. */
  write(written: readonly WrittenDelivery[], nextTotals: Totals): readonly Write[] {
    if (written.length === 0) return [];
    const writes = written.flatMap((one) => this.#write(one, nextTotals));
    return [
      ...writes,
      ...this.#dropWrites(nextTotals.nextDelivery, written.length * dropsPerDelivery),
    ];
  }

  find(id: string, totals: Totals): Delivery | null {
    if (id.length > maxIdChars) return null;
    const order = this.#tables.deliveryOrders.get(id);
    return order === undefined ? null : (this.#kept(order, totals)?.delivery ?? null);
  }

  async list(filter: DeliveryFilter, page: PageQuery, totals: Totals): Promise<Page<Delivery>> {
    const from = parseCursor(page.cursor);
    if (Number.isNaN(from)) return { data: [], next: null };
    const newestFirst = this.#tables.deliveries.getRange({ start: from, reverse: true });
    const entries = newestFirst.map(({ key, value }) => ({ order: key, value: value.delivery }));
    return readPage(
      entries,
      { ...page, clock: this.#clock },
      (delivery, order) => this.#isKept(order, delivery, totals) && isShown(delivery, filter),
    );
  }

  settledBy(lane: StoreLane, seq: number, totals: Totals): SettledBy | null {
    const number = laneTraits[lane].number;
    const range = { start: [number, seq], end: [number + 1], limit: 1 };
    for (const { value } of this.#tables.settled.getRange(range)) {
      if (value.from > seq) return null;
      const kept = this.#kept(value.order, totals);
      return kept === null ? null : { deliveryId: kept.delivery.id, merged: value.merged };
    }
    return null;
  }

  #kept(order: number, totals: Totals): StoredDelivery | null {
    const stored = this.#tables.deliveries.get(order);
    return stored !== undefined && this.#isKept(order, stored.delivery, totals) ? stored : null;
  }

  #isKept(order: number, { at }: Delivery, { nextDelivery }: Totals): boolean {
    const { maxCount, maxAgeMs } = this.#bounds;
    return order >= nextDelivery - maxCount && at >= this.#now() - maxAgeMs;
  }

  /** The earlier of both: wall time if the clock was set back, retention time if it is fast. */
  #now(): number {
    return Math.min(this.#clock.now(), this.#time.now());
  }

  #write({ delivery, delivered, merged }: WrittenDelivery, nextTotals: Totals): readonly Write[] {
    const { deliveries, deliveryOrders } = this.#tables;
    const known = deliveryOrders.get(delivery.id);
    const order = known ?? nextTotals.nextDelivery++;
    const before = known === undefined ? undefined : deliveries.get(known);
    const entry: StoredDelivery = {
      delivery,
      delivered: [...(before?.delivered ?? []), ...toRanges(delivered)],
      merged: [...(before?.merged ?? []), ...toRanges(merged)],
    };
    return [
      put(deliveries, order, entry),
      put(deliveryOrders, delivery.id, order),
      ...this.#settledWrites(entry, order),
    ];
  }

  #settledWrites({ delivery, delivered, merged }: StoredDelivery, order: number): Write[] {
    const { settled } = this.#tables;
    const lane = laneTraits[delivery.lane].number;
    const putAll = (ranges: Ranges, isMerged: boolean): readonly Write[] =>
      ranges.map(([from, to]) => put(settled, [lane, to], { from, order, merged: isMerged }));
    return [...putAll(delivered, false), ...putAll(merged, true)];
  }

  /** Returns the writes that delete the oldest deliveries beyond the bounds, with their ids and receipts. */
  #dropWrites(nextDelivery: number, limit: number): Write[] {
    const { deliveries, deliveryOrders, settled } = this.#tables;
    const oldestAt = this.#now() - this.#bounds.maxAgeMs;
    const writes: Write[] = [];
    for (const { key: order, value } of deliveries.getRange({ limit })) {
      const { delivery, delivered, merged } = value;
      if (order >= nextDelivery - this.#bounds.maxCount && delivery.at >= oldestAt) break;
      const lane = laneTraits[delivery.lane].number;
      writes.push(
        remove(deliveries, order),
        remove(deliveryOrders, delivery.id),
        ...[...delivered, ...merged].map(([, to]) => remove(settled, [lane, to])),
      );
    }
    return writes;
  }
}

/** Time of the newest delivery; null if there is none. */
function findNewestDelivery({ deliveries }: Tables): number | null {
  for (const { value } of deliveries.getRange({ reverse: true, limit: 1 }))
    return value.delivery.at;
  return null;
}
