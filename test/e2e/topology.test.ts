import { expect, it } from 'vitest';
import { noRates } from '../support/relays-run.js';
import { runTopology } from '../support/topology-run.js';
import type { Fault } from '../support/topology-faults.js';

// The long form, and what a run went through: `npm run torture -- topology`.
it('relays on a cluster lose, double and change nothing over a failover, a pause, a restart of each server, a slot move and new scripts', async () => {
  const faults: readonly Fault[] = ['scripts', 'move', 'kill', 'shard', 'hiccup'];
  const report = await runTopology({
    ...{ seed: 20_260_102, kind: 'cluster', waitReplicas: 0, rates: noRates },
    draw: () => faults,
  });
  expect(report.problems).toEqual([]);
  expect(report.rows.map(({ fault }) => fault)).toEqual(faults);
  expect(report.rows.every(({ acknowledged, exits }) => acknowledged > 0 && exits === 0)).toBe(
    true,
  );
  expect(report.delivered).toBeGreaterThan(0);
}, 180_000);
