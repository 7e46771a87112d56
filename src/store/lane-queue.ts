import type { Clock } from '../clock.js';
import type { ClaimBounds, Envelope, ClaimableState } from '../model/envelope.js';
import type { Reason } from '../model/outcome.js';
import { Fifo } from './fifo.js';
import { KeyLocks } from './key-locks.js';
import { ClaimBuilder, payloadBytes } from './claim-builder.js';
import { laneTraits, type StoreLane } from '../model/lane.js';
import type { PersonOrder } from './person-order.js';

/** An envelope in the queue, with the state that only the queue needs. */
export type Queued = Envelope & {
  readonly seq: number;
  /** Monotonic ms when it was accepted. Apart from delays of retries, it can be claimed since then. */
  readonly readyAt: number;
  /** True if it must not merge with others, because a merged item failed. */
  readonly alone: boolean;
  /** The latest attempt and the reason why it failed; no reason while its import job runs. */
  readonly lastTry: { readonly deliveryId: string | null; readonly reason: Reason | null } | null;
  /** The id of its import job. */
  readonly ref: string | null;
  /** True while it is claimed and not settled. The working set changes it in place: a set of ids would cost every event three more look-ups. */
  inFlight: boolean;
};

export type LaneQueueOptions = {
  readonly lane: StoreLane;
  readonly clock: Clock;
  /** The order across lanes; shared by the lanes of a store. */
  readonly order: PersonOrder;
  readonly onClaimable: () => void;
};

/** The most envelopes of other groups that one claim passes over, since each claim examines them again. */
const maxOtherGroups = 1000;

type Delayed<T> = { readonly dueAt: number; readonly queued: readonly T[] };

/**
 * The unsettled envelopes of one lane in memory, in the order of their numbers. `returned` has the envelopes that can
 * be claimed again (due retries, released waiters, redriven dead letters); fresh ones follow. Every store with a
 * working set in memory uses it.
 */
export class LaneQueue<T extends Queued = Queued> {
  readonly #options: LaneQueueOptions;
  readonly #locks = new KeyLocks<T>();
  readonly #fresh = new Fifo<T>();
  #returned: T[] = [];
  #delayed: Delayed<T>[] = [];
  #bytes = 0;
  #timer: { cancel(): void } | null = null;
  #closed = false;

  constructor(options: LaneQueueOptions) {
    this.#options = options;
  }

  push(queued: T): void {
    this.#fresh.push(queued);
    this.#bytes += payloadBytes(queued);
  }

  /** What can be claimed now, without envelopes that wait for a key or for their due time. */
  waiting(): ClaimableState {
    const now = this.#options.clock.monotonic();
    const oldest = this.#isFreshNext(0) ? this.#fresh.peek() : this.#returned[0];
    const due = this.#delayed[0];
    return {
      count: this.#returned.length + this.#fresh.length,
      bytes: this.#bytes,
      oldestAgeMs: oldest === undefined ? null : now - oldest.readyAt,
      nextDueMs: due === undefined ? null : Math.max(0, due.dueAt - now),
    };
  }

