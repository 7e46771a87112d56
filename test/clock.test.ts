import { afterEach, describe, expect, it, vi } from 'vitest';
import { setRunningTimer, systemClock, wait } from '../src/clock.js';
import { createManualClock, settlePromises } from './support/manual-clock.js';

describe('waiting', () => {
  it('ends when its time is over and not before', async () => {
    const clock = createManualClock();
    let ended = false;
    const waiting = wait(clock, 1000).then(() => (ended = true));
    await clock.advance(999);
    expect(ended).toBe(false);
    await clock.advance(1);
    await waiting;
    expect(clock.pending()).toBe(0);
  });

  it('ends at once when the signal aborts, and leaves no timer', async () => {
    const clock = createManualClock();
    const stop = new AbortController();
    const waiting = wait(clock, 1000, stop.signal);
    expect(clock.pending()).toBe(1);
    stop.abort();
    await waiting;
    expect(clock.pending()).toBe(0);
  });

  it('does not begin if the signal has already aborted', async () => {
    const clock = createManualClock();
    await wait(clock, 1000, AbortSignal.abort());
    expect(clock.pending()).toBe(0);
  });

  it('removes its listener from the signal when its time is over', async () => {
    const clock = createManualClock();
    const { signal } = new AbortController();
    const removed = vi.spyOn(signal, 'removeEventListener');
    const waiting = wait(clock, 10, signal);
    await clock.advance(10);
    await waiting;
    expect(removed).toHaveBeenCalledOnce();
  });
});

describe('a timer of running time', () => {
  const start = (delayMs: number) => {
    const clock = createManualClock();
    const fired: number[] = [];
    const timer = setRunningTimer(clock, delayMs, () => void fired.push(clock.monotonic()));
    return { clock, fired, timer };
  };

  it.each([100, 333, 30_000, 3_600_000])('fires once, after %d ms', async (delayMs) => {
    const { clock, fired } = start(delayMs);
    await clock.advance(delayMs - 1);
    expect(fired).toEqual([]);
    await clock.advance(2 * delayMs);
    expect(fired).toEqual([delayMs]);
    expect(clock.pending()).toBe(0);
  });

  it('does not count time in which the process was stopped', async () => {
    const { clock, fired } = start(30_000);
    await clock.advance(10_500);
    await clock.suspend(3_600_000);
    expect(fired).toEqual([]);
    // The rest of the second that was under way has passed meanwhile.
    await clock.advance(18_999);
    expect(fired).toEqual([]);
    await clock.advance(1);
    expect(fired).toHaveLength(1);
  });

  it('leaves no timer when it is cancelled at any time', async () => {
    const { clock, fired, timer } = start(1000);
    await clock.advance(450);
    timer.cancel();
    timer.cancel();
    expect(clock.pending()).toBe(0);
    await clock.advance(10_000);
    expect(fired).toEqual([]);
  });
});

describe('the system clock', () => {
  afterEach(() => vi.useRealTimers());

  it('returns wall time in ms since 1970 and a monotonic time', () => {
    vi.useFakeTimers({ now: 1234 });
    expect(systemClock.now()).toBe(1234);
    const before = systemClock.monotonic();
    vi.advanceTimersByTime(50);
    vi.setSystemTime(0);
    expect(systemClock.now()).toBe(0);
    expect(systemClock.monotonic() - before).toBeCloseTo(50);
  });

  it('fires once, after the delay, unless it is cancelled', () => {
    vi.useFakeTimers();
    const fired: string[] = [];
    systemClock.setTimer(10, () => void fired.push('first'));
    const second = systemClock.setTimer(10, () => void fired.push('second'));
    second.cancel();
    second.cancel();
    vi.advanceTimersByTime(9);
    expect(fired).toEqual([]);
    vi.advanceTimersByTime(1000);
    expect(fired).toEqual(['first']);
    expect(vi.getTimerCount()).toBe(0);
  });

  it.each([
    ['longer than a timer can be', 2 ** 40],
    ['for ever', Infinity],
  ])('does not fire at once for a wait %s', (_name, delayMs) => {
    vi.useFakeTimers();
    let fired = false;
    const timer = systemClock.setTimer(delayMs, () => (fired = true));
    vi.advanceTimersByTime(24 * 86_400_000);
    expect(fired).toBe(false);
    timer.cancel();
  });

  it('fires as soon as possible for a time in the past', () => {
    vi.useFakeTimers();
    let fired = false;
    systemClock.setTimer(-5, () => (fired = true));
    vi.advanceTimersByTime(1);
    expect(fired).toBe(true);
  });
});

describe('the manual clock', () => {
  it('fires timers in order of time and creation, and lets promises run in between', async () => {
    const clock = createManualClock(1000);
    const seen: string[] = [];
    clock.setTimer(20, () => void seen.push(`late ${clock.now()}`));
    clock.setTimer(10, () => {
      void Promise.resolve().then(() => clock.setTimer(5, () => void seen.push('nested')));
    });
    clock.setTimer(20, () => void seen.push('later'));
    await clock.advance(20);
    await settlePromises();
    expect(seen).toEqual(['nested', 'late 1020', 'later']);
    expect(clock.monotonic()).toBe(20);
  });

  it('can move wall time without monotonic time', async () => {
    const clock = createManualClock(1000);
    clock.jump(-500);
    await clock.advance(10);
    expect(clock.now()).toBe(510);
    expect(clock.monotonic()).toBe(10);
  });
});
