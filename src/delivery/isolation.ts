import type { Clock } from '../clock.js';
import type { Envelope, BatchItem } from '../model/envelope.js';
import type { Lane } from '../model/lane.js';
import type { Outcome } from '../model/outcome.js';
import type { SettledEnvelope } from '../model/store.js';
import type { Trigger } from '../model/delivery.js';
import { Signal } from './signal.js';
import type { DeliveryStore } from '../model/destination.js';
import type { LaneHealth } from './health.js';
import type { Limiter, Permit } from '../model/limiter.js';
import type { FailureHistory } from './over-age.js';
import type { LanePauses } from './pauses.js';
import type { RetryPolicy } from './retry.js';
import { toReturned, judgeItems } from './settle.js';
import { yieldAfterLargeBatch } from '../slices.js';

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
  readonly #queue: FailedPart[] = [];
  readonly #bell = new Signal();
  /** Envelopes that fail by themselves while others pass. */
  readonly #suspects = new Set<string>();
  #items = 0;
  #running: Promise<void> | null = null;

  constructor(deps: IsolationDeps) {
    this.#deps = deps;
  }

  get isBusy(): boolean {
    return this.#running !== null;
  }

  /** False when the queue is so long that another batch would only wait. */
  get hasRoom(): boolean {
    return this.#items < this.#deps.maxItems;
  }

  /** Halves a failed batch, and returns at once. */
  add(failed: FailedPart): void {
    this.#items += failed.items.length;
    this.#queue.push(...halves(failed.items).map((items) => ({ ...failed, items })));
    this.#running ??= this.#run()
      .catch(this.#deps.onFatal)
      .finally(() => {
        this.#running = null;
        this.#bell.notify();
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

  settled(settled: readonly SettledEnvelope[]): void {
    if (this.#suspects.size === 0) return;
    for (const { envelope, verdict } of settled) {
      if (verdict.kind !== 'retry') this.#suspects.delete(envelope.id);
    }
  }

  async #run(): Promise<void> {
    const { lane, limiter, health, pauses, signal, random, send } = this.#deps;
    for (let part = this.#queue.shift(); part !== undefined; part = this.#queue.shift()) {
      const mayGo = (): boolean => !health.isDown && !pauses.isStopped;
      const permit = mayGo() ? await limiter.acquire(lane, signal) : null;
      if (permit === null || !mayGo()) {
        permit?.cancel();
        await this.#giveBack([part, ...this.#queue.splice(0)]);
        // More may have failed meanwhile.
        continue;
      }
      const [items, left] = health.isInDoubt ? takeOne(part.items, random()) : [part.items, []];
      if (left.length > 0) this.#queue.unshift({ ...part, items: left });
      this.#items -= items.length;
      const again = await send({ ...part, items, permit, cause: part });
      this.#items += again.flat().length;
      this.#queue.unshift(...again.map((rest) => ({ ...part, items: rest })));
      this.#bell.notify();
    }
  }

  /** In an outage the parts get an attempt and a backoff; after any other stop they go back as they were. */
  async #giveBack(parts: readonly FailedPart[]): Promise<void> {
    const { lane, buffer, clock, policy, random, pauses, failureHistory: overAge } = this.#deps;
    this.#items = 0;
    const hasFailedEnough = (envelope: Envelope): boolean => overAge.noteFailure(envelope);
    const circumstances = { policy, random: random(), now: clock.now(), hasFailedEnough };
    const isOutage = pauses.has('outage') && !pauses.isStopped;
    for (const { items, failure } of parts) {
      await yieldAfterLargeBatch(items.length);
      const settled = isOutage
        ? judgeItems(
            items.map((item) => ({ item, outcome: failure })),
            circumstances,
          )
        : toReturned(items);
      await buffer.settle({ lane, settled });
      this.#deps.onSettled(settled);
    }
  }
}

export type IsolationDeps = {
  readonly lane: Lane;
  readonly buffer: Pick<DeliveryStore, 'settle'>;
  readonly limiter: Limiter;
  readonly health: LaneHealth;
  readonly pauses: LanePauses;
  readonly policy: RetryPolicy;
  readonly failureHistory: FailureHistory;
  readonly clock: Clock;
  readonly random: () => number;
  readonly signal: AbortSignal;
  readonly maxItems: number;
  /** Makes one request; returns the parts of it that must go again. */
  readonly send: (request: PartRequest) => Promise<readonly (readonly BatchItem[])[]>;
  readonly onSettled: (settled: readonly SettledEnvelope[]) => void;
  readonly onFatal: (error: unknown) => void;
};

/** The failure that all envelopes of a request share. */
export type SharedFailure = Extract<Outcome, { kind: 'retryable' | 'blocked' }>;

export type FailedPart = {
  readonly items: readonly BatchItem[];
  readonly trigger: Trigger;
  readonly failure: SharedFailure;
  /** How many requests of the lane had passed when the batch failed. */
  readonly passes: number;
};

export type PartRequest = FailedPart & { readonly permit: Permit; readonly cause: FailedPart };

/** Suspects take at most 30 of the 150 requests that Klaviyo allows in a minute. */
const suspectSpacingMs = 2000;

/**
 * Pure: the failure that all envelopes of a request share, if their content may be the cause; otherwise
 * null.
 */
export function findSharedFailure(outcomes: readonly Outcome[]): SharedFailure | null {
  const [first] = outcomes;
  if (first === undefined || !mayBeContent(first)) return null;
  return outcomes.every((outcome) => outcome.kind === first.kind && mayBeContent(outcome))
    ? first
    : null;
}

const mayBeContent = (outcome: Outcome): outcome is SharedFailure =>
  (outcome.kind === 'retryable' || outcome.kind === 'blocked') && outcome.mayBeContent === true;

/** Each half takes every second item, because bad records are often neighbours. */
function halves(items: readonly BatchItem[]): readonly (readonly BatchItem[])[] {
  const even = items.filter((_parcel, index) => index % 2 === 0);
  const odd = items.filter((_parcel, index) => index % 2 === 1);
  return [even, odd].filter((half) => half.length > 0);
}

function takeOne(
  items: readonly BatchItem[],
  random: number,
): readonly [readonly BatchItem[], readonly BatchItem[]] {
  const at = Math.floor(random * items.length);
  return [items.slice(at, at + 1), items.filter((_parcel, index) => index !== at)];
}
