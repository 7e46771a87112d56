import type { Clock } from '../clock.js';
import type { Trigger } from '../model/delivery.js';
import type { DeliveryStore, Destination } from '../model/destination.js';
import type { BatchItem, Envelope } from '../model/envelope.js';
import type { Lane } from '../model/lane.js';
import type { Limiter, Permit } from '../model/limiter.js';
import type { Verdict } from '../model/outcome.js';
import { StoreUnavailableError, type SettledEnvelope } from '../model/store.js';
import { yieldAfterLargeBatch } from '../slices.js';
import { buildPayloads, type Batcher, type ClaimableQueues } from './batcher.js';
import { toDelivery, toUnchangedDelivery, type Recorder } from './delivery-record.js';
import type { ImportJobPoller } from './import-job-poller.js';
import type { Diagnosis, FailedPart, Isolation } from './isolation.js';
import {
  judgeDelivered,
  judgeItems,
  splitBatch,
  toReturned,
  toUnmerged,
  withMinDelay,
  type FailureHistory,
  type RetryPolicy,
} from './judge.js';
import type { LaneHealth, LanePauses } from './lane-state.js';
import { toRequestedPause } from './limiter/restore.js';
import type { UnchangedProfiles } from './unchanged-profiles.js';
import type { RejectionProber, UniformRejections } from './uniform-rejections.js';

/**
 * THE DELIVERY LOOP. One loop runs for each lane, isolated from the others:
 *
 *   wait until a batch is due → wait for a permit → claim → send → judge → settle
 *
 * - `deliverLane` is the loop. The permit comes before the claim: while the lane waits for the limiter,
 *   its batch keeps filling, and no lease runs.
 * - `sendBatch` sends one batch until every envelope in it has a verdict, in parts if it must be split.
 * - `sendRequest` makes one request, judges its outcomes and settles them.
 *
 * Promises: every claimed envelope is settled or returned to the store. Every request has a permit. Nothing
 * is sent that another relay may have taken over.
 */
export type LaneParts = {
  readonly lane: Lane;
  readonly store: DeliveryStore & ClaimableQueues;
  readonly destination: Destination;
  readonly limiter: Limiter;
  readonly batcher: Batcher;
  readonly pauses: LanePauses;
  readonly health: LaneHealth;
  readonly isolation: Isolation;
  readonly uniformRejections: UniformRejections;
  readonly prober: RejectionProber;
  readonly poller: ImportJobPoller;
  readonly recorder: Recorder;
  readonly policy: RetryPolicy;
  readonly failureHistory: FailureHistory;
  readonly clock: Clock;
  readonly random: () => number;
  readonly createDeliveryId: () => string;
  readonly review: Review | undefined;
  readonly unchangedProfiles: UnchangedProfiles | undefined;
  /** Called for a bug of the relay or a store that fails: the process ends with the reason. */
  readonly onFatal: (error: unknown) => void;
};

/**
 * Looks at the envelopes of a claim before they are sent. Returns the verdicts of those that must not be
 * sent now, by their ids. A StoreUnavailableError means that nothing of the claim can be sent.
 */
export type Review = (
  lane: Lane,
  envelopes: readonly Envelope[],
) => Promise<ReadonlyMap<string, Verdict>>;

/** `claiming` ends the loop; `splitting` also ends the wait for permits of the parts of a batch. */
export type StopSignals = { readonly claiming: AbortSignal; readonly splitting: AbortSignal };

/** Runs until `claiming` aborts. Resolves when nothing is in flight. */
export async function deliverLane(
  parts: LaneParts,
  { claiming, splitting }: StopSignals,
): Promise<void> {
  const { lane, store, limiter, batcher, health, pauses, isolation, prober } = parts;
  const inFlight = new Set<Promise<void>>();
  for (;;) {
    const due = await batcher.due(claiming);
    if (due === null) break;
    while (inFlight.size >= health.maxInFlight()) await Promise.race(inFlight);
    // One request decides whether it is an outage; further ones would fail in the same way.
    while (isolation.isBusy && health.isInDoubt && !claiming.aborted)
      await isolation.changed(claiming);
    const permit = await limiter.acquire(lane, claiming);
    if (permit === null) break;
    // The lane may have been paused while it waited for the batch or for the permit.
    if (pauses.isStopped) {
      permit.cancel();
      await pauses.untilOpen(claiming);
      continue;
    }
    const trigger = batcher.trigger() ?? due;
    const claimed = await prober.keep(await store.claim(lane, health.bounds()));
    const reviewed = await reviewItems(claimed, parts);
    const items = await withoutUnchanged(reviewed, trigger, parts);
    if (items.length === 0) {
      permit.cancel();
      continue;
    }
    const sending = sendBatch({ trigger, items, permit }, parts, splitting)
      .catch(parts.onFatal)
      .finally(() => inFlight.delete(sending));
    inFlight.add(sending);
    await yieldAfterLargeBatch(items.length);
  }
  await Promise.all(inFlight);
  await isolation.idle();
  await prober.idle();
}

