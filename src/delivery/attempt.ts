import type { Clock } from '../clock.js';
import type { Envelope, BatchItem } from '../model/envelope.js';
import type { Lane } from '../model/lane.js';
import type { Outcome } from '../model/outcome.js';
import type { SettledEnvelope } from '../model/store.js';
import type { Trigger } from '../model/delivery.js';
import type { BatcherOptions } from './batcher.js';
import { toRequestedPause } from './requested-pause.js';
import type { DeliveryStore, Destination } from '../model/destination.js';
import type { ImportJobPoller } from './import-job-poller.js';
import type { FailureHistory } from './over-age.js';
import type { LanePauses } from './pauses.js';
import { toPayloads } from './payloads.js';
import type { FailureContext, LaneHealth } from './health.js';
import {
  findSharedFailure,
  type SharedFailure,
  type Isolation,
  type FailedPart,
} from './isolation.js';
import type { Limiter, Permit } from '../model/limiter.js';
import type { Recorder } from './record.js';
import type { UniformRejections } from './refusals.js';
import type { RetryPolicy } from './retry.js';
import { toDelivery, withMinDelay, toReturned, judgeItems, toUnmerged } from './settle.js';
import { splitBatch } from './split.js';
import { yieldAfterLargeBatch } from '../slices.js';

export type AttemptDeps = {
  readonly lane: Lane;
  readonly buffer: Pick<DeliveryStore, 'stillOwned' | 'settle'> & BatcherOptions['buffer'];
  readonly destination: Destination;
  readonly limiter: Limiter;
  readonly health: LaneHealth;
  readonly pauses: Pick<LanePauses, 'isStopped'>;
  readonly isolation: Isolation;
  readonly refusals: UniformRejections;
  readonly poller: ImportJobPoller;
  readonly recorder: Recorder;
  readonly policy: RetryPolicy;
  readonly overAge: FailureHistory;
  readonly clock: Clock;
  readonly random: () => number;
  readonly newDeliveryId: () => string;
};

export type Batch = {
  readonly trigger: Trigger;
  readonly items: readonly BatchItem[];
  /** For the first request; the parts of a split take their own. */
  readonly permit: Permit;
  /** The failed batch that this is a part of. */
  readonly cause?: FailedPart;
};

/**
 * Sends one batch until every envelope in it has a verdict. That is usually one request. If a bad record
 * makes it fail, the others go again in parts, each with a permit of its own; the verdicts of each part
 * are settled at once.
 */
export async function attempt(batch: Batch, deps: AttemptDeps, signal: AbortSignal): Promise<void> {
  const parts: (readonly BatchItem[])[] = [batch.items];
  let first: Permit | null = batch.permit;
  for (let part = parts.shift(); part !== undefined; part = parts.shift()) {
    const permit: Permit | null = first ?? (await deps.limiter.acquire(deps.lane, signal));
    // In an outage a part would be larger than a probe.
    const isDown = first === null && deps.health.isDown;
    first = null;
    if (permit === null || deps.pauses.isStopped || isDown) {
      permit?.cancel();
      await putBack([part, ...parts].flat(), deps);
      return;
    }
    const again = await sendOnce({ ...batch, items: part, permit }, deps);
    parts.unshift(...again);
    // Halving would go on to the last envelope, and reject each for the same reason.
    if (deps.refusals.isActive && again.length === 0 && parts.length > 0) {
      const settled = deps.refusals.holdAll(parts.splice(0).flat());
      await deps.buffer.settle({ lane: deps.lane, settled });
    }
  }
}

/** Makes one request, judges and settles it. Returns the parts that must go again. */
export async function sendOnce(
  { items, trigger, permit, cause }: Batch,
  deps: AttemptDeps,
): Promise<readonly (readonly BatchItem[])[]> {
  const { lane, buffer, clock, policy, recorder } = deps;
  const envelopes = items.flat();
  const mayGo = buffer.stillOwned && (() => buffer.stillOwned?.(envelopes) !== false);
  // Another relay may have taken it over during the wait for the permit: sent now, it could follow newer ones.
  if (mayGo?.() === false) {
    permit.cancel();
    // If no relay has taken them over, they can be claimed again.
    await putBack(items, deps);
    return [];
  }
  await yieldAfterLargeBatch(envelopes.length);
  const at = clock.now();
  const sent = await deps.destination.send(lane, toPayloads(items, deps.destination), mayGo);
  permit.end(sent.feedback);
  const random = deps.random();
  const endedAt = clock.now();
  const { isolation, health } = deps;
  const blame = diagnose(items, sent.outcomes, { health, isolation, ...(cause && { cause }) });
  const { outcomes, isHalved } = blame;
  const notedMs = health.noteOutcomes(outcomes, random, blame);

  const { judged, again, method } = isHalved ? halved : splitBatch(items, outcomes);
  const hasFailedEnough = (envelope: Envelope): boolean => deps.overAge.noteFailure(envelope);
  const judgedAs = judgeItems(judged, {
    policy,
    random,
    now: endedAt,
    hasFailedEnough: hasFailedEnough,
  });
  const retried = toRetried(judgedAs, { blame, items, notedMs }, deps);
  const { settled, pauseMs: refusedMs } = deps.refusals.filterRejections(retried, 'request');
  const pauseMs = Math.max(notedMs, refusedMs);
  if (pauseMs > 0) deps.limiter.pause(lane, pauseMs);
  const facts = {
    id: deps.newDeliveryId(),
    lane,
    trigger,
    at,
    envelopes,
    pause: toRequestedPause(clock, pauseMs),
  };
  const delivery = toDelivery(facts, sent, settled);
  await yieldAfterLargeBatch(envelopes.length);
  await buffer.settle({ lane, settled, delivery });
  isolation.settled(settled);
  recorder.recordSettled(lane, settled);
  recorder.recordDelivery(delivery);
  if (method !== null) recorder.recordSplit(lane, method);
  if (blame.failure !== null && isHalved) {
    const passes = cause?.passes ?? health.passes;
    isolation.add({ items, trigger, failure: blame.failure, passes });
  }
  const ref = delivery.importJob?.id;
  if (ref !== undefined)
    deps.poller.add({ lane, ref, delivery, items: toFollowed(settled, items) });
  return again;
}

