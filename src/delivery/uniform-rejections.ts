import type { Clock } from '../clock.js';
import { redactText } from '../log/redact.js';
import type { DeliveryStore } from '../model/destination.js';
import type { BatchItem } from '../model/envelope.js';
import type { Lane } from '../model/lane.js';
import type { Limiter, Permit } from '../model/limiter.js';
import type { Reason, Verdict } from '../model/outcome.js';
import type { SettledEnvelope } from '../model/store.js';
import type { LanePauses } from './lane-state.js';
import { Signal } from './signal.js';

/**
 * Uniform rejections: Klaviyo rejects everything of a lane for one reason. A thousand rejections for one
 * reason, while nothing is accepted, are hardly the fault of a thousand records: Klaviyo had a bad deploy
 * or changed a rule. So only a few of them become dead letters.
 *
 * - Rejections are counted by reason since Klaviyo last accepted something of the lane. After more than
 *   `tolerated` rejections for one reason, the lane enters the pause `refusal`.
 * - During this pause a rejected envelope is held: it returns to the store, and when it is claimed again,
 *   `RejectionProber` keeps it. Only small probes send held envelopes, at an interval that grows with the
 *   age of the pause. Envelopes that were never tried are sent in full batches, so that a good one behind
 *   thousands of bad ones is delivered soon.
 * - As soon as Klaviyo accepts something, the pause ends, and all held envelopes are sent again at full
 *   size. As many rejections as there are held envelopes then become dead letters: Klaviyo rejected these
 *   both before and after it accepted another one. An operator allows the same with `override`.
 *
 * Nothing of this is stored. After a restart the count begins anew.
 */
export class UniformRejections {
  readonly #options: UniformRejectionsOptions;
  /** Rejections by reason, since Klaviyo last accepted something. */
  readonly #counts = new Map<string, number>();
  /** Ids of the envelopes that were rejected and may still be delivered. */
  readonly #held = new Set<string>();
  /** The number of rejections that become dead letters, whatever the count is. */
  #allowed = 0;
  /** Monotonic ms of the beginning of the pause; null while there is none. */
  #since: number | null = null;
  #probedAt = 0;
  #source: Source = 'request';
  #reason: Reason = { code: 'refusal', detail: '' };

  constructor(options: UniformRejectionsOptions) {
    this.#options = options;
  }

  get isActive(): boolean {
    return this.#since !== null;
  }

  /** The reason for which the held envelopes were rejected. */
  get reason(): Reason {
    return this.#reason;
  }

  isHeld(id: string): boolean {
    return this.#held.has(id);
  }

