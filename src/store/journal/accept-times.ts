import type { Clock } from '../../clock.js';

/** The offset between wall clock and monotonic clock at acceptance, from one envelope number on. */
type Frame = {
  readonly from: number;
  /** Wall time minus monotonic time. */
  readonly offsetMs: number;
  /** Monotonic time before which all envelopes of the frame were accepted. */
  readonly until: number;
};

/** Smaller differences are ignored: they include the time from acceptance to commit. */
const toleranceMs = 1000;

/**
 * Computes when envelopes that are on disk only were accepted, by the monotonic clock. The disk has wall times
 * only, and the wall clock may jump. Envelopes of an earlier process were accepted before this process started,
 * whatever their wall times, and each jump since then begins a new frame.
 */
export class AcceptTimes {
  readonly #clock: Clock;
  #frames: Frame[];

  constructor(clock: Clock) {
    this.#clock = clock;
    this.#frames = [
      { from: 0, offsetMs: clock.now() - clock.monotonic(), until: clock.monotonic() },
    ];
  }

  /** Records the acceptance of an envelope that stays on disk only. `isFirst`: the backlog was empty. */
  record({
    seq,
    acceptedAt,
    isFirst,
  }: {
    seq: number;
    acceptedAt: number;
    isFirst: boolean;
  }): void {
    const offsetMs = acceptedAt - this.#clock.monotonic();
    const latest = isFirst ? undefined : this.#frames.at(-1);
    if (latest?.until === Infinity && Math.abs(latest.offsetMs - offsetMs) <= toleranceMs) return;
    if (isFirst) this.#frames = [];
    this.#frames.push({ from: seq, offsetMs, until: Infinity });
  }

  /** Returns the ms since an envelope was accepted: never negative, and at least what this process measured. */
  ageMs({ seq, acceptedAt }: { readonly seq: number; readonly acceptedAt: number }): number {
    const now = this.#clock.monotonic();
    const frame = this.#frames.findLast(({ from }) => from <= seq);
    if (frame === undefined) return 0;
    return now - Math.min(now, frame.until, acceptedAt - frame.offsetMs);
  }
}
