import type { Clock } from '../clock.js';
import type { Trigger } from '../model/delivery.js';
import type { DeliveryStore } from '../model/destination.js';
import type { BatchItem } from '../model/envelope.js';
import type { Lane } from '../model/lane.js';
import type { Limiter, Permit } from '../model/limiter.js';
import type { Outcome } from '../model/outcome.js';
import type { SettledEnvelope } from '../model/store.js';
import { yieldAfterLargeBatch } from '../slices.js';
import { judgeItems, toReturned, type FailureHistory, type RetryPolicy } from './judge.js';
import type { FailureContext, LaneHealth, LanePauses } from './lane-state.js';
import { Signal } from './signal.js';

/**
 * Isolates a record that makes requests fail without being named: Klaviyo responds with 500, a firewall
 * responds with a page, the connection breaks. The failed batch stays claimed and is halved at once,
 * without backoff, until the record is alone.
 *
 * An outage looks the same at first. The lane's count of failures in a row tells the two apart: after two
 * failures the next part is a single envelope. If it succeeds, the content of the batch was the cause, and
 * halving goes on. If it fails as well, it is an outage (`lane-state.ts`), and all parts return to the store
 * with backoff. An outage thus costs three requests before the lane pauses, as many as without halving, and
 * one more if several requests were in flight together.
 *
 * An envelope that fails alone while others succeed is sent again with a backoff of its own. The more such
 * envelopes there are, the longer each of them waits, so that they use a small share of the lane's requests.
 *
 * Nothing of this is stored: after a restart the store offers the envelopes again, and they are halved anew.
 */
export class Isolation {
  readonly #deps: IsolationDeps;
  readonly #queue: FailedPart[] = [];
  readonly #changed = new Signal();
  /** Ids of the envelopes that fail alone while others succeed. */
  readonly #isolated = new Set<string>();
  #items = 0;
  #running: Promise<void> | null = null;

  constructor(deps: IsolationDeps) {
    this.#deps = deps;
  }

  get isBusy(): boolean {
    return this.#running !== null;
  }

