import { expect, it } from 'vitest';
import { toRelaysText } from '../support/relays-run.js';
import { measureUse, runWithinWindows } from '../support/relays-rates.js';

const seed = Number(process.env.SEED ?? Math.floor(Math.random() * 2 ** 31));
const trials = Number(process.env.KILLS ?? 40);

it(`three relays use the permitted rate fully and never exceed it with seed ${seed}`, async () => {
  const use = await measureUse(seed);
  process.stdout.write(`${JSON.stringify(use)}\n`);
  expect(use.violations).toBe(0);
  expect(use.share).toBeGreaterThanOrEqual(0.95);
});
it(`three relays never exceed the permitted rate while they and their Redis are killed with seed ${seed}`, async () => {
  const report = await runWithinWindows({ seed, faults: trials, maxMs: 12 * 60_000 });
  process.stdout.write(toRelaysText(report));
  expect(report.problems, report.problems.join('\n')).toEqual([]);
  expect(report.violations).toBe(0);
});
