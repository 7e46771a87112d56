import type { Clock } from '../clock.js';
import type { Lane, Parcel, Reason, Settled } from '../envelope.js';
import { redactText } from '../redact.js';
import type { LanePauses } from './pauses.js';

/**
 * A thousand rejections for one reason, while nothing passes, are hardly the fault of a thousand
 * records: Klaviyo had a bad deploy or changed a rule. Beyond a few they do not become dead letters.
 * The envelopes go back, the lane pauses between its requests, and tries again ever more rarely.
 *
 * - Counted by reason since something of the lane passed last. Where more than `tolerated` were
 *   rejected for one reason, the lane enters the pause `refusal`.
 * - What is rejected then goes back for `holdMs`, and leaves the next requests to others: so that a
 *   good envelope behind thousands of bad ones is sent within as many requests as they fill, twice.
 * - As soon as something passes, the pause ends. As many rejections as were held are then accepted:
 *   they were refused before and after another was taken. An operator may accept them by `override`.
 *
 * In memory alone: after a restart the count begins anew.
 */
export class Refusals {
  readonly #options: RefusalsOptions;
  /** Rejections by reason, since something passed. */
  readonly #counts = new Map<string, number>();
  readonly #held = new Set<string>();
  /** Rejections to accept whatever the count. */
  #accepted = 0;
  #since: number | null = null;
  #source: Source = 'request';
  #reason: Reason = { code: 'refusal', detail: '' };

  constructor(options: RefusalsOptions) {
    this.#options = options;
  }

  get isActive(): boolean {
    return this.#since !== null;
  }

  /** The verdicts to settle: rejections that are not believed yet become retries. */
  judge(settled: readonly Settled[], source: Source): Judgement {
    const passed = settled.some(
      ({ verdict }) => verdict.kind === 'ack' || verdict.kind === 'follow',
    );
    if (passed) this.#pass(source);
    // What was refused is taken: Klaviyo changed its mind, so that no rejection is believed in advance.
    if (
      settled.some(({ envelope, verdict }) => verdict.kind === 'ack' && this.#held.has(envelope.id))
    )
      this.#accepted = 0;
    const rejected = settled.filter(({ verdict }) => isRejection(verdict));
    const keys = rejected.map(({ verdict }) => `${source} ${toReasonKey(verdict)}`);
    if (!passed) for (const key of keys) this.#counts.set(key, (this.#counts.get(key) ?? 0) + 1);
    const doubted = keys.find((key) => (this.#counts.get(key) ?? 0) > tolerated);
    const isBelieved = doubted === undefined || rejected.length <= this.#accepted;
    if (isBelieved) {
      if (doubted !== undefined) this.#accepted -= rejected.length;
      for (const { envelope, verdict } of settled)
        if (verdict.kind !== 'retry') this.#held.delete(envelope.id);
      return { settled, pauseMs: 0 };
    }
    const at = keys.indexOf(doubted);
    const verdict = rejected[at]?.verdict;
    if (verdict?.kind === 'bury') this.#begin(verdict.reason, source);
    return { settled: this.hold(settled), pauseMs: this.#pauseMs() };
  }

  /** Back for a while: not believed, or not worth a request now. */
  hold(settled: readonly Settled[]): readonly Settled[] {
    for (const { envelope, verdict } of settled)
      if (isRejection(verdict)) this.#held.add(envelope.id);
    const afterMs = Math.round(this.#holdMs());
    return settled.map(({ envelope, verdict }) =>
      isRejection(verdict)
        ? {
            envelope,
            verdict: { kind: 'retry', afterMs, reason: verdict.reason, countAttempt: false },
          }
        : { envelope, verdict },
    );
  }

  /** Parts of a batch of which others were refused, without a word which of them it is about. */
  holdAll(parcels: readonly Parcel[]): readonly Settled[] {
    const reason = this.#reason;
    return this.hold(
      parcels.flat().map((envelope) => ({ envelope, verdict: { kind: 'bury', reason } })),
    );
  }

  /** An operator decided: what waits now may become dead letters. Until something passes, or all of it was rejected. */
  override(waiting: number): void {
    if (!this.isActive) return;
    this.#accepted = this.#held.size + waiting;
    this.#end();
  }

  #pass(source: Source): void {
    // That a request was taken says nothing yet about what its import job rejects.
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
    this.#since ??= this.#options.clock.monotonic();
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
  }

  get #elapsedMs(): number {
    return this.#options.clock.monotonic() - (this.#since ?? this.#options.clock.monotonic());
  }

  /** Between two requests of the lane. */
  #pauseMs(): number {
    return clamp(this.#elapsedMs / 16, 250, 5000);
  }

  /** So long that others get their turn, and no longer than twice what the refusal has lasted by then. */
  #holdMs(): number {
    const groups = Math.ceil(this.#held.size / this.#options.maxCount);
    return Math.max(clamp(this.#elapsedMs / 2, 500, 120_000), (1 + groups) * this.#pauseMs());
  }
}

/** Whether Klaviyo judged a request, or the import job that came of it. */
export type Source = 'request' | 'job';

export type Judgement = {
  readonly settled: readonly Settled[];
  /** For how long the lane sends nothing. */
  readonly pauseMs: number;
};

export type RefusalsOptions = {
  readonly lane: Lane;
  readonly clock: Clock;
  readonly pauses: LanePauses;
  /** Parcels of a request, at most. */
  readonly maxCount: number;
};

/** A person who tries out some bad records sees dead letters at once. */
const tolerated = 30;

const clamp = (value: number, least: number, most: number): number =>
  Math.min(most, Math.max(least, value));

/** What the relay gave up by itself was not rejected. */
const isRejection = (
  verdict: Settled['verdict'],
): verdict is Extract<Settled['verdict'], { kind: 'bury' }> =>
  verdict.kind === 'bury' && !['attempts_exhausted', 'too_old'].includes(verdict.reason.code);

/** Pure: the same for reasons that differ in the record's own values, places and numbers alone. */
export function toReasonKey(verdict: Settled['verdict']): string {
  if (verdict.kind !== 'bury') return '';
  const { code, detail, faults = [] } = verdict.reason;
  const [first] = faults;
  const said = first === undefined || first.pointer === '' ? detail : first.pointer;
  return `${code} ${toShape(said)}`.slice(0, 200);
}

const toShape = (text: string): string =>
  redactText(text)
    .replace(/'[^']*'|"[^"]*"|`[^`]*`|\[[a-z]+\]/g, '?')
    .replace(/[\da-f]{8}-[\da-f-]{27}|\d+/gi, '#');
