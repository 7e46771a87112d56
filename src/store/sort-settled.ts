import type { Reason } from '../model/outcome.js';
import type { SettledEnvelope } from '../model/store.js';
import type { Queued } from './lane-queue.js';

/** A settlement sorted by what it does to the store. */
export type Sorted<T extends Queued = Queued> = {
  readonly delivered: T[];
  readonly merged: T[];
  readonly buried: { readonly queued: T; readonly reason: Reason }[];
  /** Retries, by their delay in ms. */
  readonly back: Map<number, T[]>;
  /** Taken by an import job; they stay claimed. */
  readonly followed: T[];
  /** Import jobs that had some of the others: a job ends for all of its envelopes in one settlement. */
  readonly ended: Set<string>;
};

/** `find` gives the claimed envelope of that id; what is not claimed (settled twice) is left out. */
export function sortSettled<T extends Queued>(
  settled: readonly SettledEnvelope[],
  deliveryId: string | null,
  find: (id: string) => T | undefined,
): Sorted<T> {
  const sorted: Sorted<T> = {
    delivered: [],
    merged: [],
    buried: [],
    back: new Map(),
    followed: [],
    ended: new Set(),
  };
  // One for all of a request: there may be ten thousand, and they may stay for long.
  const followedTry = { deliveryId, reason: null };
  for (const { envelope, verdict } of settled) {
    const queued = find(envelope.id);
    if (queued === undefined) continue;
    if (verdict.kind !== 'poll' && queued.ref !== null) sorted.ended.add(queued.ref);
    switch (verdict.kind) {
      case 'ack':
        sorted[verdict.as].push(queued);
        break;
      case 'dead-letter':
        sorted.buried.push({ queued, reason: verdict.reason });
        break;
      case 'poll':
        sorted.followed.push({ ...queued, lastTry: followedTry, ref: verdict.ref });
        break;
      case 'retry': {
        const { afterMs, reason, countAttempt } = verdict;
        const back = sorted.back.get(afterMs) ?? [];
        back.push({
          ...queued,
          attempts: queued.attempts + (countAttempt ? 1 : 0),
          alone: verdict.alone ?? queued.alone,
          lastTry: { deliveryId, reason },
          ref: null,
        });
        sorted.back.set(afterMs, back);
      }
    }
  }
  return sorted;
}
