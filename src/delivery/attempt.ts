import type { Clock } from '../clock.js';
import type { Envelope, Lane, Outcome, Parcel, Settled, Trigger } from '../envelope.js';
import type { BatcherOptions } from './batcher.js';
import { toAskedPause } from './asked-pause.js';
import type { Buffer, Destination } from './destination.js';
import type { Follower } from './follow.js';
import type { OverAge } from './over-age.js';
import type { LanePauses } from './pauses.js';
import { toPayloads } from './payloads.js';
import type { Circumstance, LaneHealth } from './health.js';
import { toFailure, type Failure, type Isolation, type Part } from './isolation.js';
import type { Limiter, Permit } from './limiter.js';
import type { Recorder } from './record.js';
import type { Refusals } from './refusals.js';
import type { RetryPolicy } from './retry.js';
import { toDelivery, toLater, toPutBack, toSettled } from './settle.js';
import { splitBatch } from './split.js';

export type AttemptDeps = {
  readonly lane: Lane;
  readonly buffer: Pick<Buffer, 'holds' | 'settle'> & BatcherOptions['buffer'];
  readonly destination: Destination;
  readonly limiter: Limiter;
  readonly health: LaneHealth;
  readonly pauses: Pick<LanePauses, 'isStopped'>;
  readonly isolation: Isolation;
  readonly refusals: Refusals;
  readonly follower: Follower;
  readonly recorder: Recorder;
  readonly policy: RetryPolicy;
  readonly overAge: OverAge;
  readonly clock: Clock;
  readonly random: () => number;
  readonly newDeliveryId: () => string;
};

export type Batch = {
  readonly trigger: Trigger;
  readonly parcels: readonly Parcel[];
  /** For the first request; the parts of a split take their own. */
  readonly permit: Permit;
  /** The failed batch that this is a part of. */
  readonly cause?: Part;
};

/**
 * Sends one batch until every envelope in it has a verdict. Usually one request; where a bad record
 * sinks it, the rest goes again in parts, each under a permit of its own, and what a part decided is
 * settled at once.
 */
export async function attempt(batch: Batch, deps: AttemptDeps, signal: AbortSignal): Promise<void> {
  const parts: (readonly Parcel[])[] = [batch.parcels];
  let first: Permit | null = batch.permit;
  for (let part = parts.shift(); part !== undefined; part = parts.shift()) {
    const permit: Permit | null = first ?? (await deps.limiter.take(deps.lane, signal));
    // What is down would have to be probed with less than the parts of a split.
    const isDown = first === null && deps.health.isDown;
    first = null;
    if (permit === null || deps.pauses.isStopped || isDown) {
      permit?.cancel();
      await putBack([part, ...parts].flat(), deps);
      return;
    }
    const again = await request({ ...batch, parcels: part, permit }, deps);
    parts.unshift(...again);
    // Halved down to single ones, all of it would be rejected for that reason.
    if (deps.refusals.isActive && again.length === 0 && parts.length > 0) {
      const settled = deps.refusals.holdAll(parts.splice(0).flat());
      await deps.buffer.settle({ lane: deps.lane, settled });
    }
  }
}

