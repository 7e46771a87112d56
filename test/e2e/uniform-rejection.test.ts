import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import type { RunningSandbox } from '../../src/sandbox/sandbox.js';
import { startRedis, type RedisServer } from '../support/redis-server.js';
import { startRelay, type RelayUnderTest } from '../support/relay.js';
import { fetchText, untilSettled, withRestartedRelay } from '../support/restarted-relay.js';

let redis: RedisServer;
const relays: RelayUnderTest[] = [];
let prefixes = 0;
beforeAll(async () => {
  redis = await startRedis({ settings: { appendfsync: 'no' } });
});
afterEach(async () => {
  for (const relay of relays.splice(0)) await relay.stop();
});
afterAll(() => redis.close());

const newPrefix = (): string => `refusal-${String(++prefixes)}`;

async function start(
  store: string,
  { seed = 1, prefix = newPrefix() }: { seed?: number; prefix?: string } = {},
): Promise<RelayUnderTest> {
  const relay = await startRelay({
    seed,
    env: {
      STORE: store,
      EVENT_BATCH_MAX_COUNT: '50',
      REDIS_URL: redis.url,
      REDIS_KEY_PREFIX: prefix,
    },
  });
  relays.push(relay);
  return relay;
}

const words = 'Invalid: ada.refused@klaviyo-demo.com, +15005550006';
const toEvents = (count: number, is = 'bad'): object[] =>
  Array.from({ length: count }, (_, n) => ({
    event_name: 'E',
    distinct_id: `${is}${n}`,
    insert_id: `${is}-${n}`,
    properties: { is },
  }));

/** Klaviyo rejects every event with this property, and names each. */
function rejectBad(sandbox: RunningSandbox): void {
  sandbox.addFault({
    endpoint: 'bulk-events',
    poison: { when: { path: 'properties.is', equals: 'bad' }, pointer: 'prefix', detail: words },
  });
}
/** Klaviyo answers 500 to every request with such an event. */
function failOnBad(sandbox: RunningSandbox): void {
  sandbox.addFault({
    endpoint: 'bulk-events',
    status: 500,
    poison: { when: { path: 'properties.is', equals: 'bad' } },
  });
}

const scrape = (relay: RelayUnderTest): Promise<string> => relay.app.metrics.registry.metrics();
const paused = 'relay_klaviyo_paused{lane="events",reason="refusal"} 1';
const isPaused = async (relay: RelayUnderTest): Promise<boolean> =>
  (await scrape(relay)).includes(paused);
const untilPaused = (relay: RelayUnderTest): Promise<void> =>
  relay.until('the lane pauses', () => isPaused(relay));
const pass = async (relay: RelayUnderTest, ms: number): Promise<void> => {
  const until = relay.clock.monotonic() + ms;
  await relay.until('time has passed', () => relay.clock.monotonic() >= until);
};

describe.each(['memory', 'journal', 'redis'])(
  'a uniform rejection by Klaviyo with the %s store',
  (store) => {
    it('pauses the lane, is shown, loses nothing, and is followed by the delivery of all events', async () => {
      const relay = await start(store);
      rejectBad(relay.sandbox);
      await relay.post('/v1/events/batch', toEvents(400));
      await untilPaused(relay);
      await pass(relay, 120_000);
      expect((await relay.counts()).events).toMatchObject({ buffered: 400, deadLettered: 0 });
      const ready = await relay.get('/readyz');
      expect(ready.status).toBe(200);
      expect(JSON.stringify(ready.body)).toContain('refusal');
      expect(relay.sandbox.state().requests.length).toBeLessThan(50);
      expect(relay.logged.join('')).toContain('lane events paused: refusal: rejected: ');
      relay.sandbox.clearFaults();
      const clearedAt = relay.clock.monotonic();
      await relay.untilSettled();
      expect(relay.clock.monotonic() - clearedAt).toBeLessThan(61_000);
      expect((await relay.counts()).events).toMatchObject({ delivered: 400, deadLettered: 0 });
      expect(relay.sandbox.state().counters).toMatchObject({ recorded: 400, repeats: 0 });
      expect(await isPaused(relay)).toBe(false);
      expect(relay.logged.join('')).toMatch(/lane events resumed after \d+ s/);
    }, 60_000);

    it('dead-letters all events when an operator resumes the lane', async () => {
      const relay = await start(store);
      rejectBad(relay.sandbox);
      await relay.post('/v1/events/batch', toEvents(400));
      await untilPaused(relay);
      await pass(relay, 30_000);
      expect((await relay.post('/v1/lanes/events/resume', {})).status).toBeLessThan(300);
      await relay.untilSettled();
      expect((await relay.counts()).events).toMatchObject({ delivered: 0, deadLettered: 400 });
      expect(relay.logged.join('')).toMatch(/gave up on 50 envelopes: Invalid: \[email\]/);
    }, 60_000);
  },
);

