import type { Clock } from '../clock.js';
import type { Draft, Lane } from '../envelope.js';
import { toId } from './ids.js';
import type { Queued } from './lane-queue.js';
import { RangeIndex } from './range-index.js';
import { WorkingSet } from './working-set.js';

/** One lane of the memory store: what is unsettled, and which delivery settled the rest. */
export class MemoryLane {
  readonly unsettled: WorkingSet;
  readonly settled = new RangeIndex();
  readonly #lane: Lane;
  readonly #epoch: string;
  readonly #clock: Clock;
  #lastSeq = 0;

  constructor(lane: Lane, options: { epoch: string; clock: Clock; onWaiting: () => void }) {
    this.#lane = lane;
    this.#epoch = options.epoch;
    this.#clock = options.clock;
    this.unsettled = new WorkingSet({ ...options, merges: lane === 'profiles' });
  }

  append(draft: Draft): Queued {
    const seq = ++this.#lastSeq;
    const id = toId({ lane: this.#lane, epoch: this.#epoch, seq });
    const queued = this.#queued({ ...draft, id, attempts: 0 }, seq);
    this.unsettled.push(queued);
    return queued;
  }

  /** Back among the unsettled, as if accepted anew. */
  restore(envelopes: readonly (Draft & { readonly id: string; readonly seq: number })[]): void {
    this.unsettled.restore(envelopes.map((one) => this.#queued({ ...one, attempts: 0 }, one.seq)));
  }

  #queued(envelope: Omit<Queued, 'seq' | 'readyAt' | 'alone' | 'lastTry'>, seq: number): Queued {
    return { ...envelope, seq, readyAt: this.#clock.monotonic(), alone: false, lastTry: null };
  }
}
