import { attempt, type AttemptDeps } from './attempt.js';
import type { Batcher } from './batcher.js';
import type { DeliveryStore } from '../model/destination.js';
import type { RejectionProber } from './held-back.js';
import type { LanePauses } from './pauses.js';
import { yieldAfterLargeBatch } from '../slices.js';

export type DeliverDeps = AttemptDeps & {
  readonly pauses: LanePauses;
  readonly buffer: DeliveryStore;
  readonly batcher: Batcher;
  readonly heldBack: RejectionProber;
  /** Our own fault, such as a store that fails: the process ends with the reason. */
  readonly onFatal: (error: unknown) => void;
};

/** When to stop: `claiming` ends the loop, `splitting` also what a split would still send. */
export type StopSignals = { readonly claiming: AbortSignal; readonly splitting: AbortSignal };

/**
 * THE LOOP, one per lane. Token first, then claim: while the lane waits for the limiter its batch
 * keeps filling and no lease runs. Resolves when it was told to stop and nothing is in flight.
 */
export async function deliver(
  deps: DeliverDeps,
  { claiming, splitting }: StopSignals,
): Promise<void> {
  const { lane, batcher, limiter, buffer, health, pauses, isolation, heldBack } = deps;
  const inFlight = new Set<Promise<void>>();
  for (;;) {
    const due = await batcher.due(claiming);
    if (due === null) break;
    while (inFlight.size >= health.maxInFlight()) await Promise.race(inFlight);
    // One request decides whether it is an outage; more would only be more of the same.
    while (isolation.isBusy && health.isInDoubt && !claiming.aborted)
      await isolation.changed(claiming);
    const permit = await limiter.acquire(lane, claiming);
    if (permit === null) break;
    // It may have been stopped while the batch was filling or the permit was waited for.
    if (pauses.isStopped) {
      permit.cancel();
      await pauses.untilOpen(claiming);
      continue;
    }
    const trigger = batcher.trigger() ?? due;
    const items = await heldBack.keep(await buffer.claim(lane, health.bounds()));
    if (items.length === 0) {
      permit.cancel();
      continue;
    }
    const sending = attempt({ trigger, items, permit }, deps, splitting)
      .catch(deps.onFatal)
      .finally(() => inFlight.delete(sending));
    inFlight.add(sending);
    await yieldAfterLargeBatch(items.length);
  }
  await Promise.all(inFlight);
  await isolation.idle();
  await heldBack.idle();
}
