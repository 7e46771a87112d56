import { expect, it } from 'vitest';
import { runRelays, toRelaysText } from '../support/relays-run.js';

// SEED=… repeats a run, as far as the moments can be repeated; KILLS=… makes it longer.
const seed = Number(process.env.SEED ?? Math.floor(Math.random() * 2 ** 31));
const trials = Number(process.env.KILLS ?? 200);
/** The rest of the quarter of an hour is for delivering what is left, and for looking at it. */
const maxMs = 12 * 60_000;

it(`relays that share a Redis lose, double and change nothing over ${trials} kills, seed ${seed}`, async () => {
  const report = await runRelays({ seed, faults: trials, maxMs });
  process.stdout.write(toRelaysText(report));
  expect(report.problems).toEqual([]);
});
