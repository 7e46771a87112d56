import type { Clock } from '../clock.js';
import type { Trigger } from '../model/delivery.js';
import type { Destination } from '../model/destination.js';
import type { BatchItem, ClaimableState } from '../model/envelope.js';
import type { Lane, StoreLane } from '../model/lane.js';
import { Signal } from './signal.js';

/**
 * Decides when the next batch of a lane is closed: by its count, by its bytes, by the age of its oldest
 * envelope, or at once (`flush`, `drain`). The envelopes stay in the store until the loop claims them.
 */
export type Batcher = {
  /** Resolves with the trigger when a batch should leave; resolves with null if `signal` aborts first. */
  due(signal: AbortSignal): Promise<Trigger | null>;
  /** The trigger of a batch that would leave now; null if none would. */
  trigger(): Trigger | null;
  /** Sends at once what is claimable now. */
  flush(): void;
  /** From now on, no batch waits to be filled. */
  drain(): void;
  close(): void;
};

/** What closes a batch. */
export type BatchBounds = {
  readonly maxCount: number;
  /** Sum of payload bytes plus one separator each. */
  readonly maxBytes: number;
  readonly maxAgeMs: number;
};

/** What the delivery half needs to see of the queues. */
export type ClaimableQueues = {
  claimable(lane: Lane): ClaimableState;
  /** Called for each queue of the store. Returns a function that removes the listener. */
  onClaimable(listener: (lane: StoreLane) => void): () => void;
};

export type BatcherOptions = {
  readonly lane: Lane;
  readonly bounds: BatchBounds;
  readonly clock: Clock;
  readonly store: ClaimableQueues;
};

export function createBatcher({ lane, bounds, clock, store }: BatcherOptions): Batcher {
  const changed = new Signal();
  let isDraining = false;
  let isFlushing = false;
  /** While a timer runs for the envelopes that wait already, only a full batch needs to wake the loop. */
  let hasTimer = false;

  const trigger = (): Trigger | null =>
    selectTrigger(store.claimable(lane), bounds, isDraining || isFlushing);

  const stopListening = store.onClaimable((changedLane) => {
    if (changedLane === lane && (!hasTimer || trigger() !== null)) changed.notify();
  });

  return {
    trigger,
    async due(signal) {
      while (!signal.aborted) {
        const reason = trigger();
        if (reason !== null) {
          // The claim that follows contains everything that was waiting.
          if (reason === 'drain') isFlushing = false;
          return reason;
        }
        // There is nothing to flush: a waiting envelope would have had a trigger.
        isFlushing = false;
        const { oldestAgeMs, nextDueMs } = store.claimable(lane);
        hasTimer = oldestAgeMs !== null;
        const leavesInMs = oldestAgeMs === null ? nextDueMs : bounds.maxAgeMs - oldestAgeMs;
        await changed.wait(clock, leavesInMs, signal);
      }
      return null;
    },
    flush() {
      isFlushing = true;
      changed.notify();
    },
    drain() {
      isDraining = true;
      changed.notify();
    },
    close: stopListening,
  };
}

/** Pure: the reason why a batch should leave now, or null. */
export function selectTrigger(
  waiting: ClaimableState,
  bounds: BatchBounds,
  isAtOnce: boolean,
): Trigger | null {
  if (waiting.count === 0) return null;
  if (waiting.count >= bounds.maxCount) return 'size';
  if (waiting.bytes >= bounds.maxBytes) return 'bytes';
  if (isAtOnce) return 'drain';
  return waiting.oldestAgeMs !== null && waiting.oldestAgeMs >= bounds.maxAgeMs ? 'time' : null;
}

/** Returns one payload for each item: the envelope's own bytes, or several profiles merged into one. */
export function buildPayloads(
  items: readonly BatchItem[],
  destination: Pick<Destination, 'merge'>,
): readonly Uint8Array[] {
  return items.map((item) =>
    item.length === 1 ? item[0].payload : destination.merge(item.map(({ payload }) => payload)),
  );
}
