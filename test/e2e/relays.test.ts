import { expect, it } from 'vitest';
import { runRelays } from '../support/relays-run.js';

// The long form, and what a run went through: `npm run torture -- relays`.
it('relays that share a Redis, killed, stopped, added and cut off, lose, double and change nothing', async () => {
  const report = await runRelays({ seed: 20_260_101, faults: 8 });
  expect(report.problems).toEqual([]);
  expect(Math.min(...Object.values(report.faults))).toBeGreaterThan(0);
  expect(report.leasesExpired).toBeGreaterThan(0);
  expect(report.delivered).toBeGreaterThan(0);
}, 180_000);
