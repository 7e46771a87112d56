import type { Clock } from '../clock.js';
import type { Envelope, Lane, Parcel, Reason, Sent, Settled, Trigger } from '../envelope.js';
import type { Buffer, Destination } from './destination.js';
import type { Follower } from './follow.js';
import type { OverAge } from './over-age.js';
import type { LanePauses } from './pauses.js';
import { toPayloads } from './payloads.js';
import type { LaneHealth } from './health.js';
import type { Limiter, Permit } from './limiter.js';
import type { Recorder } from './record.js';
import type { RetryPolicy } from './retry.js';
import { toDelivery, toSettled } from './settle.js';
import { splitBatch } from './split.js';

export type AttemptDeps = {
  readonly lane: Lane;
  readonly buffer: Pick<Buffer, 'holds' | 'settle'>;
  readonly destination: Destination;
  readonly limiter: Limiter;
  readonly health: LaneHealth;
  readonly pauses: Pick<LanePauses, 'isStopped'>;
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
    first = null;
    if (permit === null || deps.pauses.isStopped) {
      permit?.cancel();
      await putBack([part, ...parts].flat(), deps);
      return;
    }
    parts.unshift(...(await request(part, { ...batch, permit }, deps)));
  }
}

/** One request, judged and settled. Returns the parts that must go again. */
async function request(
  parcels: readonly Parcel[],
  { trigger, permit }: Batch,
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
  const pauseMs = pauseIfNeeded(sent, random, deps);
  const endedAt = clock.now();

  const { judged, again, method } = splitBatch(parcels, sent.outcomes);
  const isWornOut = (envelope: Envelope): boolean => deps.overAge.noteFailure(envelope);
  const settled = toSettled(judged, { policy, random, now: endedAt, isWornOut });
  const facts = { id: deps.newDeliveryId(), lane, trigger, at, envelopes, endedAt, pauseMs };
  const delivery = toDelivery(facts, sent, settled);
  await buffer.settle({ lane, settled, delivery });
  recorder.settled(lane, settled);
  recorder.request(delivery);
  if (method !== null) recorder.split(lane, method);
  const ref = delivery.importJob?.id;
  if (ref !== undefined)
    deps.follower.follow({ lane, ref, delivery, parcels: toFollowed(settled, parcels) });
  return again;
}

/** Returns for how many ms the lane pauses. */
function pauseIfNeeded(sent: Sent, random: number, { lane, health, limiter }: AttemptDeps): number {
  const pauseMs = health.note(sent.outcomes, random);
  if (pauseMs > 0) limiter.pause(lane, pauseMs);
  return pauseMs;
}

/** Stopped or paused in the middle of a split: nothing was decided about these, so they go back as they came. */
async function putBack(parcels: readonly Parcel[], { lane, buffer }: AttemptDeps): Promise<void> {
  const reason: Reason = { code: 'stopped', detail: 'the lane stopped before this was sent' };
  const settled = parcels.flat().map((envelope: Envelope): Settled => {
    return { envelope, verdict: { kind: 'retry', afterMs: 0, reason, countAttempt: false } };
  });
  await buffer.settle({ lane, settled });
}

/** The parcels whose verdict waits for the import job. */
function toFollowed(settled: readonly Settled[], parcels: readonly Parcel[]): readonly Parcel[] {
  const followed = new Set<Envelope>();
  for (const { envelope, verdict } of settled)
    if (verdict.kind === 'follow') followed.add(envelope);
  return parcels.filter(([oldest]) => followed.has(oldest));
}
