import { expect, it } from 'vitest';
import { forEachInSlices, runInSlices, Slices, nextTurn } from '../src/slices.js';
import { createManualClock } from './support/manual-clock.js';

/** Iterations of the event loop until `work` is done. */
async function countIterations(work: Promise<unknown>): Promise<number> {
  const state = { isDone: false };
  void work.then(() => (state.isDone = true));
  for (let iterations = 0; ; iterations++) {
    await Promise.resolve();
    if (state.isDone) return iterations;
    await new Promise((resolve) => setImmediate(resolve));
  }
}

it('a slice ends once its time is over', async () => {
  const clock = createManualClock();
  const slices = new Slices(clock);
  expect(slices.isUsedUp()).toBe(false);
  await clock.advance(7);
  expect(slices.isUsedUp()).toBe(false);
  await clock.advance(1);
  expect(slices.isUsedUp()).toBe(true);
});

it('a slice ends after 250 steps, however little time they take', async () => {
  const slices = new Slices(createManualClock());
  for (let round = 0; round < 3; round++) {
    for (let step = round === 0 ? 0 : 1; step < 250; step++) expect(slices.isUsedUp()).toBe(false);
    expect(slices.isUsedUp()).toBe(true);
    await slices.startNext();
  }
});

it('long work yields to the event loop after each slice', async () => {
  const clock = createManualClock();
  const all = Array.from({ length: 2501 }, (_, index) => index);
  const seen: number[] = [];
  const work = forEachInSlices(all, clock, (each) => seen.push(each));
  expect(seen).toHaveLength(250);
  expect(await countIterations(work)).toBeGreaterThanOrEqual(10);
  expect(seen).toEqual(all);
});

it('a generator runs to its end in slices, and its return value is the result', async () => {
  function* count(): Generator<undefined, string> {
    for (let step = 0; step < 1000; step++) yield;
    return 'done';
  }
  const work = runInSlices(count(), createManualClock());
  expect(await countIterations(work)).toBeGreaterThanOrEqual(3);
  expect(await work).toBe('done');
});

it('one slice runs per iteration of the event loop, however many requests wait', async () => {
  const order: string[] = [];
  const others = async (name: string): Promise<void> => {
    await nextTurn();
    order.push(name);
  };
  const work = Promise.all([others('a'), others('b'), others('c')]);
  const iterations = await countIterations(work);
  expect(order).toEqual(['a', 'b', 'c']);
  expect(iterations).toBeGreaterThanOrEqual(3);
});