/** The isolation decides later. */
const halved = { judged: [], again: [], method: 'bisect' } as const;

type Blame = FailureContext & {
  /** As they came; those of a culprit become retryable, because only its content is wrong. */
  readonly outcomes: readonly Outcome[];
  readonly isHalved: boolean;
  /** One envelope that fails in a request of its own while others pass. */
  readonly isCulprit: boolean;
} & (
    | { readonly failure: SharedFailure | null; readonly isTakenApart: false }
    /** The request had only profiles that were merged into one, and failed while others passed: one of the profiles is the culprit. */
    | { readonly failure: SharedFailure; readonly isTakenApart: true }
  );

/** Pure: whether the content of a request may be why it failed, and what follows. */
function diagnose(
  items: readonly BatchItem[],
  outcomes: readonly Outcome[],
  { health, isolation, cause }: Pick<AttemptDeps, 'health' | 'isolation'> & Pick<Batch, 'cause'>,
): Blame {
  const failure = findSharedFailure(outcomes);
  const haveOthersPassed = cause !== undefined && health.passes > cause.passes;
  if (failure === null) {
    const isNone = { isHalved: false, isCulprit: false, isTakenApart: false } as const;
    return { outcomes, failure, haveOthersPassed, ...isNone };
  }
  const isInCompany = items.length > 1 && !health.isDown;
  const isHalved = isInCompany && (cause !== undefined || isolation.hasRoom);
  const isUndecided = isHalved || (isInCompany && isolation.isBusy);
  const isSuspect = items.length === 1 && items.flat().every(hasFailedAlone);
  const isOnly = haveOthersPassed && items.length === 1;
  const isMerged = items.flat().length > 1;
  const isCulprit = isSuspect || (isOnly && !isMerged);
  const { reason } = failure;
  const retried: Outcome = { kind: 'retryable', reason };
  return {
    outcomes: isCulprit ? outcomes.map(() => retried) : outcomes,
    failure,
    haveOthersPassed,
    isHalved,
    isUndecided,
    isSuspect,
    isCulprit,
    isTakenApart: isOnly && isMerged,
  };
}

/** When what the request could not decide goes again, and in which company. */
function toRetried(
  settled: readonly SettledEnvelope[],
  facts: { readonly blame: Blame; readonly items: readonly BatchItem[]; readonly notedMs: number },
  deps: AttemptDeps,
): readonly SettledEnvelope[] {
  const { blame, items, notedMs } = facts;
  if (blame.isTakenApart) return toUnmerged(items, blame.failure.reason);
  if (!blame.isCulprit) return withMinDelay(settled, () => minRetryMs(notedMs, deps));
  return withMinDelay(
    settled,
    ({ id }, afterMs) => deps.isolation.suspectDelayMs(id, afterMs),
    true,
  );
}

const hasFailedAlone = ({ alone, attempts }: Envelope): boolean => alone === true && attempts > 0;

/** After a failed probe, other envelopes are the next probe, if any wait. */
function minRetryMs(pauseMs: number, { lane, health, buffer }: AttemptDeps): number {
  return health.isDown && pauseMs > 0 && buffer.claimable(lane).count > 0 ? 2 * pauseMs : 0;
}

async function putBack(items: readonly BatchItem[], { lane, buffer }: AttemptDeps): Promise<void> {
  await buffer.settle({ lane, settled: toReturned(items) });
}

/** The items whose verdict waits for the import job. */
function toFollowed(
  settled: readonly SettledEnvelope[],
  items: readonly BatchItem[],
): readonly BatchItem[] {
  const followed = new Set<Envelope>();
  for (const { envelope, verdict } of settled) if (verdict.kind === 'poll') followed.add(envelope);
  return items.filter(([oldest]) => followed.has(oldest));
}
