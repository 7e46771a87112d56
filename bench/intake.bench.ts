import { afterAll, beforeAll, it } from 'vitest';
import { interleave, toRatio, toSpread } from './support/compare.js';
import { connections, measureIntake, toRate } from './support/intake.js';
import type { Loaded } from './support/load.js';
import { needTools, startBare, startRelay, startSink, type Program } from './support/program.js';
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
  /** What the promise of a 202 costs whoever gives it. */
  synced: () => startBare('synced-fastify'),
};

const measure = (start: () => Promise<Program>, delayMs = 0): Promise<Loaded> =>
  measureIntake(start, { warmUpSeconds, seconds, delayMs });
const toRates = (all: readonly Loaded[]): readonly number[] => all.map(toRate);
const toBound = (what: string): string =>
  `${what}, by Fastify that syncs bodies to a log and does no more`;
let relayRate = NaN;

it('single events accepted per second', async () => {
  const { relay, fastify, http, synced } = await interleave(rounds, {
    relay: () => measure(starts.relay),
    fastify: () => measure(starts.fastify),
    http: () => measure(starts.http),
    synced: () => measure(starts.synced),
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
    {
      row: '1 bound',
      what: toBound('accepted per second'),
      against: 'bare Fastify',
      measured: toRatio(toRates(synced), toRates(fastify)),
      ...{ unit: '×', least: '–', aim: '–', absolute: {} },
    },
  );
});

it('time to 202 at half of that load', async () => {
  const delayMs = Math.round((connections / (relayRate / 2)) * 1000);
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
      what: toBound(`at half of row 1's load, ${name}`),
      against: 'bare Fastify at the same load',
      measured: toRatio(of(synced), of(fastify)),
      ...{ unit: '×', least: '–', aim: '–' },
      absolute: { 'Fastify that syncs, ms': toSpread(of(synced)) },
    });
  }
});