  /** Returns the verdicts to settle. During uniform rejections, rejections become retries. */
  filterRejections(settled: readonly SettledEnvelope[], source: Source): FilteredRejections {
    let isAccepted = false;
    const rejected: { readonly key: string; readonly reason: Reason }[] = [];
    let isHeldDelivered = false;
    for (const { envelope, verdict } of settled) {
      if (verdict.kind === 'ack' || verdict.kind === 'poll') isAccepted = true;
      if (verdict.kind === 'ack' && this.#held.has(envelope.id)) isHeldDelivered = true;
      if (isRejection(verdict)) {
        const key = `${source} ${toRejectionKey(verdict.reason)}`;
        rejected.push({ key, reason: verdict.reason });
      }
    }
    if (isAccepted) this.#noteAccepted(source);
    // Klaviyo accepts what it rejected before, so no further rejection is allowed in advance.
    if (isHeldDelivered) this.#allowed = 0;
    if (!isAccepted) {
      for (const { key } of rejected) this.#counts.set(key, (this.#counts.get(key) ?? 0) + 1);
    }
    const uniform = rejected.find(({ key }) => (this.#counts.get(key) ?? 0) > tolerated);
    if (uniform === undefined) return { settled: this.#forget(settled), pauseMs: 0 };
    if (rejected.length <= this.#allowed) {
      this.#allowed -= rejected.length;
      return { settled: this.#forget(settled), pauseMs: 0 };
    }
    this.#begin(uniform.reason, source);
    return { settled: this.#hold(settled), pauseMs: clamp(this.#elapsedMs / 16, 250, 5000) };
  }

  /** Holds the other parts of a batch of which a part was rejected, if Klaviyo does not name the bad records. */
  holdAll(items: readonly BatchItem[]): readonly SettledEnvelope[] {
    const verdict: Verdict = { kind: 'dead-letter', reason: this.#reason };
    return this.#hold(items.flat().map((envelope) => ({ envelope, verdict })));
  }

  /** An operator allows the rejections of everything that waits now, until a held envelope is delivered. */
  override(waiting: number): void {
    if (!this.isActive) return;
    this.#allowed = this.#held.size + waiting;
    this.#end();
  }

  /**
   * Ms until the next probe of held envelopes is due. The interval is a quarter of the pause's age: the end
   * of a short pause is seen within seconds, and the probes of a long one cost next to nothing.
   */
  nextProbeMs(): number {
    const intervalMs = clamp(this.#elapsedMs / 4, 1000, 60_000);
    return Math.max(0, this.#probedAt + intervalMs - this.#now);
  }

  noteProbe(): void {
    this.#probedAt = this.#now;
  }

  #hold(settled: readonly SettledEnvelope[]): readonly SettledEnvelope[] {
    const held = settled.map(({ envelope, verdict }): SettledEnvelope => {
      if (!isRejection(verdict)) return { envelope, verdict };
      this.#held.add(envelope.id);
      const { reason } = verdict;
      return { envelope, verdict: { kind: 'retry', afterMs: 0, reason, countAttempt: false } };
    });
    return this.#forget(held);
  }

  /** Forgets the envelopes that are not sent again. */
  #forget(settled: readonly SettledEnvelope[]): readonly SettledEnvelope[] {
    if (this.#held.size === 0) return settled;
    for (const { envelope, verdict } of settled)
      if (verdict.kind !== 'retry') this.#held.delete(envelope.id);
    return settled;
  }

  #noteAccepted(source: Source): void {
    // An accepted request says nothing yet about what its import job rejects.
    for (const key of [...this.#counts.keys()])
      if (source === 'job' || key.startsWith('request')) this.#counts.delete(key);
    if (!this.isActive || (source === 'request' && this.#source === 'job')) return;
    this.#allowed = this.#held.size;
    this.#end();
  }

  #begin(reason: Reason, source: Source): void {
    const { code, detail } = reason;
    const { lane } = this.#options;
    this.#reason = reason;
    if (this.#since === null) {
      this.#since = this.#now;
      this.#probedAt = this.#now;
    }
    this.#source = source;
    const advice = `${code}: Klaviyo rejects everything for one reason; all of it is kept and tried again, and POST /v1/lanes/${lane}/resume accepts the dead letters`;
    this.#options.pauses.begin(
      'refusal',
      { code: 'refusal', detail: redactText(detail) },
      { advice },
    );
  }

  #end(): void {
    this.#since = null;
    this.#counts.clear();
    this.#options.pauses.end('refusal');
    this.#options.onEnd();
  }

  get #now(): number {
    return this.#options.clock.monotonic();
  }

  get #elapsedMs(): number {
    return this.#now - (this.#since ?? this.#now);
  }
}

/** A request was rejected, or the import job of an accepted request. */
export type Source = 'request' | 'job';

export type FilteredRejections = {
  readonly settled: readonly SettledEnvelope[];
  /** How long the lane pauses before its next request, while envelopes are left that were never tried. */
  readonly pauseMs: number;
};

export type UniformRejectionsOptions = {
  readonly lane: Lane;
  readonly clock: Clock;
  readonly pauses: LanePauses;
  readonly onEnd: () => void;
};

/** So many rejections become dead letters at once: a person who tries out some bad records sees them. */
const tolerated = 30;

const clamp = (value: number, least: number, most: number): number =>
  Math.min(most, Math.max(least, value));

/** Returns false for an envelope that the relay gave up by itself. */
const isRejection = (verdict: Verdict): verdict is Extract<Verdict, { kind: 'dead-letter' }> =>
  verdict.kind === 'dead-letter' &&
  !['attempts_exhausted', 'too_old'].includes(verdict.reason.code);

/** Pure: equal for reasons that differ only in the record's own values, places and numbers. */
export function toRejectionKey({ code, detail, faults = [] }: Reason): string {
  const [first] = faults;
  const text = first === undefined || first.pointer === '' ? detail : first.pointer;
  const shape = redactText(text)
    .replace(/'[^']*'|"[^"]*"|`[^`]*`|\[[a-z]+\]/g, '?')
    .replace(/[\da-f]{8}-[\da-f-]{27}|\d+/gi, '#');
  return `${code} ${shape}`.slice(0, 200);
}

/**
 * Keeps the held envelopes during uniform rejections. They stay claimed, so that the lane's own requests
 * carry only envelopes that were never tried. A few of them, drawn at random, are sent as a probe at the
 * interval of `UniformRejections.nextProbeMs`. When the pause ends, all of them return to the store and are
 * due at once. After a restart the store offers them again.
 */
export class RejectionProber {
  readonly #deps: RejectionProberDeps;
  readonly #woken = new Signal();
  #items: BatchItem[] = [];
  #bytes = 0;
  #running: Promise<void> | null = null;

  constructor(deps: RejectionProberDeps) {
    this.#deps = deps;
  }

  /** Keeps those of the claimed items that were rejected before. Returns the items to send now. */
  async keep(claimed: readonly BatchItem[]): Promise<readonly BatchItem[]> {
    const { uniformRejections, health } = this.#deps;
    // In an outage the lane's own requests are small probes already.
    if (!uniformRejections.isActive || health.isDown) return claimed;
    const held = claimed.filter((item) => item.every(({ id }) => uniformRejections.isHeld(id)));
    if (held.length === 0) return claimed;
    const overflow = held.filter((item) => {
      if (this.#bytes >= maxKeptBytes) return true;
      this.#items.push(item);
      this.#bytes += countItemBytes(item);
      return false;
    });
    if (this.#items.length > 0) {
      this.#running ??= this.#run()
        .catch(this.#deps.onFatal)
        .finally(() => {
          this.#running = null;
        });
    }
    if (overflow.length > 0) await this.#return(overflow, overflowMs);
    const isHeld = new Set(held);
    return claimed.filter((item) => !isHeld.has(item));
  }

  /** Called when the pause may have ended. */
  wake(): void {
    this.#woken.notify();
  }

  async idle(): Promise<void> {
    while (this.#running !== null) await this.#running;
  }

  async #run(): Promise<void> {
    const { lane, limiter, pauses, uniformRejections, clock, signal, send } = this.#deps;
    const mayProbe = (): boolean => uniformRejections.isActive && !pauses.isStopped;
    while (this.#items.length > 0) {
      if (signal.aborted || !uniformRejections.isActive) {
        this.#bytes = 0;
        await this.#return(this.#items.splice(0), 0);
        // More may have been kept meanwhile.
        continue;
      }
      if (pauses.isStopped) {
        await pauses.untilOpen(signal);
        continue;
      }
      const waitMs = uniformRejections.nextProbeMs();
      if (waitMs > 0) {
        await this.#woken.wait(clock, waitMs, signal);
        continue;
      }
      const permit = await limiter.acquire(lane, signal);
      if (permit === null || !mayProbe()) {
        permit?.cancel();
        continue;
      }
      uniformRejections.noteProbe();
      await send(this.#drawProbe(), permit);
    }
  }

  /** Draws at random, so that a few bad envelopes do not make every probe fail once Klaviyo accepts the others. */
  #drawProbe(): readonly BatchItem[] {
    const drawn: BatchItem[] = [];
    while (drawn.length < probeCount && this.#items.length > 0) {
      const at = Math.floor(this.#deps.random() * this.#items.length);
      const item = this.#items[at];
      const last = this.#items.pop();
      if (item === undefined || last === undefined) break;
      if (at < this.#items.length) this.#items[at] = last;
      this.#bytes -= countItemBytes(item);
      drawn.push(item);
    }
    return drawn;
  }

  async #return(items: readonly BatchItem[], afterMs: number): Promise<void> {
    const { lane, store, uniformRejections } = this.#deps;
    const { reason } = uniformRejections;
    const verdict: Verdict = { kind: 'retry', afterMs, reason, countAttempt: false };
    const settled = items.flat().map((envelope) => ({ envelope, verdict }));
    await store.settle({ lane, settled });
  }
}

export type RejectionProberDeps = {
  readonly lane: Lane;
  readonly store: Pick<DeliveryStore, 'settle'>;
  readonly limiter: Limiter;
  readonly pauses: LanePauses;
  readonly health: { readonly isDown: boolean };
  readonly uniformRejections: UniformRejections;
  readonly clock: Clock;
  readonly random: () => number;
  readonly signal: AbortSignal;
  /** Sends one batch until every envelope in it has a verdict. */
  readonly send: (items: readonly BatchItem[], permit: Permit) => Promise<void>;
  readonly onFatal: (error: unknown) => void;
};

/** Maximum of items in a probe. */
const probeCount = 10;
/** A store on another server may have more envelopes than this process has memory for. */
const maxKeptBytes = 64_000_000;
/** How long the envelopes beyond that wait in the store. */
const overflowMs = 60_000;

const countItemBytes = (item: BatchItem): number =>
  item.reduce((sum, { payload }) => sum + payload.byteLength, 0);
