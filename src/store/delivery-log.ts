import type { Clock } from '../clock.js';
import type { Delivery, DeliveryFilter } from '../model/delivery.js';
import type { Page, PageQuery } from '../model/store.js';
import { RetentionTime } from './retention-time.js';
import { type Numbered, readPage } from './page.js';

export type LogBounds = { readonly maxCount: number; readonly maxAgeMs: number };

/** The newest deliveries, bounded by count and age. */
export class DeliveryLog {
  readonly #bounds: LogBounds;
  readonly #clock: Clock;
  readonly #time: RetentionTime;
  /** Insertion order is the order in which requests were settled. */
  readonly #deliveries = new Map<string, Numbered<Delivery>>();
  #order = 0;

  constructor(bounds: LogBounds, clock: Clock) {
    this.#bounds = bounds;
    this.#clock = clock;
    this.#time = new RetentionTime(clock, null, 0);
  }

  /** Adds or replaces a delivery. Returns the ids of deliveries that were dropped at the bounds. */
  write(delivery: Delivery): ReadonlySet<string> {
    const order = this.#deliveries.get(delivery.id)?.order ?? this.#order++;
    this.#deliveries.set(delivery.id, { order, value: delivery });
    const dropped = new Set<string>();
    // The earlier of both: wall time if the clock was set back, retention time if it is fast.
    const oldest = Math.min(this.#clock.now(), this.#time.now()) - this.#bounds.maxAgeMs;
    for (const [id, { value }] of this.#deliveries) {
      if (this.#deliveries.size <= this.#bounds.maxCount && value.at >= oldest) break;
      this.#deliveries.delete(id);
      dropped.add(id);
    }
    return dropped;
  }

  find(id: string): Delivery | null {
    return this.#deliveries.get(id)?.value ?? null;
  }

  list(filter: DeliveryFilter, page: PageQuery): Promise<Page<Delivery>> {
    const newestFirst = [...this.#deliveries.values()].reverse();
    return readPage(newestFirst, { ...page, clock: this.#clock }, (delivery) =>
      isShown(delivery, filter),
    );
  }
}

export function isShown(
  delivery: Delivery,
  { lane, result, since, until }: DeliveryFilter,
): boolean {
  return (
    (lane === undefined || delivery.lane === lane) &&
    (result === undefined || delivery.result === result) &&
    delivery.at >= (since ?? -Infinity) &&
    delivery.at <= (until ?? Infinity)
  );
}