/**
 * Settles the envelopes that must not be sent now, and returns the others. If the store is unavailable,
 * nothing is sent, and the envelopes can be claimed again.
 */
async function reviewItems(
  items: readonly BatchItem[],
  { lane, store, recorder, review }: LaneParts,
): Promise<readonly BatchItem[]> {
  if (items.length === 0 || review === undefined) return items;
  const envelopes = items.flat();
  try {
    const verdicts = await review(lane, envelopes);
    if (verdicts.size === 0) return items;
    const settled = envelopes.flatMap((envelope): readonly SettledEnvelope[] => {
      const verdict = verdicts.get(envelope.id);
      return verdict === undefined ? [] : [{ envelope, verdict }];
    });
    await store.settle({ lane, settled });
    recorder.recordSettled(lane, settled);
    return items.filter((item) => !item.some(({ id }) => verdicts.has(id)));
  } catch (error) {
    if (!(error instanceof StoreUnavailableError)) throw error;
    await store.settle({ lane, settled: toReturned(items) });
    return [];
  }
}

/** Acknowledges the profiles that would change nothing, and returns the other items. */
async function withoutUnchanged(
  items: readonly BatchItem[],
  trigger: Trigger,
  { lane, store, recorder, clock, unchangedProfiles, createDeliveryId }: LaneParts,
): Promise<readonly BatchItem[]> {
  const unchanged = unchangedProfiles?.select(lane, items) ?? [];
  if (unchanged.length === 0) return items;
  const settled = judgeDelivered(unchanged);
  const envelopes = unchanged.flat();
  const request = { id: createDeliveryId(), lane, trigger, at: clock.now(), envelopes };
  await store.settle({ lane, settled, delivery: toUnchangedDelivery(request, settled) });
  recorder.recordSettled(lane, settled);
  recorder.recordUnchanged(envelopes.length);
  const left = new Set(unchanged);
  return items.filter((item) => !left.has(item));
}

export type Batch = {
  readonly trigger: Trigger;
  readonly items: readonly BatchItem[];
  /** For the first request; each further part of a split batch gets its own permit. */
  readonly permit: Permit;
  /** The failed batch that this is a part of. */
  readonly cause?: FailedPart;
};

/**
 * Sends one batch until every envelope in it has a verdict. That is usually one request. If a bad record
 * makes the request fail, the others are sent again in parts, and each part is settled at once.
 */
export async function sendBatch(
  batch: Batch,
  parts: LaneParts,
  signal: AbortSignal,
): Promise<void> {
  const { lane, store, limiter, health, pauses, uniformRejections } = parts;
  const queue: (readonly BatchItem[])[] = [batch.items];
  let firstPermit: Permit | null = batch.permit;
  for (let items = queue.shift(); items !== undefined; items = queue.shift()) {
    const permit: Permit | null = firstPermit ?? (await limiter.acquire(lane, signal));
    // In an outage the lane sends only probes, and a part would be larger.
    const isClosed = pauses.isStopped || (firstPermit === null && health.isDown);
    firstPermit = null;
    if (permit === null || isClosed) {
      permit?.cancel();
      await store.settle({ lane, settled: toReturned([items, ...queue].flat()) });
      return;
    }
    const again = await sendRequest({ ...batch, items, permit }, parts);
    queue.unshift(...again);
    // Halving would go on to the last envelope, and reject each for the same reason.
    if (uniformRejections.isActive && again.length === 0 && queue.length > 0) {
      const settled = uniformRejections.holdAll(queue.splice(0).flat());
      await store.settle({ lane, settled });
    }
  }
}

