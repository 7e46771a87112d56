import { expect, it } from 'vitest';
import { noRates } from '../support/relays-run.js';
import { runTopology } from '../support/topology-run.js';
import type { Fault } from '../support/topology-faults.js';

// `npm run torture -- topology` runs longer and prints the faults of a run.
it('relays on a cluster lose, duplicate and change no record over a failover, a pause, server restarts, a slot move and new scripts', async () => {
  const faults: readonly Fault[] = ['scripts', 'move', 'kill', 'shard', 'hiccup'];
  const report = await runTopology({
    ...{ seed: 20_260_102, kind: 'cluster', waitReplicas: 0, rates: noRates },
    draw: () => faults,
  });
  expect(report.problems, report.problems.join('\n')).toEqual([]);
  expect(report.rows.map(({ fault }) => fault)).toEqual(faults);
  expect(report.rows.every(({ acknowledged, exits }) => acknowledged > 0 && exits === 0)).toBe(
    true,
  );
  expect(report.delivered).toBeGreaterThan(0);
}, 180_000);
