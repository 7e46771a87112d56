import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { append, deadLetterAll } from '../store/contract/harness.js';
import { openTestJournal } from '../store/journal/under-test.js';
import { someEvents } from '../support/builders.js';
import { startRedis, type RedisServer } from '../support/redis-server.js';
import { isConserved, startRelay, type RelayUnderTest } from '../support/relay.js';

let redis: RedisServer;
const relays: RelayUnderTest[] = [];
let started = 0;
beforeAll(async () => {
  redis = await startRedis({ settings: { appendfsync: 'no' } });
});
afterEach(async () => {
  for (const relay of relays.splice(0)) await relay.stop();
});
afterAll(() => redis.close());

/** Requests of two events, one at a time; Klaviyo rejects the bad event with a pointer. */
async function start(store: string, env: Record<string, string> = {}): Promise<RelayUnderTest> {
  const relay = await startRelay({
    env: {
      STORE: store,
      EVENT_BATCH_MAX_COUNT: '2',
      DELIVERY_CONCURRENCY: '1',
      DEAD_LETTER_MAX_COUNT: '3',
      REDIS_URL: redis.url,
      REDIS_KEY_PREFIX: `full-${String(++started)}`,
      ...env,
    },
  });
  relay.sandbox.addFault({ poison: { when: { path: 'properties.is', equals: 'bad' } } });
  relays.push(relay);
  return relay;
}

const pairs = 8;
const post = (relay: RelayUnderTest) =>
  relay.post(
    '/v1/events/batch',
    Array.from({ length: pairs }, (_, number) => [
      { event_name: 'E', distinct_id: `b${number}`, properties: { is: 'bad' } },
      { event_name: 'E', distinct_id: `g${number}`, properties: { is: 'good' } },
    ]).flat(),
  );

const full = 'relay_klaviyo_paused{lane="events",reason="dead_letters_full"} 1';
const scrape = (relay: RelayUnderTest): Promise<string> => relay.app.metrics.registry.metrics();
const isPaused = async (relay: RelayUnderTest): Promise<boolean> =>
  (await scrape(relay)).includes(full);
const countLetters = async (relay: RelayUnderTest): Promise<number> =>
  Number(/relay_dead_letters\{lane="events"\} (\d+)/.exec(await scrape(relay))?.[1]);
const discardAll = async (relay: RelayUnderTest): Promise<number> => {
  const response = await fetch(`${relay.app.url}/v1/dead-letters?all=true`, { method: 'DELETE' });
  const { discarded } = (await response.json()) as { discarded: number };
  return discarded;
};

