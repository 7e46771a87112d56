import { expect, it } from 'vitest';
import { runCrashes, toReportText } from '../support/crash-run.js';

// SEED=… repeats a run, as far as the moments of a kill can be repeated; KILLS=… makes it longer.
const seed = Number(process.env.SEED ?? Math.floor(Math.random() * 2 ** 31));
const kills = Number(process.env.KILLS ?? 220);
/** The rest of the 15 minutes is for delivering the backlog and checking it. */
const maxMs = 12 * 60_000;

it(`a relay loses, duplicates and changes no record over ${kills} kills with seed ${seed}`, async () => {
  const report = await runCrashes({ seed, kills, maxMs });
  process.stdout.write(toReportText(report));
  expect(report.problems, report.problems.join('\n')).toEqual([]);
  expect(report.kills).toBe(kills);
});
