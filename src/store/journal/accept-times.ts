import type { Clock } from '../../clock.js';

/** How the wall clock of acceptance relates to the monotonic clock, from one envelope number on. */
type Frame = {
  readonly from: number;
  /** Wall time minus monotonic time. */
  readonly offsetMs: number;
  /** No envelope of the frame was accepted after this monotonic time. */
  readonly until: number;
};

/** Smaller steps of the wall clock, and the time from acceptance to commit, are not told apart. */
const toleranceMs = 1000;

/**
 * When the envelopes that are on disk alone were accepted, by the monotonic clock. Disk holds wall
 * time only, and the wall clock may jump: an envelope of an earlier process was accepted before this
 * one started, whatever its wall time says, and each jump since then begins a new frame.
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

  /** An envelope accepted just now goes to disk alone. `isFirst`: no other is there. */
  note({ seq, acceptedAt, isFirst }: { seq: number; acceptedAt: number; isFirst: boolean }): void {
    const offsetMs = acceptedAt - this.#clock.monotonic();
    const latest = isFirst ? undefined : this.#frames.at(-1);
    if (latest?.until === Infinity && Math.abs(latest.offsetMs - offsetMs) <= toleranceMs) return;
    if (isFirst) this.#frames = [];
    this.#frames.push({ from: seq, offsetMs, until: Infinity });
  }

  /** Ms since an envelope was accepted: what this process measured, at least, and never negative. */
  ageMs({ seq, acceptedAt }: { readonly seq: number; readonly acceptedAt: number }): number {
    const now = this.#clock.monotonic();
    const frame = this.#frames.findLast(({ from }) => from <= seq);
    if (frame === undefined) return 0;
    return now - Math.min(now, frame.until, acceptedAt - frame.offsetMs);
  }
}
