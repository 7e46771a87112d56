import { afterAll, afterEach, beforeAll, expect, it } from 'vitest';
import { startRedis, type RedisServer } from '../support/redis-server.js';
import { startRelay, type RelayUnderTest } from '../support/relay.js';

let redis: RedisServer;
const relays: RelayUnderTest[] = [];
beforeAll(async () => {
  redis = await startRedis({ settings: { appendfsync: 'no' } });
});
afterEach(async () => {
  for (const relay of relays.splice(0)) await relay.stop();
});
afterAll(() => redis.close());

/** Values of a scrape by name and labels. */
async function scrape(relay: RelayUnderTest): Promise<(name: string) => number> {
  const text = await relay.app.metrics.registry.metrics();
  return (name) => {
    const line = text.split('\n').find((each) => each.startsWith(`${name} `));
    if (line === undefined) throw new Error(`${name} is not there`);
    return Number(line.slice(name.length));
  };
}

it('relays that share a store count their own requests and show the totals of all relays', async () => {
  for (let count = 0; count < 2; count++) {
    relays.push(
      await startRelay({ seed: count + 1, env: { STORE: 'redis', REDIS_URL: redis.url } }),
    );
  }
  const [a, b] = relays;
  await a!.post(
    '/v1/events/batch',
    [1, 2, 3].map((n) => ({ event_name: 'e', distinct_id: `${n}` })),
  );
  await b!.post('/v1/events', { event_name: 'e', distinct_id: '4' });
  await b!.until('b saw what a took', async () => {
    const ofB = await scrape(b!);
    return ofB('relay_store_accepted{lane="events"}') === 4;
  });
  const ofB = await scrape(b!);
  expect(ofB('relay_ingest_total{lane="events",outcome="accepted"}')).toBe(1);
  const settled = ['delivered', 'merged', 'dead_lettered'].reduce(
    (sum, outcome) => sum + ofB(`relay_store_settled{lane="events",outcome="${outcome}"}`),
    0,
  );
  expect(ofB('relay_buffer_envelopes{lane="events"}') + settled).toBe(4);
  // Each relay has its own clock, so both are advanced.
  for (const relay of relays) await relay.clock.advance(5000);
  await a!.untilSettled();
  const recorded = relays.flatMap(({ sandbox }) => sandbox.state().events);
  expect(recorded).toHaveLength(4);
}, 30_000);
