import type { Clock } from '../clock.js';
import type { StoreLane } from '../model/lane.js';
import type { PersonOrder } from './person-order.js';
import type { ClaimBounds } from '../model/envelope.js';
import { LaneQueue, type LaneQueueOptions, type Queued } from './lane-queue.js';
import { payloadBytes } from './claim-builder.js';

/** The unsettled envelopes of one lane that are in memory: waiting, delayed and in flight. */
export class WorkingSet<T extends Queued = Queued> {
  readonly queue: LaneQueue<T>;
  readonly #clock: Clock;
  readonly #lane: StoreLane;
  readonly #order: PersonOrder;
  /** In the order of acceptance, so that the first is the oldest. */
  readonly #unsettled = new Map<string, T>();
  #bytes = 0;

  constructor(options: LaneQueueOptions) {
    this.#clock = options.clock;
    this.#lane = options.lane;
    this.#order = options.order;
    this.queue = new LaneQueue<T>(options);
  }

  get count(): number {
    return this.#unsettled.size;
  }

  get bytes(): number {
    return this.#bytes;
  }

  /** Ms since the oldest envelope was accepted, by the monotonic clock; null if there is none. */
  oldestAgeMs(): number | null {
    const oldest = this.#unsettled.values().next();
    return oldest.done === true ? null : this.#clock.monotonic() - oldest.value.readyAt;
  }

  /** In the order of acceptance, except for redriven envelopes. */
  values(): Iterable<T> {
    return this.#unsettled.values();
  }

  find(id: string): { readonly queued: T; readonly inFlight: boolean } | undefined {
    const queued = this.#unsettled.get(id);
    return queued && { queued, inFlight: queued.inFlight };
  }

  /** Returns the envelope if it is in flight. */
  claimed(id: string): T | undefined {
    const queued = this.#unsettled.get(id);
    return queued?.inFlight === true ? queued : undefined;
  }

  /** Adds a fresh envelope behind all others. */
  push(queued: T): void {
    this.#track(queued);
    this.queue.push(queued);
  }

  /** Adds a settled envelope again, as if it had just been accepted. */
  restore(queued: readonly T[]): void {
    for (const one of queued) this.#track(one);
    this.queue.restore(queued);
  }

  /** Adds an envelope that an earlier process claimed: it stays claimed until it is settled. */
  adopt(queued: readonly T[]): void {
    for (const one of queued) {
      this.#track(one);
      one.inFlight = true;
    }
    this.queue.adopt(queued);
  }

  claim(bounds: ClaimBounds): readonly (readonly [T, ...T[]])[] {
    const items = this.queue.claim(bounds);
    for (const item of items) for (const one of item) one.inFlight = true;
    return items;
  }

  /** Updates the state of claimed envelopes, which stay claimed. */
  update(queued: readonly T[]): void {
    for (const one of queued) this.#unsettled.set(one.id, one);
  }

  /** Delays claimed envelopes: they can be claimed again after `afterMs`. */
  sendBack(queued: readonly T[], afterMs: number): void {
    for (const one of queued) {
      one.inFlight = false;
      this.#unsettled.set(one.id, one);
    }
    this.queue.delay(queued, afterMs);
  }

  /** Removes settled envelopes. */
  remove(queued: readonly T[]): void {
    for (const one of queued) {
      this.#unsettled.delete(one.id);
      this.#bytes -= payloadBytes(one);
    }
    this.queue.release(queued);
    this.#order.remove(this.#lane, queued);
  }

  /** Removes envelopes that were not settled, claimed or not. */
  erase(queued: readonly T[]): void {
    this.queue.remove(queued.filter(({ inFlight }) => !inFlight));
    for (const one of queued) {
      this.#unsettled.delete(one.id);
      this.#bytes -= payloadBytes(one);
    }
    this.queue.release(queued.filter(({ inFlight }) => inFlight));
    this.#order.remove(this.#lane, queued);
  }

  #track(queued: T): void {
    this.#unsettled.set(queued.id, queued);
    this.#bytes += payloadBytes(queued);
    this.#order.add(this.#lane, queued);
  }
}
