import type { Clock, Timer } from '../../src/clock.js';

export type ManualClock = Clock & {
  /** Advances both clocks and fires due timers in order; promises run between them. */
  advance(ms: number): Promise<void>;
  /** Advances both clocks as if the process had been suspended: due timers fire late, after the whole time. */
  suspend(ms: number): Promise<void>;
  /** Moves only the wall clock, as an NTP step or an operator would. */
  jump(ms: number): void;
  /** Number of timers that are neither fired nor cancelled. */
  pending(): number;
};

type Entry = { readonly at: number; readonly order: number; readonly fire: () => void };

/** `settle` resolves when other work, such as responses of a real server, has finished and time may advance. */
export function createManualClock(
  startMs = Date.UTC(2026, 0, 15, 12),
  settle: () => Promise<void> = settlePromises,
): ManualClock {
  let wall = startMs;
  let monotonic = 0;
  let order = 0;
  const timers = new Set<Entry>();

  const next = (until: number): Entry | undefined =>
    [...timers]
      .filter((entry) => entry.at <= until)
      .sort((a, b) => a.at - b.at || a.order - b.order)[0];

  const moveTo = (at: number): void => {
    wall += at - monotonic;
    monotonic = at;
  };

  return {
    now: () => wall,
    monotonic: () => monotonic,
    setTimer(delayMs, fire): Timer {
      const entry = { at: monotonic + Math.max(0, delayMs), order: order++, fire };
      timers.add(entry);
      return { cancel: () => void timers.delete(entry) };
    },
    async advance(ms) {
      const until = monotonic + ms;
      await settle();
      for (let entry = next(until); entry !== undefined; entry = next(until)) {
        timers.delete(entry);
        moveTo(Math.max(monotonic, entry.at));
        entry.fire();
        await settle();
      }
      moveTo(until);
    },
    async suspend(ms) {
      moveTo(monotonic + ms);
      const due = [...timers].filter(({ at }) => at <= monotonic).sort((a, b) => a.at - b.at);
      for (const entry of due) {
        timers.delete(entry);
        entry.fire();
      }
      await settle();
    },
    jump: (ms) => {
      wall += ms;
    },
    pending: () => timers.size,
  };
}

/** Runs the event loop for some turns, so that pending promises settle; no time passes. */
export async function settlePromises(turns = 5): Promise<void> {
  for (let turn = 0; turn < turns; turn++) {
    await new Promise<void>((resolve) => setImmediate(resolve));
  }
}
