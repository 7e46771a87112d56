import type { Clock } from '../clock.js';
import type { ClaimBounds, Draft, Lane } from '../envelope.js';
import { toId } from './ids.js';
import { LaneQueue, type Queued } from './lane-queue.js';
import { weight } from './pick.js';
import { RangeIndex } from './range-index.js';

/** One lane of the memory store: its queue, and what is unsettled, in flight and settled. */
export class MemoryLane {
  readonly queue: LaneQueue;
  readonly settled = new RangeIndex();
  readonly #lane: Lane;
  readonly #epoch: string;
  readonly #clock: Clock;
  /** In order of acceptance, so the first is the oldest. */
  readonly #unsettled = new Map<string, Queued>();
  readonly #inFlight = new Set<string>();
  #bytes = 0;
  #lastSeq = 0;

  constructor(lane: Lane, options: { epoch: string; clock: Clock; onWaiting: () => void }) {
    this.#lane = lane;
    this.#epoch = options.epoch;
    this.#clock = options.clock;
    this.queue = new LaneQueue({ ...options, merges: lane === 'profiles' });
  }

  get count(): number {
    return this.#unsettled.size;
  }

  get bytes(): number {
    return this.#bytes;
  }

  get oldestAcceptedAt(): number | null {
    const oldest = this.#unsettled.values().next();
    return oldest.done === true ? null : oldest.value.acceptedAt;
  }

  find(id: string): { readonly queued: Queued; readonly inFlight: boolean } | undefined {
    const queued = this.#unsettled.get(id);
    return queued && { queued, inFlight: this.#inFlight.has(id) };
  }

  /** The envelope as it was claimed; undefined where it is not in flight. */
  claimed(id: string): Queued | undefined {
    return this.#inFlight.has(id) ? this.#unsettled.get(id) : undefined;
  }

  append(draft: Draft): Queued {
    const seq = ++this.#lastSeq;
    const id = toId({ lane: this.#lane, epoch: this.#epoch, seq });
    const queued = this.#queued({ ...draft, id, attempts: 0 }, seq);
    this.#track(queued);
    this.queue.push(queued);
    return queued;
  }

  /** Claimed envelopes of which more is known; they stay claimed. */
  update(queued: readonly Queued[]): void {
    for (const one of queued) this.#unsettled.set(one.id, one);
  }

  /** Back among the unsettled, as if accepted anew. */
  restore(envelopes: readonly (Draft & { readonly id: string; readonly seq: number })[]): void {
    const restored = envelopes.map((one) => this.#queued({ ...one, attempts: 0 }, one.seq));
    restored.forEach((queued) => this.#track(queued));
    this.queue.restore(restored);
  }

  claim(bounds: ClaimBounds): readonly (readonly [Queued, ...Queued[]])[] {
    const parcels = this.queue.claim(bounds);
    for (const parcel of parcels) for (const { id } of parcel) this.#inFlight.add(id);
    return parcels;
  }

  /** Claimed envelopes that will be claimed again after `afterMs`. */
  sendBack(queued: readonly Queued[], afterMs: number): void {
    for (const one of queued) {
      this.#inFlight.delete(one.id);
      this.#unsettled.set(one.id, one);
    }
    this.queue.delay(queued, afterMs);
  }

  /** Claimed envelopes that are settled. */
  remove(queued: readonly Queued[]): void {
    for (const one of queued) {
      this.#inFlight.delete(one.id);
      this.#unsettled.delete(one.id);
      this.#bytes -= weight(one);
    }
    this.queue.release(queued);
  }

  #queued(envelope: Omit<Queued, 'seq' | 'readyAt' | 'alone' | 'lastTry'>, seq: number): Queued {
    return { ...envelope, seq, readyAt: this.#clock.monotonic(), alone: false, lastTry: null };
  }

  #track(queued: Queued): void {
    this.#unsettled.set(queued.id, queued);
    this.#bytes += weight(queued);
  }
}
