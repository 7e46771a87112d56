import type { Clock } from '../clock.js';
import type { Draft, Envelope } from '../model/envelope.js';
import type { StoreLane } from '../model/lane.js';
import { toId } from './ids.js';
import type { LaneQueueOptions, Queued } from './lane-queue.js';
import { RangeIndex } from './range-index.js';
import { WorkingSet } from './working-set.js';

type Numbered = Omit<Envelope, 'attempts'> & { readonly seq: number };

/** One lane of the memory store: its unsettled envelopes, and which delivery settled the others. */
export class MemoryLane {
  readonly unsettled: WorkingSet;
  readonly settled = new RangeIndex();
  readonly #lane: StoreLane;
  readonly #epoch: string;
  readonly #clock: Clock;
  readonly #nextSeq: () => number;

  constructor(
    lane: StoreLane,
    options: Omit<LaneQueueOptions, 'lane'> & {
      readonly epoch: string;
      readonly nextSeq: () => number;
    },
  ) {
    this.#lane = lane;
    this.#nextSeq = options.nextSeq;
    this.#epoch = options.epoch;
    this.#clock = options.clock;
    this.unsettled = new WorkingSet({ ...options, lane });
    options.order.addLane(lane, {
      firstOnDisk: () => Infinity,
      wake: (name) => this.unsettled.queue.wake(name),
    });
  }

  /** Gives a draft the next number. The caller adds it to `unsettled`. */
  number({ lane, keys, acceptedAt, payload }: Draft): Queued {
    const seq = this.#nextSeq();
    const id = toId({ lane: this.#lane, epoch: this.#epoch, seq });
    return this.#queued({ id, lane, keys, acceptedAt, payload, seq });
  }

  /** Adds dead letters to the unsettled envelopes, as if they had just been accepted. */
  restore(envelopes: readonly Numbered[]): void {
    this.unsettled.restore(envelopes.map((one) => this.#queued(one)));
  }

  #queued(envelope: Numbered): Queued {
    const readyAt = this.#clock.monotonic();
    return {
      ...envelope,
      attempts: 0,
      readyAt,
      alone: false,
      lastTry: null,
      ref: null,
      inFlight: false,
    };
  }
}
