import type { Clock } from '../clock.js';
import type { Lane, Parcel, Settled } from '../envelope.js';
import { Bell } from './bell.js';
import type { Buffer } from './destination.js';
import type { Limiter, Permit } from './limiter.js';
import type { LanePauses } from './pauses.js';
import type { Refusals } from './refusals.js';

/**
 * During a refusal, the envelopes that Klaviyo rejected stay claimed here, so that the lane's requests
 * carry only envelopes that were never tried. A few of them, drawn at random, are sent as a probe at
 * the interval that `Refusals` sets. When the refusal ends, all of them go back to the store and are
 * due at once.
 *
 * Nothing is stored for this: after a restart the store offers them again.
 */
export class HeldBack {
  readonly #deps: HeldBackDeps;
  readonly #bell = new Bell();
  #parcels: Parcel[] = [];
  #bytes = 0;
  #running: Promise<void> | null = null;

  constructor(deps: HeldBackDeps) {
    this.#deps = deps;
  }

  /** Keeps the claimed parcels that were rejected before, and returns those to send now. */
  async keep(claimed: readonly Parcel[]): Promise<readonly Parcel[]> {
    const { refusals, health } = this.#deps;
    // In an outage the lane's own requests are small probes already.
    if (!refusals.isActive || health.isDown) return claimed;
    const held = claimed.filter((parcel) => parcel.every(({ id }) => refusals.holds(id)));
    if (held.length === 0) return claimed;
    const kept = held.filter((parcel) => this.#add(parcel));
    this.#start();
    if (kept.length < held.length) await this.#putBack(held.slice(kept.length), overflowMs);
    const isHeld = new Set(held);
    return claimed.filter((parcel) => !isHeld.has(parcel));
  }

  /** The refusal may have ended. */
  wake(): void {
    this.#bell.ring();
  }

  async idle(): Promise<void> {
    while (this.#running !== null) await this.#running;
  }

  #add(parcel: Parcel): boolean {
    if (this.#bytes >= maxKeptBytes) return false;
    this.#parcels.push(parcel);
    this.#bytes += toBytes(parcel);
    return true;
  }

  #start(): void {
    if (this.#parcels.length === 0) return;
    this.#running ??= this.#run()
      .catch(this.#deps.onFault)
      .finally(() => {
        this.#running = null;
      });
  }

  async #run(): Promise<void> {
    const { lane, limiter, pauses, refusals, clock, signal, send } = this.#deps;
    const mayProbe = (): boolean => refusals.isActive && !pauses.isStopped;
    while (this.#parcels.length > 0) {
      if (signal.aborted || !refusals.isActive) {
        this.#bytes = 0;
        await this.#putBack(this.#parcels.splice(0), 0);
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
      const permit = await limiter.take(lane, signal);
      if (permit === null || !mayProbe()) {
        permit?.cancel();
        continue;
      }
      refusals.noteProbe();
      await send(this.#draw(), permit);
    }
  }

  /** At random, so that a few bad envelopes do not make every probe fail after the refusal has ended. */
  #draw(): readonly Parcel[] {
    const drawn: Parcel[] = [];
    while (drawn.length < probeCount && this.#parcels.length > 0) {
      const at = Math.floor(this.#deps.random() * this.#parcels.length);
      const parcel = this.#parcels[at];
      const last = this.#parcels.pop();
      if (parcel === undefined || last === undefined) break;
      if (at < this.#parcels.length) this.#parcels[at] = last;
      this.#bytes -= toBytes(parcel);
      drawn.push(parcel);
    }
    return drawn;
  }

  async #putBack(parcels: readonly Parcel[], afterMs: number): Promise<void> {
    const { lane, buffer, refusals } = this.#deps;
    const { reason } = refusals;
    const verdict = { kind: 'retry', afterMs, reason, countAttempt: false } as const;
    const settled = parcels.flat().map((envelope): Settled => ({ envelope, verdict }));
    await buffer.settle({ lane, settled });
  }
}

export type HeldBackDeps = {
  readonly lane: Lane;
  readonly buffer: Pick<Buffer, 'settle'>;
  readonly limiter: Limiter;
  readonly pauses: LanePauses;
  readonly health: { readonly isDown: boolean };
  readonly refusals: Refusals;
  readonly clock: Clock;
  readonly random: () => number;
  readonly signal: AbortSignal;
  /** Sends one batch until every envelope in it has a verdict. */
  readonly send: (parcels: readonly Parcel[], permit: Permit) => Promise<void>;
  readonly onFault: (error: unknown) => void;
};

/** Parcels of a probe, at most. */
const probeCount = 10;
/** A store on another server may have more envelopes than this process has memory for. */
const maxKeptBytes = 64_000_000;
/** What exceeds it waits in the store for so long. */
const overflowMs = 60_000;

const toBytes = (parcel: Parcel): number =>
  parcel.reduce((sum, { payload }) => sum + payload.byteLength, 0);
