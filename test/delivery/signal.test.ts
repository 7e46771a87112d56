import { getEventListeners } from 'node:events';
import { expect, it } from 'vitest';
import { Signal } from '../../src/delivery/signal.js';
import { createManualClock, settlePromises } from '../support/manual-clock.js';

function createUnderTest() {
  const clock = createManualClock();
  const stop = new AbortController();
  const signal = new Signal();
  const ended: string[] = [];
  const wait = (name: string, forMs: number | null): void =>
    void signal.wait(clock, forMs, stop.signal).then(() => ended.push(name));
  return { clock, stop, signal, ended, wait };
}

it('a wait ends when its time is over, and not before', async () => {
  const { clock, ended, wait } = createUnderTest();
  wait('a', 1000);
  await clock.advance(999);
  expect(ended).toEqual([]);
  await clock.advance(1);
  expect(ended).toEqual(['a']);
});

it('a wait without a time limit needs no timer and ends at the next notification', async () => {
  const { clock, signal, ended, wait } = createUnderTest();
  wait('a', null);
  expect(clock.pending()).toBe(0);
  await clock.advance(3_600_000);
  expect(ended).toEqual([]);
  signal.notify();
  await settlePromises();
  expect(ended).toEqual(['a']);
});

it('a notification ends all waits that have begun, cancels their timers, and ends none that begins later', async () => {
  const { clock, signal, ended, wait } = createUnderTest();
  wait('a', 1000);
  wait('b', null);
  signal.notify();
  wait('c', null);
  await settlePromises();
  expect(ended).toEqual(['a', 'b']);
  expect(clock.pending()).toBe(0);
});

it('an abort ends the waits that have begun, cancels their timers, and later waits end at once', async () => {
  const { clock, stop, ended, wait } = createUnderTest();
  wait('a', 1000);
  stop.abort();
  await settlePromises();
  expect(ended).toEqual(['a']);
  wait('b', 1000);
  await settlePromises();
  expect(ended).toEqual(['a', 'b']);
  expect(clock.pending()).toBe(0);
});

it('a wait that has ended leaves no listener at the abort signal', async () => {
  const { clock, stop, wait } = createUnderTest();
  wait('a', 1000);
  wait('b', 1000);
  expect(getEventListeners(stop.signal, 'abort')).toHaveLength(2);
  await clock.advance(1000);
  expect(getEventListeners(stop.signal, 'abort')).toEqual([]);
});
