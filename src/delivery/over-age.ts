import type { Clock } from '../clock.js';
import type { Envelope } from '../model/envelope.js';

/** An envelope that is too old by the wall clock is given up after so many failures of its own, */
const minFailures = 5;
/** spread over so long, or over RETRY_MAX_AGE_MS where that is shorter. */
const minSpanMs = 600_000;
/** Envelopes that are remembered; of more, those whose last failure is the oldest are forgotten. */
const maxRemembered = 50_000;

type Failures = { readonly sinceMs: number; readonly count: number };

/**
 * The wall clock that stamped an envelope may have been wrong, or may be wrong now. So its age alone
 * gives up nothing: this process must also have seen it fail, several times over a span that it measured.
 */
export class FailureHistory {
  readonly #clock: Pick<Clock, 'monotonic'>;
  readonly #spanMs: number;
  readonly #failures = new Map<string, Failures>();

  constructor({
    clock,
    maxAgeMs,
  }: {
    readonly clock: Pick<Clock, 'monotonic'>;
    readonly maxAgeMs: number;
  }) {
    this.#clock = clock;
    this.#spanMs = Math.min(maxAgeMs, minSpanMs);
  }

  /** Notes a failed attempt of an envelope that is too old by the wall clock. Returns true once it may be given up. */
  noteFailure({ id }: Pick<Envelope, 'id'>): boolean {
    const now = this.#clock.monotonic();
    const before = this.#failures.get(id);
    const failures = { sinceMs: before?.sinceMs ?? now, count: (before?.count ?? 0) + 1 };
    this.#failures.delete(id);
    if (failures.count >= minFailures && now - failures.sinceMs >= this.#spanMs) return true;
    this.#failures.set(id, failures);
    for (const oldest of this.#failures.keys()) {
      if (this.#failures.size <= maxRemembered) break;
      this.#failures.delete(oldest);
    }
    return false;
  }
}
