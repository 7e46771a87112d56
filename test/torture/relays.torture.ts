import { expect, it } from 'vitest';
import { runRelays, toRelaysText } from '../support/relays-run.js';

// SEED=… repeats a run, as far as the moments can be repeated; KILLS=… makes it longer.
const seed = Number(process.env.SEED ?? Math.floor(Math.random() * 2 ** 31));
const trials = Number(process.env.KILLS ?? 200);
/** The rest of the 15 minutes is for delivering the backlog and checking it. */
const maxMs = 12 * 60_000;

it(`relays that share a Redis lose, duplicate and change no record over ${trials} faults with seed ${seed}`, async () => {
  const report = await runRelays({ seed, faults: trials, maxMs });
  process.stdout.write(toRelaysText(report));
  expect(report.problems, report.problems.join('\n')).toEqual([]);
});
