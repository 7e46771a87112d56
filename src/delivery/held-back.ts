import type { Clock } from '../clock.js';
import type { Lane } from '../model/lane.js';
import type { BatchItem } from '../model/envelope.js';
import type { SettledEnvelope } from '../model/store.js';
import { Signal } from './signal.js';
import type { DeliveryStore } from '../model/destination.js';
import type { Limiter, Permit } from '../model/limiter.js';
import type { LanePauses } from './pauses.js';
import type { UniformRejections } from './refusals.js';

/**
 * During a refusal, the envelopes that Klaviyo rejected stay claimed here, so that the lane's requests
 * carry only envelopes that were never tried. A few of them, drawn at random, are sent as a probe at
 * the interval that `Refusals` sets. When the refusal ends, all of them go back to the store and are
 * due at once.
 *
 * Nothing is stored for this: after a restart the store offers them again.
 */
export class RejectionProber {
  readonly #deps: HeldBackDeps;
  readonly #bell = new Signal();
  #items: BatchItem[] = [];
  #bytes = 0;
  #running: Promise<void> | null = null;

  constructor(deps: HeldBackDeps) {
    this.#deps = deps;
  }

  /** Keeps the claimed items that were rejected before, and returns those to send now. */
  async keep(claimed: readonly BatchItem[]): Promise<readonly BatchItem[]> {
    const { refusals, health } = this.#deps;
    // In an outage the lane's own requests are small probes already.
    if (!refusals.isActive || health.isDown) return claimed;
    const held = claimed.filter((item) => item.every(({ id }) => refusals.isHeld(id)));
    if (held.length === 0) return claimed;
    const kept = held.filter((item) => this.#add(item));
    this.#start();
    if (kept.length < held.length) await this.#putBack(held.slice(kept.length), overflowMs);
    const isHeld = new Set(held);
    return claimed.filter((item) => !isHeld.has(item));
  }

  /** The refusal may have ended. */
  wake(): void {
    this.#bell.notify();
  }

  async idle(): Promise<void> {
    while (this.#running !== null) await this.#running;
  }

  #add(item: BatchItem): boolean {
    if (this.#bytes >= maxKeptBytes) return false;
    this.#items.push(item);
    this.#bytes += toBytes(item);
    return true;
  }

  #start(): void {
    if (this.#items.length === 0) return;
    this.#running ??= this.#run()
      .catch(this.#deps.onFatal)
      .finally(() => {
        this.#running = null;
      });
  }

  async #run(): Promise<void> {
    const { lane, limiter, pauses, refusals, clock, signal, send } = this.#deps;
    const mayProbe = (): boolean => refusals.isActive && !pauses.isStopped;
    while (this.#items.length > 0) {
      if (signal.aborted || !refusals.isActive) {
        this.#bytes = 0;
        await this.#putBack(this.#items.splice(0), 0);
        // More may have been kept meanwhile.
        continue;
      }
      const waitMs = refusals.nextProbeMs();
      if (waitMs > 0 || pauses.isStopped) {
        await (pauses.isStopped
          ? pauses.untilOpen(signal)
          : this.#bell.wait(clock, waitMs, signal));
        continue;
      }
      const permit = await limiter.acquire(lane, signal);
      if (permit === null || !mayProbe()) {
        permit?.cancel();
        continue;
      }
      refusals.noteProbe();
      await send(this.#draw(), permit);
    }
  }

  /** At random, so that a few bad envelopes do not make every probe fail after the refusal has ended. */
  #draw(): readonly BatchItem[] {
    const drawn: BatchItem[] = [];
    while (drawn.length < probeCount && this.#items.length > 0) {
      const at = Math.floor(this.#deps.random() * this.#items.length);
      const item = this.#items[at];
      const last = this.#items.pop();
      if (item === undefined || last === undefined) break;
      if (at < this.#items.length) this.#items[at] = last;
      this.#bytes -= toBytes(item);
      drawn.push(item);
    }
    return drawn;
  }

  async #putBack(items: readonly BatchItem[], afterMs: number): Promise<void> {
    const { lane, buffer, refusals } = this.#deps;
    const { reason } = refusals;
    const verdict = { kind: 'retry', afterMs, reason, countAttempt: false } as const;
    const settled = items.flat().map((envelope): SettledEnvelope => ({ envelope, verdict }));
    await buffer.settle({ lane, settled });
  }
}

export type HeldBackDeps = {
  readonly lane: Lane;
  readonly buffer: Pick<DeliveryStore, 'settle'>;
  readonly limiter: Limiter;
  readonly pauses: LanePauses;
  readonly health: { readonly isDown: boolean };
  readonly refusals: UniformRejections;
  readonly clock: Clock;
  readonly random: () => number;
  readonly signal: AbortSignal;
  /** Sends one batch until every envelope in it has a verdict. */
  readonly send: (items: readonly BatchItem[], permit: Permit) => Promise<void>;
  readonly onFatal: (error: unknown) => void;
};

/** Items of a probe, at most. */
const probeCount = 10;
/** A store on another server may have more envelopes than this process has memory for. */
const maxKeptBytes = 64_000_000;
/** What exceeds it waits in the store for so long. */
const overflowMs = 60_000;

const toBytes = (item: BatchItem): number =>
  item.reduce((sum, { payload }) => sum + payload.byteLength, 0);