  /** Decides whether the content of a request may be why it failed, and what follows. `cause`: the failed batch that the request is a part of. */
  diagnose(
    items: readonly BatchItem[],
    outcomes: readonly Outcome[],
    cause: FailedPart | undefined,
  ): Diagnosis {
    const { health, maxItems } = this.#deps;
    const failure = findSharedFailure(outcomes);
    const haveOthersPassed = cause !== undefined && health.passes > cause.passes;
    if (failure === null) return { outcomes, failure, haveOthersPassed, next: 'judge' };
    const isSplittable = items.length > 1 && !health.isDown;
    const isHalved = isSplittable && (cause !== undefined || this.#items < maxItems);
    const isUndecided = isHalved || (isSplittable && this.isBusy);
    const hasFailedAlone =
      items.length === 1 &&
      items.flat().every(({ alone, attempts }) => alone === true && attempts > 0);
    const isOnlyFailure = haveOthersPassed && items.length === 1;
    const isMerged = items.flat().length > 1;
    const context = { failure, haveOthersPassed, isUndecided, hasFailedAlone };
    if (isHalved) return { ...context, outcomes, next: 'halve' };
    if (isOnlyFailure && isMerged) return { ...context, outcomes, next: 'unmerge' };
    if (!hasFailedAlone && !isOnlyFailure) return { ...context, outcomes, next: 'judge' };
    // Only the content of this envelope is wrong, so a blocked lane is not the reason.
    const retryable: Outcome = { kind: 'retryable', reason: failure.reason };
    return { ...context, outcomes: outcomes.map(() => retryable), next: 'isolate' };
  }

  /** Halves a failed batch. Returns at once; the parts are sent one after the other. */
  add(failed: FailedPart): void {
    this.#items += failed.items.length;
    // Every second item, because bad records are often neighbours.
    const even = failed.items.filter((_item, index) => index % 2 === 0);
    const odd = failed.items.filter((_item, index) => index % 2 === 1);
    for (const items of [even, odd]) if (items.length > 0) this.#queue.push({ ...failed, items });
    this.#running ??= this.#run()
      .catch(this.#deps.onFatal)
      .finally(() => {
        this.#running = null;
        this.#changed.notify();
      });
  }

  /** Resolves after the next request of a part, or when no part is left. */
  changed(signal: AbortSignal): Promise<void> {
    return this.#changed.wait(this.#deps.clock, null, signal);
  }

  async idle(): Promise<void> {
    while (this.#running !== null) await this.#running;
  }

  /** Returns the delay before an envelope that fails alone is sent again. */
  isolatedDelayMs(id: string, delayMs: number): number {
    this.#isolated.add(id);
    return Math.max(delayMs, this.#isolated.size * isolatedSpacingMs);
  }

  /** Forgets the envelopes that are not sent again. */
  forgetSettled(settled: readonly SettledEnvelope[]): void {
    if (this.#isolated.size === 0) return;
    for (const { envelope, verdict } of settled) {
      if (verdict.kind !== 'retry') this.#isolated.delete(envelope.id);
    }
  }

  async #run(): Promise<void> {
    const { lane, limiter, health, pauses, signal, random, send } = this.#deps;
    const isOpen = (): boolean => !health.isDown && !pauses.isStopped;
    for (let part = this.#queue.shift(); part !== undefined; part = this.#queue.shift()) {
      const permit = isOpen() ? await limiter.acquire(lane, signal) : null;
      if (permit === null || !isOpen()) {
        permit?.cancel();
        await this.#return([part, ...this.#queue.splice(0)]);
        // More may have failed meanwhile.
        continue;
      }
      let { items } = part;
      if (health.isInDoubt) {
        // One envelope decides whether it is an outage.
        const at = Math.floor(random() * items.length);
        const rest = items.filter((_item, index) => index !== at);
        items = items.slice(at, at + 1);
        if (rest.length > 0) this.#queue.unshift({ ...part, items: rest });
      }
      this.#items -= items.length;
      const again = await send({ ...part, items, permit, cause: part });
      this.#items += again.flat().length;
      const failed = part;
      this.#queue.unshift(...again.map((rest) => ({ ...failed, items: rest })));
      this.#changed.notify();
    }
  }

  /** In an outage the parts get an attempt and a backoff; after any other stop they return unchanged. */
  async #return(parts: readonly FailedPart[]): Promise<void> {
    const { lane, store, clock, policy, pauses, failureHistory } = this.#deps;
    this.#items = 0;
    const context = { policy, random: this.#deps.random(), now: clock.now(), failureHistory };
    const isOutage = pauses.has('outage') && !pauses.isStopped;
    for (const { items, failure } of parts) {
      await yieldAfterLargeBatch(items.length);
      const settled = isOutage
        ? judgeItems(
            items.map((item) => ({ item, outcome: failure })),
            context,
          )
        : toReturned(items);
      await store.settle({ lane, settled });
      this.#deps.onSettled(settled);
    }
  }
}

export type IsolationDeps = {
  readonly lane: Lane;
  readonly store: Pick<DeliveryStore, 'settle'>;
  readonly limiter: Limiter;
  readonly health: LaneHealth;
  readonly pauses: LanePauses;
  readonly policy: RetryPolicy;
  readonly failureHistory: FailureHistory;
  readonly clock: Clock;
  readonly random: () => number;
  readonly signal: AbortSignal;
  /** No further batch is halved while so many items wait. */
  readonly maxItems: number;
  /** Makes one request. Returns the parts of it that must be sent again. */
  readonly send: (request: PartRequest) => Promise<readonly (readonly BatchItem[])[]>;
  readonly onSettled: (settled: readonly SettledEnvelope[]) => void;
  readonly onFatal: (error: unknown) => void;
};

/** A failure that all envelopes of a request share. */
export type SharedFailure = Extract<Outcome, { kind: 'retryable' | 'blocked' }>;

/** A failed batch, or a part of one. */
export type FailedPart = {
  readonly items: readonly BatchItem[];
  readonly trigger: Trigger;
  readonly failure: SharedFailure;
  /** `LaneHealth.passes` when the batch failed. */
  readonly passes: number;
};

type PartRequest = FailedPart & { readonly permit: Permit; readonly cause: FailedPart };

/**
 * What follows a request:
 * - `judge`: every envelope gets its verdict.
 * - `halve`: the batch is halved, and nothing is judged yet.
 * - `unmerge`: the request had one item, made of several profiles, and failed while others succeeded. Each
 *   profile is sent again alone.
 * - `isolate`: the request had one envelope and failed while others succeeded. It is sent again alone, with a
 *   backoff of its own.
 */
export type Diagnosis = FailureContext & {
  readonly outcomes: readonly Outcome[];
} & (
    | { readonly failure: SharedFailure | null; readonly next: 'judge' }
    | { readonly failure: SharedFailure; readonly next: 'halve' | 'unmerge' | 'isolate' }
  );

/** Isolated envelopes use at most 30 of the 150 requests that Klaviyo allows in a minute. */
const isolatedSpacingMs = 2000;

/**
 * Pure: the failure that all envelopes of a request share, if their content may be the cause; otherwise
 * null.
 */
function findSharedFailure(outcomes: readonly Outcome[]): SharedFailure | null {
  const [first] = outcomes;
  if (first === undefined || !isContentFailure(first)) return null;
  return outcomes.every((outcome) => outcome.kind === first.kind && isContentFailure(outcome))
    ? first
    : null;
}

const isContentFailure = (outcome: Outcome): outcome is SharedFailure =>
  (outcome.kind === 'retryable' || outcome.kind === 'blocked') && outcome.mayBeContent === true;