describe.each(['memory', 'journal', 'redis'])(
  'dead letters at their bound in the %s store',
  (store) => {
    it('pause both lanes and lose nothing, and each discard resumes the lanes without an operator', async () => {
      const relay = await start(store);
      await post(relay);
      await relay.until('the lane pauses', () => isPaused(relay));
      const kept = await countLetters(relay);
      expect(kept).toBeGreaterThanOrEqual(3);
      expect(kept).toBeLessThanOrEqual(4);
      expect(await scrape(relay)).toContain(full.replace('events', 'profiles'));
      expect(relay.logged.join('')).toMatch(
        /lane events paused: dead letters full: .*redrive or discard/,
      );
      const response = await relay.get('/readyz');
      expect(response.status).toBe(200);
      expect(JSON.stringify(response.body)).toContain('DEAD_LETTER_MAX_COUNT is 3');

      const sent = relay.sandbox.state().requests.length;
      expect((await relay.post('/v1/events', { event_name: 'E', distinct_id: 'x' })).status).toBe(
        202,
      );
      await relay.post('/v1/flush', {});
      const pausedAt = relay.clock.monotonic();
      await relay.until('a minute is over', () => relay.clock.monotonic() - pausedAt > 60_000);
      expect(relay.sandbox.state().requests).toHaveLength(sent);
      expect((await relay.counts()).events).toSatisfy(isConserved);

      let discarded = await discardAll(relay);
      const discardedAt = relay.clock.monotonic();
      await relay.until('it goes on', () => relay.sandbox.state().requests.length > sent);
      // Far sooner than the minute in which nothing moved; the manual clock advances while Redis works.
      expect(relay.clock.monotonic() - discardedAt).toBeLessThan(30_000);
      await relay.until('everything is settled', async () => {
        if (await isPaused(relay)) discarded += await discardAll(relay);
        return (await relay.counts()).events.buffered === 0;
      });
      discarded += await discardAll(relay);
      expect(discarded).toBe(pairs);
      expect(relay.sandbox.state().events).toHaveLength(pairs + 1);
      expect(await scrape(relay)).toContain('relay_dead_letters_dropped_total{lane="events"} 0');
    }, 60_000);

    it('are redriven while the lane is paused, and envelopes that are rejected again are kept', async () => {
      const relay = await start(store);
      await post(relay);
      await relay.until('the lane pauses', () => isPaused(relay));
      await relay.post('/v1/dead-letters/redrive', { filter: { lane: 'events' } });
      expect(await countLetters(relay)).toBe(0);
      await relay.until('the lane pauses again', async () => {
        return (await isPaused(relay)) && (await countLetters(relay)) >= 3;
      });
      relay.sandbox.clearFaults();
      await relay.until('everything is settled', async () => {
        if (await isPaused(relay)) {
          await relay.post('/v1/dead-letters/redrive', { filter: { lane: 'events' } });
        }
        return (await relay.counts()).events.buffered === 0;
      });
      expect(relay.sandbox.state().events).toHaveLength(2 * pairs);
    }, 60_000);

    it('cause a 503 for an entry that could only become another dead letter, so that its sender retries', async () => {
      const relay = await start(store, { DEAD_LETTER_MAX_COUNT: '1' });
      const track = (event: string, properties: object = {}) => {
        const call = { type: 'track', userId: 'u', event, messageId: event, properties };
        return relay.post('/v1/batch', { batch: [call] });
      };
      // Klaviyo accepts ten levels.
      const tooDeep = Array.from({ length: 12 }).reduce<object>((inner) => ({ inner }), {});
      expect((await track('Odd 1', tooDeep)).status).toBe(200);
      await relay.until('the lane pauses', () => isPaused(relay));
      const rejected = await track('Odd 2', tooDeep);
      // This route answers backpressure with 429, because the SDKs retry it.
      expect(rejected.status).toBe(429);
      expect(Number(rejected.headers.get('retry-after'))).toBeGreaterThan(0);
      // Entries that can be sent are still accepted.
      expect((await track('Fine')).status).toBe(200);
      await discardAll(relay);
      await relay.until('there is room', async () => !(await isPaused(relay)));
      expect((await track('Odd 2', tooDeep)).status).toBe(200);
      expect(await countLetters(relay)).toBe(1);
    }, 60_000);

    it('are dropped, oldest first, with DEAD_LETTER_OVERFLOW=drop-oldest', async () => {
      const relay = await start(store, { DEAD_LETTER_OVERFLOW: 'drop-oldest' });
      await post(relay);
      await relay.untilSettled();
      expect(await countLetters(relay)).toBe(3);
      expect(await scrape(relay)).toContain(
        `relay_dead_letters_dropped_total{lane="events"} ${pairs - 3}`,
      );
      expect(await isPaused(relay)).toBe(false);
    }, 60_000);
  },
);

it('a relay resumes within a second after another relay on the same Redis discards dead letters', async () => {
  const env = { REDIS_KEY_PREFIX: 'full-shared' };
  const a = await start('redis', env);
  await post(a);
  await a.until('the lane pauses', () => isPaused(a));
  const b = await start('redis', env);
  await b.until('the other is paused, too', () => isPaused(b));
  expect(await discardAll(b)).toBeGreaterThanOrEqual(3);
  const discardedAt = a.clock.monotonic();
  await a.until('it goes on', async () => !(await isPaused(a)));
  expect(a.clock.monotonic() - discardedAt).toBeLessThan(1000);
}, 60_000);

it('a journal with more dead letters than a lowered bound keeps all of them after a restart', async () => {
  const under = await openTestJournal({ maxDeadLetters: Infinity });
  await append(under.store, someEvents(8));
  await deadLetterAll(under.store);
  await under.store.close();
  const relay = await start('journal', { DATA_DIR: under.directory });
  expect(await isPaused(relay)).toBe(true);
  expect(await countLetters(relay)).toBe(8);
  await post(relay);
  await relay.clock.advance(10_000);
  expect(relay.sandbox.state().requests).toHaveLength(0);
  expect(await discardAll(relay)).toBe(8);
  await relay.until('it goes on', () => relay.sandbox.state().requests.length > 0);
  expect(under.dropped).toEqual([]);
  await relay.stop();
  relays.splice(0);
  await under.close();
}, 60_000);
