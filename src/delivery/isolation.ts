import type { Clock } from '../clock.js';
import type { Envelope, Lane, Outcome, Parcel, Settled, Trigger } from '../envelope.js';
import { Bell } from './bell.js';
import type { Buffer } from './destination.js';
import type { LaneHealth } from './health.js';
import type { Limiter, Permit } from './limiter.js';
import type { OverAge } from './over-age.js';
import type { LanePauses } from './pauses.js';
import type { RetryPolicy } from './retry.js';
import { toPutBack, toSettled } from './settle.js';
import { giveWay } from '../turns.js';

/**
 * One record can make a request fail without being named: Klaviyo answers 500, a firewall answers with
 * a page, the connection breaks. Such a batch stays claimed. It is halved at once, without backoff,
 * until the record is alone.
 *
 * An outage looks the same at first. The lane's count of failures in a row tells one from the other:
 * after two failures the next part is a single envelope. If it passes, the content of the batch was the
 * cause, and halving goes on. If it fails, too, it is an outage (`health.ts`), and all parts go back
 * with backoff. An outage thus costs three requests before the lane pauses, as many as without halving,
 * and one more where several requests were under way together.
 *
 * Nothing is stored for this: after a restart the store offers the parts again, and they are halved anew.
 */
export class Isolation {
  readonly #deps: IsolationDeps;
  readonly #queue: Part[] = [];
  readonly #bell = new Bell();
  /** Envelopes that fail by themselves while others pass. */
  readonly #suspects = new Set<string>();
  #parcels = 0;
  #running: Promise<void> | null = null;

  constructor(deps: IsolationDeps) {
    this.#deps = deps;
  }

  get isBusy(): boolean {
    return this.#running !== null;
  }

  /** False when the queue is so long that another batch would only wait. */
  get hasRoom(): boolean {
    return this.#parcels < this.#deps.maxParcels;
  }

  /** Halves a failed batch, and returns at once. */
  add(failed: Part): void {
    this.#parcels += failed.parcels.length;
    this.#queue.push(...halves(failed.parcels).map((parcels) => ({ ...failed, parcels })));
    this.#running ??= this.#run()
      .catch(this.#deps.onFault)
      .finally(() => {
        this.#running = null;
        this.#bell.ring();
      });
  }

  /** Resolves after the next request of a part, or when no part is left. */
  changed(signal: AbortSignal): Promise<void> {
    return this.#bell.wait(this.#deps.clock, null, signal);
  }

  async idle(): Promise<void> {
    while (this.#running !== null) await this.#running;
  }

  /** Returns the delay before such an envelope is sent again: the more of them, the longer, so that they take a small share of the lane's requests. */
  suspectDelayMs(id: string, backoffMs: number): number {
    this.#suspects.add(id);
    return Math.max(backoffMs, this.#suspects.size * suspectSpacingMs);
  }

  settled(settled: readonly Settled[]): void {
    if (this.#suspects.size === 0) return;
    for (const { envelope, verdict } of settled) {
      if (verdict.kind !== 'retry') this.#suspects.delete(envelope.id);
    }
  }

  async #run(): Promise<void> {
    const { lane, limiter, health, pauses, signal, random, send } = this.#deps;
    for (let part = this.#queue.shift(); part !== undefined; part = this.#queue.shift()) {
      const mayGo = (): boolean => !health.isDown && !pauses.isStopped;
      const permit = mayGo() ? await limiter.take(lane, signal) : null;
      if (permit === null || !mayGo()) {
        permit?.cancel();
        await this.#giveBack([part, ...this.#queue.splice(0)]);
        // More may have failed meanwhile.
        continue;
      }
      const [parcels, left] = health.isInDoubt
        ? takeOne(part.parcels, random())
        : [part.parcels, []];
      if (left.length > 0) this.#queue.unshift({ ...part, parcels: left });
      this.#parcels -= parcels.length;
      const again = await send({ ...part, parcels, permit, cause: part });
      this.#parcels += again.flat().length;
      this.#queue.unshift(...again.map((rest) => ({ ...part, parcels: rest })));
      this.#bell.ring();
    }
  }

  /** In an outage the parts get an attempt and a backoff; after any other stop they go back as they were. */
  async #giveBack(parts: readonly Part[]): Promise<void> {
    const { lane, buffer, clock, policy, random, pauses, overAge } = this.#deps;
    this.#parcels = 0;
    const isWornOut = (envelope: Envelope): boolean => overAge.noteFailure(envelope);
    const circumstances = { policy, random: random(), now: clock.now(), isWornOut };
    const isOutage = pauses.has('outage') && !pauses.isStopped;
    for (const { parcels, failure } of parts) {
      await giveWay(parcels.length);
      const settled = isOutage
        ? toSettled(
            parcels.map((parcel) => ({ parcel, outcome: failure })),
            circumstances,
          )
        : toPutBack(parcels);
      await buffer.settle({ lane, settled });
      this.#deps.onSettled(settled);
    }
  }
}

export type IsolationDeps = {
  readonly lane: Lane;
  readonly buffer: Pick<Buffer, 'settle'>;
  readonly limiter: Limiter;
  readonly health: LaneHealth;
  readonly pauses: LanePauses;
  readonly policy: RetryPolicy;
  readonly overAge: OverAge;
  readonly clock: Clock;
  readonly random: () => number;
  readonly signal: AbortSignal;
  readonly maxParcels: number;
  /** Makes one request; returns the parts of it that must go again. */
  readonly send: (request: PartRequest) => Promise<readonly (readonly Parcel[])[]>;
  readonly onSettled: (settled: readonly Settled[]) => void;
  readonly onFault: (error: unknown) => void;
};

/** The failure that all envelopes of a request share. */
export type Failure = Extract<Outcome, { kind: 'retryable' | 'blocked' }>;

export type Part = {
  readonly parcels: readonly Parcel[];
  readonly trigger: Trigger;
  readonly failure: Failure;
  /** How many requests of the lane had passed when the batch failed. */
  readonly passes: number;
};

export type PartRequest = Part & { readonly permit: Permit; readonly cause: Part };

/** Suspects take at most 30 of the 150 requests that Klaviyo allows in a minute. */
const suspectSpacingMs = 2000;

/**
 * Pure: the failure that all envelopes of a request share, if their content may be the cause; otherwise
 * null.
 */
export function toFailure(outcomes: readonly Outcome[]): Failure | null {
  const [first] = outcomes;
  if (first === undefined || !mayBeContent(first)) return null;
  return outcomes.every((outcome) => outcome.kind === first.kind && mayBeContent(outcome))
    ? first
    : null;
}

const mayBeContent = (outcome: Outcome): outcome is Failure =>
  (outcome.kind === 'retryable' || outcome.kind === 'blocked') && outcome.mayBeContent === true;

/** Each half takes every second parcel, because bad records are often neighbours. */
function halves(parcels: readonly Parcel[]): readonly (readonly Parcel[])[] {
  const even = parcels.filter((_parcel, index) => index % 2 === 0);
  const odd = parcels.filter((_parcel, index) => index % 2 === 1);
  return [even, odd].filter((half) => half.length > 0);
}

function takeOne(
  parcels: readonly Parcel[],
  random: number,
): readonly [readonly Parcel[], readonly Parcel[]] {
  const at = Math.floor(random * parcels.length);
  return [parcels.slice(at, at + 1), parcels.filter((_parcel, index) => index !== at)];
}
