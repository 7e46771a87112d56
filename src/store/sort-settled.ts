import type { Reason, Settled } from '../envelope.js';
import type { Queued } from './lane-queue.js';

/** A settlement sorted by what it does to the store. */
export type Sorted = {
  readonly delivered: Queued[];
  readonly merged: Queued[];
  readonly buried: { readonly queued: Queued; readonly reason: Reason }[];
  /** Retries, by their delay in ms. */
  readonly back: Map<number, Queued[]>;
  /** Taken by Klaviyo's import job `ref`; they stay claimed. */
  readonly followed: { readonly queued: Queued; readonly ref: string }[];
};

/** `find` gives the claimed envelope of that id; what is not claimed (settled twice) is left out. */
export function sortSettled(
  settled: readonly Settled[],
  deliveryId: string | null,
  find: (id: string) => Queued | undefined,
): Sorted {
  const sorted: Sorted = { delivered: [], merged: [], buried: [], back: new Map(), followed: [] };
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
        sorted.followed.push({ queued, ref: verdict.ref });
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
