import type { Clock } from '../clock.js';
import type { Lane } from '../model/lane.js';
import type { Reason } from '../model/outcome.js';
import { redactText } from '../log/redact.js';
import { Signal } from './signal.js';
import type { DeliveryLogger } from '../model/destination.js';

/**
 * Why a lane does not send as usual.
 * - `throttled`, `outage`, `blocked`, `refusal`: Klaviyo's responses are the cause. The lane waits and
 *   probes; the next success ends the pause.
 * - `dead_letters_full`: a rejection has nowhere to go. Nothing leaves until there is room.
 * - `by_hand`: an operator paused the lane. Nothing leaves until an operator resumes it.
 */
export type PauseKind =
  'throttled' | 'outage' | 'blocked' | 'refusal' | 'dead_letters_full' | 'by_hand';

export type Pause = {
  readonly kind: PauseKind;
  /** `code` is the label of the metric; `detail` is for a person. */
  readonly reason: Reason;
  /** Epoch ms. */
  readonly since: number;
};

/** During these pauses the lane sends nothing at all, not even a probe. */
const stopsAll: ReadonlySet<PauseKind> = new Set(['dead_letters_full', 'by_hand']);
/** Part of the ordinary life of a lane. */
const isOrdinary: ReadonlySet<PauseKind> = new Set(['throttled', 'by_hand']);

export type LanePausesOptions = {
  readonly lane: Lane;
  readonly clock: Clock;
  readonly log: DeliveryLogger;
};

/**
 * The pauses of one lane, at most one of a kind. Readiness and the metric show them. The log has one
 * line for each change.
 */
export class LanePauses {
  readonly #options: LanePausesOptions;
  readonly #pauses = new Map<PauseKind, Pause>();
  readonly #bell = new Signal();
  /** Monotonic ms since when there is any pause. */
  #pausedAt = 0;

  constructor(options: LanePausesOptions) {
    this.#options = options;
  }

  list(): readonly Pause[] {
    return [...this.#pauses.values()];
  }

  has(kind: PauseKind): boolean {
    return this.#pauses.has(kind);
  }

  /** True while nothing at all may leave. */
  get isStopped(): boolean {
    return this.list().some(({ kind }) => stopsAll.has(kind));
  }

  /** Resolves when `isStopped` is false, or when `signal` aborts. */
  async untilOpen(signal: AbortSignal): Promise<void> {
    while (this.isStopped && !signal.aborted) {
      await this.#bell.wait(this.#options.clock, null, signal);
    }
  }

  /**
   * A pause that has begun before keeps its beginning and gets the new reason, without a log line.
   * `replaces`: pauses that end because this one takes their place. `advice`: what to do, for the log.
   */
  begin(
    kind: PauseKind,
    reason: Reason,
    {
      advice,
      replaces = [],
    }: { advice?: string | undefined; replaces?: readonly PauseKind[] } = {},
  ): void {
    const { lane, clock, log } = this.#options;
    if (this.#pauses.size === 0) this.#pausedAt = clock.monotonic();
    const known = this.#pauses.get(kind);
    this.#pauses.set(kind, { kind, reason, since: known?.since ?? clock.now() });
    for (const other of replaces) if (other !== kind) this.#pauses.delete(other);
    if (known !== undefined) return;
    const words = advice ?? (kind === reason.code ? '' : reason.code);
    // The advice on `blocked` begins with what is wrong: "unauthorized: …".
    const name = kind === 'blocked' && advice !== undefined ? '' : toWords(kind);
    const told = [name, words, redactText(reason.detail)].filter((part) => part !== '').join(': ');
    const fields = { lane, pause: kind, reason: reason.code };
    log[isOrdinary.has(kind) ? 'info' : 'warn'](fields, `lane ${lane} paused: ${told}`);
  }

  /** Ends those of these kinds that are there. */
  end(...kinds: readonly PauseKind[]): void {
    const { lane, clock, log } = this.#options;
    const ended = kinds.filter((kind) => this.#pauses.delete(kind));
    if (ended.length === 0) return;
    this.#bell.notify();
    const forMs = clock.monotonic() - this.#pausedAt;
    const fields = { lane, pause: ended.join(','), forMs: Math.round(forMs) };
    const left = this.list().map(({ kind }) => toWords(kind));
    if (left.length === 0) {
      log.info(fields, `lane ${lane} resumed after ${toSeconds(forMs)}`);
    } else {
      const words = ended.map(toWords).join(', ');
      log.info(fields, `lane ${lane} still paused: ${left.join(', ')}; ended: ${words}`);
    }
  }
}

const toWords = (kind: PauseKind): string => kind.replaceAll('_', ' ');

/** As a person reads it: 0.4 s, 42 s. */
function toSeconds(ms: number): string {
  return `${ms < 9950 ? Math.round(ms / 100) / 10 : Math.round(ms / 1000)} s`;
}
