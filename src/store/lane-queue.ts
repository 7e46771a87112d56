import type { Clock } from '../clock.js';
import type { ClaimBounds, Envelope, ClaimableState } from '../model/envelope.js';
import type { Reason } from '../model/outcome.js';
import { Fifo } from './fifo.js';
import { KeyLocks } from './key-locks.js';
import { ClaimBuilder, payloadBytes } from './claim-builder.js';

/** An envelope in the queue, with what the queue alone knows of it. */
export type Queued = Envelope & {
  readonly seq: number;
  /** Monotonic ms when it was accepted: since then it can be claimed, but for the delays of retries. */
  readonly readyAt: number;
  /** Not to be merged with others: it failed in company. */
  readonly alone: boolean;
  /** The latest attempt, and why it sent the envelope back; no reason while its import job runs. */
  readonly lastTry: { readonly deliveryId: string | null; readonly reason: Reason | null } | null;
  /** The import job that has it. */
  readonly ref: string | null;
  /** Claimed, and not settled since. The working set changes it in place: a set of ids costs every event three look-ups more. */
  inFlight: boolean;
};

export type LaneQueueOptions = {
  readonly clock: Clock;
  /** Profiles of one identity leave as one item; events never do. */
  readonly merges: boolean;
  readonly onClaimable: () => void;
};

type Delayed<T> = { readonly dueAt: number; readonly queued: readonly T[] };

/**
 * One lane's envelopes in memory, in the order they leave, which is that of their numbers: what came
 * back (due retries, freed waiters, redriven ones), and fresh ones. Used by every store that keeps its
 * working set in memory.
 */
export class LaneQueue<T extends Queued = Queued> {
  readonly #options: LaneQueueOptions;
  readonly #holds = new KeyLocks<T>();
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

  /** Claimable now. Envelopes that wait for a key or for their time are not counted. */
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
    const pick = new ClaimBuilder<T>(bounds, this.#options.merges);
    let returned = 0;
    while (!pick.closed) {
      const isFresh = this.#isFreshNext(returned);
      const next = isFresh ? this.#fresh.peek() : this.#returned[returned];
      if (next === undefined || !this.#offer(next, pick)) break;
      if (isFresh) this.#fresh.shift();
      else returned++;
    }
    if (returned > 0) this.#returned = this.#returned.slice(returned);
    const { items: items } = pick;
    for (const item of items) {
      for (const queued of item) this.#holds.lock(queued.keys);
    }
    return items;
  }

  /** Puts claimed envelopes back, to be claimed again after `afterMs`. They keep their keys until then. */
  delay(queued: readonly T[], afterMs: number): void {
    if (queued.length === 0) return;
    const dueAt = this.#options.clock.monotonic() + afterMs;
    this.#delayed = [...this.#delayed, { dueAt, queued }].sort((a, b) => a.dueAt - b.dueAt);
    this.#arm();
  }

  /** Takes keys as if these had been claimed here: an earlier process left them in flight. */
  adopt(queued: readonly T[]): void {
    for (const one of queued) this.#holds.lock(one.keys);
  }

  /** Ends a claim for good, and lets those who waited for its keys go on. */
  release(queued: readonly T[]): void {
    this.#giveBack(queued.flatMap((one) => this.#holds.release(one.keys)));
  }

  /** Back into the queue by number, for what was settled before (a redrive). */
  restore(queued: readonly T[]): void {
    this.#giveBack(queued);
  }

  /** What is put back after this stays where it is: no timer outlives the store. */
  close(): void {
    this.#closed = true;
    this.#timer?.cancel();
    this.#timer = null;
  }

  /** Whether a fresh one leaves next, once so many of those that came back have left: it is younger, but for dead letters that were never sent. */
  #isFreshNext(returned: number): boolean {
    const back = this.#returned[returned];
    return back === undefined || (this.#fresh.peek()?.seq ?? Infinity) < back.seq;
  }

  /** False where it stays in the queue: it does not fit into this claim. */
  #offer(queued: T, pick: ClaimBuilder<T>): boolean {
    const held = this.#holds.findLocked(queued.keys);
    const answer = held === undefined ? pick.add(queued) : { waitsFor: held };
    if (answer === 'full') return false;
    if (answer !== 'taken') this.#holds.wait(answer.waitsFor, queued);
    this.#bytes -= payloadBytes(queued);
    return true;
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
      // They held their keys while they waited, so nothing overtook them.
      const freed = queued.flatMap((one) => this.#holds.release(one.keys));
      this.#giveBack([...queued, ...freed]);
    }
    this.#arm();
  }
}
