import { expect, it } from 'vitest';
import { narrowRates } from '../support/relays-rates.js';
import { drawFaults, type Fault } from '../support/topology-faults.js';
import { runTopology, toTopologyText } from '../support/topology-run.js';

// SEED=… repeats a run, as far as the moments can be repeated; KILLS=… makes it longer. KIND=cluster or
// KIND=sentinels runs one of the two, WAIT=0 or WAIT=1 one setting of REDIS_WAIT_REPLICAS.
const seed = Number(process.env.SEED ?? Math.floor(Math.random() * 2 ** 31));
const count = Number(process.env.KILLS ?? 22);
const maxMs = 12 * 60_000;
const kinds = (['cluster', 'sentinels'] as const).filter(
  (kind) => (process.env.KIND ?? kind) === kind,
);
const waits = [0, 1].filter((wait) => Number(process.env.WAIT ?? wait) === wait);

it.each(kinds.flatMap((kind) => waits.map((waitReplicas) => ({ kind, waitReplicas }))))(
  `relays on $kind with REDIS_WAIT_REPLICAS=$waitReplicas lose, duplicate and change no replicated record over ${count} faults with seed ${seed}`,
  async ({ kind, waitReplicas }) => {
    const only = process.env.FAULTS?.split(',') as readonly Fault[] | undefined;
    const draw = (random: () => number) => only ?? drawFaults(random, kind, count);
    const report = await runTopology({
      ...{ seed, kind, waitReplicas, draw, maxMs },
      rates: narrowRates,
    });
    process.stdout.write(toTopologyText(report));
    expect(report.problems, report.problems.join('\n')).toEqual([]);
    expect(report.violations).toBe(0);
    expect(report.rows.map(({ exits }) => exits)).toEqual(report.rows.map(() => 0));
  },
);