describe('two relays on one Redis', () => {
  const startTwo = async (): Promise<readonly RelayUnderTest[]> => {
    const prefix = newPrefix();
    return [await start('redis', { seed: 1, prefix }), await start('redis', { seed: 2, prefix })];
  };
  /** Each relay has a clock of its own. */
  const passBoth = async (both: readonly RelayUnderTest[], seconds: number): Promise<void> => {
    for (let second = 0; second < seconds; second++)
      for (const relay of both) await pass(relay, 1000);
  };
  /** How long it takes by their clocks depends on how busy the machine of the real Redis is. */
  const passBothUntil = async (
    both: readonly RelayUnderTest[],
    recorded: number,
  ): Promise<void> => {
    for (let second = 0; second < 600 && countRecorded(both) < recorded; second++)
      for (const relay of both) await pass(relay, 1000);
  };
  const countRecorded = (both: readonly RelayUnderTest[]): number =>
    both.reduce((sum, { sandbox }) => sum + sandbox.state().events.length, 0);
  const post = async (both: readonly RelayUnderTest[], events: readonly object[]) => {
    const middle = events.length / 2;
    await both[0]!.post('/v1/events/batch', events.slice(0, middle));
    await both[1]!.post('/v1/events/batch', events.slice(middle));
  };

  it('dead-letter at most 30 events each in a uniform rejection, and deliver the others after it', async () => {
    const both = await startTwo();
    for (const { sandbox } of both) rejectBad(sandbox);
    await post(both, toEvents(400));
    await passBoth(both, 30);
    expect(await Promise.all(both.map(isPaused))).toContain(true);
    const { buffered, deadLettered } = (await both[0]!.counts()).events;
    expect(deadLettered).toBeLessThanOrEqual(2 * 30);
    expect(buffered).toBe(400 - deadLettered);
    for (const { sandbox } of both) sandbox.clearFaults();
    await passBothUntil(both, buffered);
    await passBoth(both, 5);
    expect(countRecorded(both)).toBe(buffered);
    expect((await both[0]!.counts()).events).toMatchObject({ buffered: 0, deadLettered });
  }, 60_000);

  it('deliver each event that shares a batch with records that make Klaviyo fail, once', async () => {
    const both = await startTwo();
    for (const { sandbox } of both) failOnBad(sandbox);
    const good = toEvents(394, 'good');
    const bad = toEvents(6);
    await post(
      both,
      good.flatMap((event, index) => (index % 65 === 7 ? [event, bad[(index - 7) / 65]!] : event)),
    );
    await passBothUntil(both, 394);
    await passBoth(both, 5);
    expect(countRecorded(both)).toBe(394);
    for (const { sandbox } of both) sandbox.clearFaults();
    await passBothUntil(both, 400);
    expect(countRecorded(both)).toBe(400);
    const counters = both.map(({ sandbox }) => sandbox.state().counters.repeats);
    expect(counters).toEqual([0, 0]);
  }, 60_000);
});

describe('a relay with a journal that is killed', () => {
  const postAll = async (url: string, events: readonly object[]): Promise<number> => {
    const headers = { 'content-type': 'application/json' };
    const body = JSON.stringify({ events });
    return (await fetch(`${url}/v1/events/batch`, { method: 'POST', headers, body })).status;
  };

  it(
    'in a uniform rejection delivers every event after it',
    () =>
      withRestartedRelay({}, async ({ sandbox, relay }) => {
        rejectBad(sandbox);
        expect(await postAll(await relay.url(), toEvents(3000))).toBe(202);
        for (let kill = 0; kill < 2; kill++) {
          const url = await relay.url();
          const running = await relay.process();
          while (!(await fetchText(`${url}/metrics`)).includes(paused)) await running.nextLine();
          relay.killAndStart();
        }
        await relay.url();
        sandbox.clearFaults();
        const { events } = await untilSettled(relay);
        expect(events).toMatchObject({ accepted: 3000, delivered: 3000, deadLettered: 0 });
        expect(sandbox.state().events).toHaveLength(3000);
      }),
    60_000,
  );

  it(
    'while it isolates a record that makes Klaviyo fail delivers the others, and that record later',
    () =>
      withRestartedRelay({}, async ({ sandbox, relay }) => {
        failOnBad(sandbox);
        const url = await relay.url();
        const before = sandbox.state().requests.length;
        const events = [...toEvents(700, 'good'), ...toEvents(1), ...toEvents(299, 'more')];
        expect(await postAll(url, events)).toBe(202);
        const running = await relay.process();
        while (sandbox.state().requests.length < before + 5) await running.nextLine();
        relay.killAndStart();
        await relay.url();
        const again = await relay.process();
        while (sandbox.state().events.length < 999) await again.nextLine();
        expect(sandbox.state().events).toHaveLength(999);
        sandbox.clearFaults();
        const counts = await untilSettled(relay);
        expect(counts.events).toMatchObject({ accepted: 1000, delivered: 1000, deadLettered: 0 });
      }),
    60_000,
  );
});
