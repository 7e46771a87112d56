import type { Clock } from '../clock.js';
import type { Lane } from '../model/lane.js';
import type { BatchItem } from '../model/envelope.js';
import type { Reason } from '../model/outcome.js';
import type { SettledEnvelope } from '../model/store.js';
import { redactText } from '../log/redact.js';
import type { LanePauses } from './pauses.js';

/**
 * A thousand rejections for one reason, while nothing passes, are hardly the fault of a thousand
 * records: Klaviyo had a bad deploy or changed a rule. So at most some of them become dead letters.
 *
 * - Rejections are counted by reason since something of the lane passed last. After more than
 *   `tolerated` for one reason the lane enters the pause `refusal`.
 * - From then on a rejected envelope is held (`held-back.ts`): it goes back to the store, and only
 *   small probes carry it, at an interval that grows with the age of the refusal. Envelopes that were
 *   never tried go on in full batches, so that a good one behind thousands of bad ones is sent soon.
 * - As soon as something passes, the pause ends, and everything is sent again at full size. As many
 *   rejections as envelopes were held are then accepted: these were rejected before and after another
 *   was delivered. An operator accepts them with `override`.
 *
 * The count is in memory: after a restart it begins anew.
 */
export class UniformRejections {
  readonly #options: UniformRejectionsOptions;
  /** Rejections by reason, since something passed. */
  readonly #counts = new Map<string, number>();
  /** Ids of the envelopes that were rejected and may still be delivered. */
  readonly #held = new Set<string>();
  /** Rejections to accept whatever the count. */
  #accepted = 0;
  /** Monotonic ms. */
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

  /** Why the held envelopes were rejected. */
  get reason(): Reason {
    return this.#reason;
  }

  isHeld(id: string): boolean {
    return this.#held.has(id);
  }

  /** Returns the verdicts to settle; rejections that are not believed become retries. */
  filterRejections(settled: readonly SettledEnvelope[], source: Source): Judgement {
    const passed = settled.some(({ verdict }) => verdict.kind === 'ack' || verdict.kind === 'poll');
    if (passed) this.#pass(source);
    // Klaviyo takes what it rejected before, so that no rejection is accepted in advance.
    if (
      settled.some(({ envelope, verdict }) => verdict.kind === 'ack' && this.#held.has(envelope.id))
    )
      this.#accepted = 0;
    const rejected = settled.filter(({ verdict }) => isRejection(verdict));
    const keys = rejected.map(({ verdict }) => `${source} ${toRejectionKey(verdict)}`);
    if (!passed) for (const key of keys) this.#counts.set(key, (this.#counts.get(key) ?? 0) + 1);
    const doubted = keys.find((key) => (this.#counts.get(key) ?? 0) > tolerated);
    const isBelieved = doubted === undefined || rejected.length <= this.#accepted;
    if (isBelieved) {
      if (doubted !== undefined) this.#accepted -= rejected.length;
      return { settled: this.#forget(settled), pauseMs: 0 };
    }
    const verdict = rejected[keys.indexOf(doubted)]?.verdict;
    if (verdict?.kind === 'dead-letter') this.#begin(verdict.reason, source);
    return { settled: this.#hold(settled), pauseMs: this.#pauseMs() };
  }

  /** Holds parts of a batch of which others were rejected, where Klaviyo does not name the bad ones. */
  holdAll(items: readonly BatchItem[]): readonly SettledEnvelope[] {
    const reason = this.#reason;
    return this.#hold(
      items.flat().map((envelope) => ({ envelope, verdict: { kind: 'dead-letter', reason } })),
    );
  }

  /** An operator accepts the rejections of what waits now, until something held passes. */
  override(waiting: number): void {
    if (!this.isActive) return;
    this.#accepted = this.#held.size + waiting;
    this.#end();
  }

  /** Ms until the next probe of held envelopes is due. */
  nextProbeMs(): number {
    return Math.max(0, this.#probedAt + this.#probeIntervalMs() - this.#now);
  }

  noteProbe(): void {
    this.#probedAt = this.#now;
  }

  #hold(settled: readonly SettledEnvelope[]): readonly SettledEnvelope[] {
    for (const { envelope, verdict } of settled)
      if (isRejection(verdict)) this.#held.add(envelope.id);
    const judged = settled.map(({ envelope, verdict }): SettledEnvelope => {
      if (!isRejection(verdict)) return { envelope, verdict };
      const { reason } = verdict;
      return { envelope, verdict: { kind: 'retry', afterMs: 0, reason, countAttempt: false } };
    });
    return this.#forget(judged);
  }

  #forget(settled: readonly SettledEnvelope[]): readonly SettledEnvelope[] {
    for (const { envelope, verdict } of settled)
      if (verdict.kind !== 'retry') this.#held.delete(envelope.id);
    return settled;
  }

  #pass(source: Source): void {
    // A request that was taken says nothing yet about what its import job rejects.
    for (const key of [...this.#counts.keys()])
      if (source === 'job' || key.startsWith('request')) this.#counts.delete(key);
    if (!this.isActive || (source === 'request' && this.#source === 'job')) return;
    this.#accepted = this.#held.size;
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

  /** Between two requests of the lane, while envelopes are left that were never tried. */
  #pauseMs(): number {
    return clamp(this.#elapsedMs / 16, 250, 5000);
  }

  /**
   * A quarter of the refusal's age: the end of a short one is seen within seconds, and a probe of a long
   * one costs next to nothing.
   */
  #probeIntervalMs(): number {
    return clamp(this.#elapsedMs / 4, 1000, 60_000);
  }
}

/** Whether Klaviyo judged a request, or the import job that came of it. */
export type Source = 'request' | 'job';

export type Judgement = {
  readonly settled: readonly SettledEnvelope[];
  /** For how long the lane sends nothing. */
  readonly pauseMs: number;
};

export type UniformRejectionsOptions = {
  readonly lane: Lane;
  readonly clock: Clock;
  readonly pauses: LanePauses;
  readonly onEnd: () => void;
};

/** A person who tries out some bad records sees dead letters at once. */
const tolerated = 30;

const clamp = (value: number, least: number, most: number): number =>
  Math.min(most, Math.max(least, value));

/** What the relay gave up by itself was not rejected. */
const isRejection = (
  verdict: SettledEnvelope['verdict'],
): verdict is Extract<SettledEnvelope['verdict'], { kind: 'dead-letter' }> =>
  verdict.kind === 'dead-letter' &&
  !['attempts_exhausted', 'too_old'].includes(verdict.reason.code);

/** Pure: the same for reasons that differ in the record's own values, places and numbers alone. */
export function toRejectionKey(verdict: SettledEnvelope['verdict']): string {
  if (verdict.kind !== 'dead-letter') return '';
  const { code, detail, faults = [] } = verdict.reason;
  const [first] = faults;
  const said = first === undefined || first.pointer === '' ? detail : first.pointer;
  return `${code} ${toShape(said)}`.slice(0, 200);
}

const toShape = (text: string): string =>
  redactText(text)
    .replace(/'[^']*'|"[^"]*"|`[^`]*`|\[[a-z]+\]/g, '?')
    .replace(/[\da-f]{8}-[\da-f-]{27}|\d+/gi, '#');
