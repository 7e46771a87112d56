import { afterAll, beforeAll, it } from 'vitest';
import { interleave, toRatio, toSpread } from './support/compare.js';
import { measureIntake } from './support/intake.js';
import { defaultConnections, toRate, type Loaded } from './support/load.js';
import {
  needTools,
  startBare,
  startRelayIntake,
  startRelay,
  startSink,
  type Program,
} from './support/program.js';
import { save, type Row } from './support/results.js';

const rounds = Number(process.env.ROUNDS ?? 5);
const seconds = 4;
const warmUpSeconds = 5;

let sink: Program;
const rows: Row[] = [];
beforeAll(async () => {
  needTools('wrk', 'taskset');
  sink = await startSink();
});
afterAll(async () => {
  await sink.stop();
  save('intake', rows);
});

const starts = {
  relay: () => startRelay(sink),
  fastify: () => startBare('bare-fastify'),
  http: () => startBare('bare-http'),
  /** The cost of a synced write before each 202. */
  synced: () => startBare('synced-fastify'),
  /** The cost of the relay without its store and delivery. */
  http202: () => startRelayIntake('http'),
  draft: () => startRelayIntake('draft'),
};

const measure = (start: () => Promise<Program>, delayMs = 0): Promise<Loaded> =>
  measureIntake(start, { warmUpSeconds, seconds, delayMs });
const toRates = (all: readonly Loaded[]): readonly number[] => all.map(toRate);
const bySynced = 'by Fastify that syncs bodies to a log and does no more';
let relayRate = NaN;

it('measures single events accepted per second', async () => {
  const { relay, fastify, http, synced, http202, draft } = await interleave(rounds, {
    relay: () => measure(starts.relay),
    fastify: () => measure(starts.fastify),
    http: () => measure(starts.http),
    synced: () => measure(starts.synced),
    http202: () => measure(starts.http202),
    draft: () => measure(starts.draft),
  });
  relayRate = toSpread(toRates(relay)).median;
  const absolute = {
    'relay, events/s': toSpread(toRates(relay)),
    'bare Fastify': toSpread(toRates(fastify)),
    'bare node:http': toSpread(toRates(http)),
    'Fastify that syncs': toSpread(toRates(synced)),
  };
  const what = 'single events accepted per second, one core';
  rows.push(
    {
      ...{ row: '1', what, against: 'bare Fastify, parses and answers 202', unit: '×', absolute },
      ...{ measured: toRatio(toRates(relay), toRates(fastify)), least: '0.80', aim: '0.95' },
    },
    {
      ...{ row: '2', what, against: 'bare node:http, alike', unit: '×', absolute },
      ...{ measured: toRatio(toRates(relay), toRates(http)), least: '0.60', aim: '0.85' },
    },
  );
  const byHttpServer = "by the relay's HTTP server, keys and metrics, with nothing behind them";
  const byDrafting = 'by these and reading, checking and mapping, with no store';
  const bareFastify = { against: 'bare Fastify', than: fastify };
  const bareHttp = { against: 'bare node:http', than: http };
  const bounds = [
    { row: '1 bound, sync', by: bySynced, all: synced, ...bareFastify },
    { row: '1 bound, edge', by: byHttpServer, all: http202, ...bareFastify },
    { row: '1 bound, drafting', by: byDrafting, all: draft, ...bareFastify },
    { row: '2 bound, edge', by: byHttpServer, all: http202, ...bareHttp },
  ];
  for (const { row, by, all, against, than } of bounds) {
    rows.push({
      ...{ row, what: `accepted per second, ${by}`, against, unit: '×' },
      measured: toRatio(toRates(all), toRates(than)),
      ...{ least: '–', aim: '–', absolute: {} },
    });
  }
});

it('measures the time to 202 at half of the maximum load', async () => {
  const delayMs = Math.round((defaultConnections / (relayRate / 2)) * 1000);
  const { relay, fastify, synced } = await interleave(rounds, {
    relay: () => measure(starts.relay, delayMs),
    fastify: () => measure(starts.fastify, delayMs),
    synced: () => measure(starts.synced, delayMs),
  });
  for (const name of ['p50', 'p99'] as const) {
    const of = (all: readonly Loaded[]) => all.map((each) => each[`${name}Ms`]);
    rows.push({
      row: `5 ${name}`,
      what: `time to 202 at half of row 1's load, ${name}`,
      against: 'bare Fastify at the same load',
      measured: toRatio(of(relay), of(fastify)),
      ...{ unit: '×', least: '2.0', aim: '1.3' },
      absolute: {
        'relay, ms': toSpread(of(relay)),
        'bare Fastify': toSpread(of(fastify)),
        'relay, events/s': toSpread(toRates(relay)),
      },
    });
    rows.push({
      row: `5 bound, ${name}`,
      what: `at half of row 1's load, ${name}, ${bySynced}`,
      against: 'bare Fastify at the same load',
      measured: toRatio(of(synced), of(fastify)),
      ...{ unit: '×', least: '–', aim: '–' },
      absolute: { 'Fastify that syncs, ms': toSpread(of(synced)) },
    });
  }
});
