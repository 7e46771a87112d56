import type { Reason } from '../model/outcome.js';
import type { SettledEnvelope } from '../model/store.js';
import type { Queued } from './lane-queue.js';

/** A settlement, sorted by what it does to the store. */
export type SortedSettlement<T extends Queued = Queued> = {
  readonly delivered: T[];
  readonly merged: T[];
  readonly deadLettered: { readonly queued: T; readonly reason: Reason }[];
  /** Retries, by their delay in ms. */
  readonly retries: Map<number, T[]>;
  /** Envelopes in an import job; they stay claimed. */
  readonly polled: T[];
  /** Import jobs that ended: a job ends for all of its envelopes in one settlement. */
  readonly ended: Set<string>;
};

/** `find` returns the claimed envelope with this id. Envelopes that are not claimed (settled twice) are skipped. */
export function sortSettlement<T extends Queued>(
  settled: readonly SettledEnvelope[],
  deliveryId: string | null,
  find: (id: string) => T | undefined,
): SortedSettlement<T> {
  const sorted: SortedSettlement<T> = {
    delivered: [],
    merged: [],
    deadLettered: [],
    retries: new Map(),
    polled: [],
    ended: new Set(),
  };
  // One object for all envelopes of a request: there may be ten thousand, and they may stay for long.
  const pollingTry = { deliveryId, reason: null };
  for (const { envelope, verdict } of settled) {
    const queued = find(envelope.id);
    if (queued === undefined) continue;
    if (verdict.kind !== 'poll' && queued.ref !== null) sorted.ended.add(queued.ref);
    switch (verdict.kind) {
      case 'ack':
        sorted[verdict.as].push(queued);
        break;
      case 'dead-letter':
        sorted.deadLettered.push({ queued, reason: verdict.reason });
        break;
      case 'poll':
        sorted.polled.push({ ...queued, lastTry: pollingTry, ref: verdict.ref });
        break;
      case 'retry': {
        const { afterMs, reason, countAttempt } = verdict;
        const retries = sorted.retries.get(afterMs) ?? [];
        retries.push({
          ...queued,
          attempts: queued.attempts + (countAttempt ? 1 : 0),
          alone: verdict.alone ?? queued.alone,
          lastTry: { deliveryId, reason },
          ref: null,
        });
        sorted.retries.set(afterMs, retries);
      }
    }
  }
  return sorted;
}