/** One request, judged and settled. Returns the parts that must go again. */
export async function request(
  { parcels, trigger, permit, cause }: Batch,
  deps: AttemptDeps,
): Promise<readonly (readonly Parcel[])[]> {
  const { lane, buffer, clock, policy, recorder } = deps;
  const envelopes = parcels.flat();
  const mayGo = buffer.holds && (() => buffer.holds?.(envelopes) !== false);
  // Taken over while it waited for its permit: others send it, and newer ones may have left by now.
  if (mayGo?.() === false) {
    permit.cancel();
    // Where nobody has them yet, they are free for all.
    await putBack(parcels, deps);
    return [];
  }
  const at = clock.now();
  const sent = await deps.destination.send(lane, toPayloads(parcels, deps.destination), mayGo);
  permit.end(sent.feedback);
  const random = deps.random();
  const endedAt = clock.now();
  const { isolation, health } = deps;
  const blame = diagnose(parcels, sent.outcomes, { health, isolation, ...(cause && { cause }) });
  const { outcomes, isHalved } = blame;
  const notedMs = health.note(outcomes, random, blame);

  const { judged, again, method } = isHalved ? halved : splitBatch(parcels, outcomes);
  const isWornOut = (envelope: Envelope): boolean => deps.overAge.noteFailure(envelope);
  const judgedAs = toSettled(judged, { policy, random, now: endedAt, isWornOut });
  const retried = blame.isCulprit
    ? toLater(judgedAs, ({ id }, afterMs) => isolation.suspectDelayMs(id, afterMs), true)
    : toLater(judgedAs, () => minRetryMs(notedMs, deps));
  const { settled, pauseMs: refusedMs } = deps.refusals.judge(retried, 'request');
  const pauseMs = Math.max(notedMs, refusedMs);
  if (pauseMs > 0) deps.limiter.pause(lane, pauseMs);
  const facts = {
    id: deps.newDeliveryId(),
    lane,
    trigger,
    at,
    envelopes,
    pause: toAskedPause(clock, pauseMs),
  };
  const delivery = toDelivery(facts, sent, settled);
  await buffer.settle({ lane, settled, delivery });
  isolation.settled(settled);
  recorder.settled(lane, settled);
  recorder.request(delivery);
  if (method !== null) recorder.split(lane, method);
  if (blame.failure !== null && isHalved) {
    const passes = cause?.passes ?? health.passes;
    isolation.add({ parcels, trigger, failure: blame.failure, passes });
  }
  const ref = delivery.importJob?.id;
  if (ref !== undefined)
    deps.follower.follow({ lane, ref, delivery, parcels: toFollowed(settled, parcels) });
  return again;
}

/** The isolation decides later. */
const halved = { judged: [], again: [], method: 'bisect' } as const;

type Blame = Circumstance & {
  /** As given, but for a culprit: to wait for a person would not help it. */
  readonly outcomes: readonly Outcome[];
  readonly failure: Failure | null;
  readonly isHalved: boolean;
  /** One that fails by itself while others pass. */
  readonly isCulprit: boolean;
};

/** Pure: whether the content of a request may be why it failed, and what follows. */
function diagnose(
  parcels: readonly Parcel[],
  outcomes: readonly Outcome[],
  { health, isolation, cause }: Pick<AttemptDeps, 'health' | 'isolation'> & Pick<Batch, 'cause'>,
): Blame {
  const failure = toFailure(outcomes);
  const haveOthersPassed = cause !== undefined && health.passes > cause.passes;
  if (failure === null) {
    return { outcomes, failure, haveOthersPassed, isHalved: false, isCulprit: false };
  }
  const isInCompany = parcels.length > 1 && !health.isDown;
  const isHalved = isInCompany && (cause !== undefined || isolation.hasRoom);
  const isUndecided = isHalved || (isInCompany && isolation.isBusy);
  const isSuspect = parcels.length === 1 && parcels.flat().every(hasFailedAlone);
  const isCulprit = isSuspect || (haveOthersPassed && parcels.length === 1);
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
  };
}

const hasFailedAlone = ({ alone, attempts }: Envelope): boolean => alone === true && attempts > 0;

/** What failed as a probe lets others be the next one, where there are any. */
function minRetryMs(pauseMs: number, { lane, health, buffer }: AttemptDeps): number {
  return health.isDown && pauseMs > 0 && buffer.waiting(lane).count > 0 ? 2 * pauseMs : 0;
}

async function putBack(parcels: readonly Parcel[], { lane, buffer }: AttemptDeps): Promise<void> {
  await buffer.settle({ lane, settled: toPutBack(parcels) });
}

/** The parcels whose verdict waits for the import job. */
function toFollowed(settled: readonly Settled[], parcels: readonly Parcel[]): readonly Parcel[] {
  const followed = new Set<Envelope>();
  for (const { envelope, verdict } of settled)
    if (verdict.kind === 'follow') followed.add(envelope);
  return parcels.filter(([oldest]) => followed.has(oldest));
}