/** Makes one request, judges its outcomes and settles them. Returns the parts that must be sent again. */
export async function sendRequest(
  { items, trigger, permit, cause }: Batch,
  parts: LaneParts,
): Promise<readonly (readonly BatchItem[])[]> {
  const { lane, store, destination, limiter, health, isolation, recorder, clock, policy } = parts;
  const envelopes = items.flat();
  const stillOwned = store.stillOwned && (() => store.stillOwned?.(envelopes) !== false);
  // During the wait for the permit another relay may have taken over the envelopes. Sent now, they could
  // arrive after newer ones.
  if (stillOwned?.() === false) {
    permit.cancel();
    // If no relay has taken them over, they can be claimed again.
    await store.settle({ lane, settled: toReturned(items) });
    return [];
  }
  await yieldAfterLargeBatch(envelopes.length);

  // Send.
  const at = clock.now();
  const payloads = buildPayloads(items, destination);
  parts.unchangedProfiles?.noteRequest(lane, items, payloads);
  const sent = await destination.send(lane, payloads, stillOwned);
  permit.end(sent.feedback);

  // Judge: first the lane, then each envelope.
  const random = parts.random();
  const now = clock.now();
  const diagnosis = isolation.diagnose(items, sent.outcomes, cause);
  const healthPauseMs = health.noteOutcomes(diagnosis.outcomes, random, diagnosis);
  const { judged, again, method } =
    diagnosis.next === 'halve'
      ? ({ judged: [], again: [], method: 'bisect' } as const)
      : splitBatch(items, diagnosis.outcomes);
  const { failureHistory } = parts;
  const verdicts = judgeItems(judged, { policy, random, now, failureHistory });
  const delayed = delayRetries(verdicts, { diagnosis, items, healthPauseMs, parts });
  const filtered = parts.uniformRejections.filterRejections(delayed, 'request');
  const { settled } = filtered;
  const pauseMs = Math.max(healthPauseMs, filtered.pauseMs);
  if (pauseMs > 0) limiter.pause(lane, pauseMs);

  // Settle.
  const id = parts.createDeliveryId();
  const pause = toRequestedPause(clock, pauseMs);
  const delivery = toDelivery({ id, lane, trigger, at, envelopes, pause }, sent, settled);
  await yieldAfterLargeBatch(envelopes.length);
  parts.unchangedProfiles?.noteVerdicts(items, settled, true);
  await store.settle({ lane, settled, delivery });
  isolation.forgetSettled(settled);
  recorder.recordSettled(lane, settled);
  recorder.recordDelivery(delivery);
  if (method !== null) recorder.recordSplit(lane, method);
  if (diagnosis.next === 'halve') {
    const passes = cause?.passes ?? health.passes;
    isolation.add({ items, trigger, failure: diagnosis.failure, passes });
  }
  const ref = delivery.importJob?.id;
  if (ref !== undefined) {
    parts.poller.add({ lane, ref, delivery, items: selectPolledItems(items, settled) });
  }
  return again;
}

/** Decides when the envelopes that are sent again leave, and whether they leave alone. */
function delayRetries(
  settled: readonly SettledEnvelope[],
  {
    diagnosis,
    items,
    healthPauseMs,
    parts: { lane, store, health, isolation },
  }: {
    readonly diagnosis: Diagnosis;
    readonly items: readonly BatchItem[];
    readonly healthPauseMs: number;
    readonly parts: LaneParts;
  },
): readonly SettledEnvelope[] {
  switch (diagnosis.next) {
    case 'unmerge':
      return toUnmerged(items, diagnosis.failure.reason);
    case 'isolate':
      return withMinDelay(
        settled,
        ({ id }, afterMs) => isolation.isolatedDelayMs(id, afterMs),
        true,
      );
    default: {
      // After a failed probe, other envelopes are the next probe, if any are waiting.
      const isNextProbe = healthPauseMs > 0 && health.isDown && store.claimable(lane).count > 0;
      return isNextProbe ? withMinDelay(settled, () => 2 * healthPauseMs) : settled;
    }
  }
}

/** The items whose verdict waits for the import job. */
function selectPolledItems(
  items: readonly BatchItem[],
  settled: readonly SettledEnvelope[],
): readonly BatchItem[] {
  const polled = new Set<Envelope>();
  for (const { envelope, verdict } of settled) if (verdict.kind === 'poll') polled.add(envelope);
  return items.filter(([oldest]) => polled.has(oldest));
}
