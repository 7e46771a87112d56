import { expect, it } from 'vitest';
import { runRelays } from '../support/relays-run.js';

// `npm run torture -- relays` runs longer and prints the faults of a run.
it('relays that share a Redis lose, duplicate and change no record while relays and Redis are killed, stopped and added', async () => {
  const report = await runRelays({ seed: 20_260_101, faults: 8 });
  expect(report.problems, report.problems.join('\n')).toEqual([]);
  expect(Math.min(...Object.values(report.faults))).toBeGreaterThan(0);
  expect(report.leasesExpired).toBeGreaterThan(0);
  expect(report.delivered).toBeGreaterThan(0);
}, 180_000);
