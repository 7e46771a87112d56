import { afterAll, beforeAll, it } from 'vitest';
import { startRedis, type RedisServer } from '../test/support/redis-server.js';
import { interleave, toRatio, toSpread } from './support/compare.js';
import { measureEndToEnd, unlimited } from './support/end-to-end.js';
import { postAll, toRate, type Load } from './support/load.js';
import { needTools, startMany, startRelay, startSink, stopAll } from './support/program.js';
import { save, type Row } from './support/results.js';

const rounds = Number(process.env.ROUNDS ?? 5);
const seconds = 4;
const warmUpSeconds = 5;

let redis: RedisServer;
let prefixes = 0;
const rows: Row[] = [];
beforeAll(async () => {
  needTools('wrk', 'taskset');
  redis = await startRedis();
});
afterAll(async () => {
  await redis.close();
  save('redis', rows);
});

type Env = Readonly<Record<string, string>>;

/** The relays of one round share a prefix and therefore a buffer. */
const toRedis = (): Env => ({
  ...unlimited,
  ...{ STORE: 'redis', REDIS_URL: redis.url, REDIS_KEY_PREFIX: `bench-${prefixes++}` },
});

type Measure = (relays: number, env: Env) => Promise<number>;

async function compare(name: string, what: string, measure: Measure): Promise<void> {
  const { journal, ...onRedis } = await interleave(rounds, {
    journal: () => measure(1, unlimited),
    one: () => measure(1, toRedis()),
    two: () => measure(2, toRedis()),
    three: () => measure(3, toRedis()),
  });
  const absolute = {
    'journal, events/s': toSpread(journal),
    'one relay on Redis': toSpread(onRedis.one),
    two: toSpread(onRedis.two),
    three: toSpread(onRedis.three),
  };
  for (const count of ['one', 'two', 'three'] as const) {
    rows.push({
      row: `9, ${name}, ${count}`,
      what: `${what}, ${count} on Redis, all on one core`,
      against: 'the journal store',
      measured: toRatio(onRedis[count], journal),
      ...{ unit: '×', least: '–', aim: '–', absolute },
    });
  }
}

/** Events accepted per second by all relays together. */
const measureAccepted: Measure = async (count, env) => {
  const load: Load = { kind: 'event', seconds };
  const sink = await startSink();
  const relays = await startMany(count, () => startRelay(sink, env));
  try {
    await postAll(relays, { ...load, seconds: warmUpSeconds });
    const loaded = await postAll(relays, load);
    return loaded.reduce((sum, each) => sum + toRate(each), 0);
  } finally {
    await stopAll([...relays, sink]);
  }
};

const measureDelivered: Measure = (programs, env) =>
  measureEndToEnd({
    ...{ mark: '"type":"event-bulk-create"', cores: 'server', warmUpSeconds, programs },
    load: { kind: 'events', perRequest: 500, seconds },
    start: (sink) => startRelay(sink, env),
  });

it('measures single events accepted per second by one, two and three relays', () =>
  compare('single', 'single events accepted per second', measureAccepted));

it('measures events delivered per second by one, two and three relays', () =>
  compare('delivered', 'events delivered per second, posted 500 a request', measureDelivered));

it('measures single events accepted per second while each 202 waits for a replica', async () => {
  const replica = await startRedis({ settings: { replicaof: `127.0.0.1 ${redis.port}` } });
  try {
    const measured = await interleave(rounds, {
      alone: () => measureAccepted(1, toRedis()),
      waits: () => measureAccepted(1, { ...toRedis(), REDIS_WAIT_REPLICAS: '1' }),
    });
    rows.push({
      row: '9, single, a replica',
      what: 'single events accepted per second with REDIS_WAIT_REPLICAS=1, relay and both servers on one core',
      against: 'the same without it',
      measured: toRatio(measured.waits, measured.alone),
      ...{ unit: '×', least: '–', aim: '–' },
      absolute: {
        'without, events/s': toSpread(measured.alone),
        'with, events/s': toSpread(measured.waits),
      },
    });
  } finally {
    await replica.close();
  }
});
