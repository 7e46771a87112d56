import type { Clock } from '../clock.js';
import type { Lane, StoreLane } from '../model/lane.js';
import type { Trigger } from '../model/delivery.js';
import type { ClaimableState } from '../model/envelope.js';
import { Signal } from './signal.js';

/** What closes a batch. */
export type BatchBounds = {
  readonly maxCount: number;
  /** Sum of payload bytes plus one separator each. */
  readonly maxBytes: number;
  readonly maxAgeMs: number;
};

export type Batcher = {
  /** Resolves when a batch should leave, with the reason; null when `signal` aborts first. */
  due(signal: AbortSignal): Promise<Trigger | null>;
  /** Why a batch would leave now; null where it would not. */
  trigger(): Trigger | null;
  /** What is waiting now leaves at once. */
  flush(): void;
  /** From now on nothing waits for company. */
  drain(): void;
  close(): void;
};

export type BatcherOptions = {
  readonly lane: Lane;
  readonly bounds: BatchBounds;
  readonly clock: Clock;
  readonly buffer: {
    claimable(lane: Lane): ClaimableState;
    /** Called for each queue of the store. */
    onClaimable(listener: (lane: StoreLane) => void): () => void;
  };
};

export function createBatcher({ lane, bounds, clock, buffer }: BatcherOptions): Batcher {
  const bell = new Signal();
  let draining = false;
  let flushing = false;
  /** While a timer runs for what waits already, only a full batch is worth waking for. */
  let armed = false;

  const trigger = (): Trigger | null =>
    selectTrigger(buffer.claimable(lane), bounds, draining || flushing);

  const stopListening = buffer.onClaimable((changed) => {
    if (changed === lane && (!armed || trigger() !== null)) bell.notify();
  });

  return {
    trigger,
    async due(signal) {
      while (!signal.aborted) {
        const reason = trigger();
        if (reason !== null) {
          // The claim that follows takes everything that was waiting.
          if (reason === 'drain') flushing = false;
          return reason;
        }
        const { oldestAgeMs, nextDueMs } = buffer.claimable(lane);
        if (oldestAgeMs === null) flushing = false;
        const leavesInMs = oldestAgeMs === null ? nextDueMs : bounds.maxAgeMs - oldestAgeMs;
        armed = oldestAgeMs !== null;
        await bell.wait(clock, leavesInMs, signal);
      }
      return null;
    },
    flush() {
      flushing = true;
      bell.notify();
    },
    drain() {
      draining = true;
      bell.notify();
    },
    close: stopListening,
  };
}

/** Pure: why a batch should leave now, or null. */
export function selectTrigger(
  waiting: ClaimableState,
  bounds: BatchBounds,
  atOnce: boolean,
): Trigger | null {
  if (waiting.count === 0) return null;
  if (waiting.count >= bounds.maxCount) return 'size';
  if (waiting.bytes >= bounds.maxBytes) return 'bytes';
  if (atOnce) return 'drain';
  return waiting.oldestAgeMs !== null && waiting.oldestAgeMs >= bounds.maxAgeMs ? 'time' : null;
}
