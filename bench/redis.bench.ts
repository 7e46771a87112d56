import { afterAll, beforeAll, it } from 'vitest';
import { startRedis, type RedisServer } from '../test/support/redis-server.js';
import { interleave, toRatio, toSpread } from './support/compare.js';
import { measureEndToEnd, unlimited } from './support/end-to-end.js';
import { post, type Load } from './support/load.js';
import { needTools, startRelay, startSink, type Program } from './support/program.js';
import { save, type Row } from './support/results.js';

const rounds = Number(process.env.ROUNDS ?? 5);
const seconds = 4;
const warmUpSeconds = 5;

let redis: RedisServer;
let sink: Program;
let prefixes = 0;
const rows: Row[] = [];
beforeAll(async () => {
  needTools('wrk', 'taskset');
  redis = await startRedis();
  sink = await startSink();
});
afterAll(async () => {
  await sink.stop();
  await redis.close();
  save('redis', rows);
});

const toEnv = (prefix: string): Readonly<Record<string, string>> => ({
  ...unlimited,
  ...{ STORE: 'redis', REDIS_URL: redis.url, REDIS_KEY_PREFIX: prefix },
});

/** Events accepted per second by all of them together. */
async function measure(start: () => Promise<readonly Program[]>, load: Load): Promise<number> {
  const relays = await start();
  const connections = Math.floor((load.connections ?? 64) / relays.length);
  const postAll = (each: Load) => Promise.all(relays.map((relay) => post(relay, each)));
  try {
    await postAll({ ...load, connections, seconds: warmUpSeconds });
    const loaded = await postAll({ ...load, connections });
    return loaded.reduce((sum, { requests, seconds: took }) => sum + requests / took, 0);
  } finally {
    for (const relay of relays) await relay.stop();
  }
}

async function startMany(count: number): Promise<readonly Program[]> {
  const env = toEnv(`bench-${prefixes++}`);
  return Promise.all(Array.from({ length: count }, () => startRelay(sink, env)));
}

it('single events accepted per second, by one, two and three relays', async () => {
  const load: Load = { kind: 'event', seconds };
  const measured = await interleave(rounds, {
    journal: () => measure(async () => [await startRelay(sink, unlimited)], load),
    one: () => measure(() => startMany(1), load),
    two: () => measure(() => startMany(2), load),
    three: () => measure(() => startMany(3), load),
  });
  const { journal, one, two, three } = measured;
  const absolute = {
    'journal, events/s': toSpread(journal),
    'one relay on Redis': toSpread(one),
    two: toSpread(two),
    three: toSpread(three),
  };
  const all = { one, two, three };
  for (const name of ['one', 'two', 'three'] as const) {
    rows.push({
      row: `9, single, ${name}`,
      what: `single events accepted per second, ${name} on Redis, all on one core`,
      against: 'the journal store',
      measured: toRatio(all[name], journal),
      ...{ unit: '×', least: '–', aim: '–', absolute },
    });
  }
});

it('events delivered per second, by one relay', async () => {
  const load: Load = { kind: 'events', perRequest: 500, seconds };
  const of = (env: () => Readonly<Record<string, string>>) => () =>
    measureEndToEnd({
      ...{ mark: '"type":"event-bulk-create"', load, cores: 'server', warmUpSeconds },
      start: (each) => startRelay(each, env()),
    });
  const { journal, onRedis } = await interleave(rounds, {
    journal: of(() => unlimited),
    onRedis: of(() => toEnv(`bench-${prefixes++}`)),
  });
  rows.push({
    row: '9, delivered',
    what: 'events delivered per second, posted 500 a request, one relay on Redis, one core',
    against: 'the journal store',
    measured: toRatio(onRedis, journal),
    ...{ unit: '×', least: '–', aim: '–' },
    absolute: { 'relay on Redis, events/s': toSpread(onRedis), journal: toSpread(journal) },
  });
});