  claim(bounds: ClaimBounds): readonly (readonly [T, ...T[]])[] {
    const builder = new ClaimBuilder<T>(bounds, laneTraits[this.#options.lane]);
    let returned = 0;
    const otherGroups: T[] = [];
    while (!builder.closed && otherGroups.length < maxOtherGroups) {
      const isFresh = this.#isFreshNext(returned);
      const next = isFresh ? this.#fresh.peek() : this.#returned[returned];
      const result = next === undefined ? 'full' : this.#tryAdd(next, builder);
      if (next === undefined || result === 'full') break;
      if (result === 'other-group') otherGroups.push(next);
      if (isFresh) this.#fresh.shift();
      else returned++;
    }
    if (returned > 0) this.#returned = this.#returned.slice(returned);
    // They are older than everything else that can be claimed, and in order.
    if (otherGroups.length > 0) this.#returned = otherGroups.concat(this.#returned);
    const { items } = builder;
    for (const item of items) {
      for (const queued of item) this.#locks.lock(queued.keys);
    }
    return items;
  }

  /** Makes claimed envelopes claimable again after `afterMs`. Their keys stay locked until then. */
  delay(queued: readonly T[], afterMs: number): void {
    const dueAt = this.#options.clock.monotonic() + afterMs;
    this.#delayed = [...this.#delayed, { dueAt, queued }].sort((a, b) => a.dueAt - b.dueAt);
    this.#arm();
  }

  /** Locks the keys of envelopes that an earlier process left in flight. */
  adopt(queued: readonly T[]): void {
    for (const one of queued) this.#locks.lock(one.keys);
  }

  /** Ends the claim of settled envelopes, and releases the envelopes that waited for their keys. */
  release(queued: readonly T[]): void {
    this.#giveBack(queued.flatMap((one) => this.#locks.release(one.keys)));
  }

  /** Removes envelopes that are not claimed, whatever they wait for. */
  remove(queued: readonly T[]): void {
    const ids = new Set(queued.map(({ id }) => id));
    const isRemoved = ({ id }: T): boolean => ids.has(id);
    const returned = this.#returned.filter(isRemoved);
    if (returned.length > 0) this.#returned = this.#returned.filter((one) => !isRemoved(one));
    for (const one of [...this.#fresh.remove(isRemoved), ...returned])
      this.#bytes -= payloadBytes(one);
    const delayed = this.#delayed.flatMap((each) => each.queued.filter(isRemoved));
    if (delayed.length > 0) {
      this.#delayed = this.#delayed.flatMap(({ dueAt, queued: all }) => {
        const kept = all.filter((one) => !isRemoved(one));
        return kept.length === 0 ? [] : [{ dueAt, queued: kept }];
      });
      this.#arm();
    }
    const freed = this.#locks.remove(isRemoved);
    this.#giveBack([...freed, ...delayed.flatMap(({ keys }) => this.#locks.release(keys))]);
  }

  /** Releases the envelopes that waited for another lane under this name. */
  wake(name: string): void {
    this.#giveBack(this.#locks.wake(name));
  }

  /** Queues a settled envelope again by its number (a redrive). */
  restore(queued: readonly T[]): void {
    this.#giveBack(queued);
  }

  /** Stops all timers: delayed envelopes stay delayed, so that no timer outlives the store. */
  close(): void {
    this.#closed = true;
    this.#timer?.cancel();
  }

  /** Returns true if the next envelope to send comes from the fresh queue and not from `returned`. Only a redriven dead letter that was never sent is younger than a fresh envelope. */
  #isFreshNext(returned: number): boolean {
    const nextReturned = this.#returned[returned];
    return nextReturned === undefined || (this.#fresh.peek()?.seq ?? Infinity) < nextReturned.seq;
  }

  /** `full` and `other-group`: the envelope does not fit into this claim and stays in the queue. */
  #tryAdd(queued: T, builder: ClaimBuilder<T>): 'full' | 'other-group' | 'done' {
    const { lane, order } = this.#options;
    const lockedKey = this.#locks.findLocked(queued) ?? order.findEarlier(lane, queued);
    const result = lockedKey === undefined ? builder.add(queued) : { waitsFor: lockedKey };
    if (result === 'full' || result === 'other-group') return result;
    if (result !== 'added') this.#locks.wait(result.waitsFor, queued);
    this.#bytes -= payloadBytes(queued);
    return 'done';
  }

  #giveBack(queued: readonly T[]): void {
    if (queued.length === 0) return;
    for (const one of queued) this.#bytes += payloadBytes(one);
    this.#returned = this.#returned.concat(queued).sort((a, b) => a.seq - b.seq);
    this.#options.onClaimable();
  }

  #arm(): void {
    this.#timer?.cancel();
    const next = this.#delayed[0];
    if (next === undefined || this.#closed) return;
    const delayMs = next.dueAt - this.#options.clock.monotonic();
    this.#timer = this.#options.clock.setTimer(delayMs, () => this.#wakeDue());
  }

  #wakeDue(): void {
    const now = this.#options.clock.monotonic();
    const due = this.#delayed.filter((delayed) => delayed.dueAt <= now);
    this.#delayed = this.#delayed.filter((delayed) => delayed.dueAt > now);
    for (const { queued } of due) {
      // Their keys stayed locked during the delay, so nothing overtook them.
      const freed = queued.flatMap((one) => this.#locks.release(one.keys));
      this.#giveBack([...queued, ...freed]);
    }
    this.#arm();
  }
}
