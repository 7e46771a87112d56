import type { Reason, Settled } from '../envelope.js';
import type { Queued } from './lane-queue.js';

/** A settlement sorted by what it does to the store. */
export type Sorted<T extends Queued = Queued> = {
  readonly delivered: T[];
  readonly merged: T[];
  readonly buried: { readonly queued: T; readonly reason: Reason }[];
  /** Retries, by their delay in ms. */
  readonly back: Map<number, T[]>;
  /** Taken by Klaviyo's import job `ref`; they stay claimed. */
  readonly followed: { readonly queued: T; readonly ref: string }[];
};

/** `find` gives the claimed envelope of that id; what is not claimed (settled twice) is left out. */
export function sortSettled<T extends Queued>(
  settled: readonly Settled[],
  deliveryId: string | null,
  find: (id: string) => T | undefined,
): Sorted<T> {
  const sorted: Sorted<T> = {
    delivered: [],
    merged: [],
    buried: [],
    back: new Map(),
    followed: [],
  };
  for (const { envelope, verdict } of settled) {
    const queued = find(envelope.id);
    if (queued === undefined) continue;
    switch (verdict.kind) {
      case 'ack':
        sorted[verdict.as].push(queued);
        break;
      case 'bury':
        sorted.buried.push({ queued, reason: verdict.reason });
        break;
      case 'follow':
        sorted.followed.push({
          queued: { ...queued, lastTry: { deliveryId, reason: null } },
          ref: verdict.ref,
        });
        break;
      case 'retry': {
        const { afterMs, reason, countAttempt } = verdict;
        const back = sorted.back.get(afterMs) ?? [];
        back.push({
          ...queued,
          attempts: queued.attempts + (countAttempt ? 1 : 0),
          alone: verdict.alone ?? queued.alone,
          lastTry: { deliveryId, reason },
        });
        sorted.back.set(afterMs, back);
      }
    }
  }
  return sorted;
}
