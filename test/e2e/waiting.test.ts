import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { startRedis, type RedisServer } from '../support/redis-server.js';
import { startRelay, type RelayUnderTest } from '../support/relay.js';
import { stripeSecret, toStripeHeaders } from '../support/stripe-delivery.js';
import { aCharge, anIntent, aStripeEvent } from '../support/stripe-payloads.js';

/** A payment of a guest: only the charge identifies the person, and only the payment intent counts as revenue. */
const intent = aStripeEvent('payment_intent.succeeded', anIntent({ customer: null }));
const charge = aStripeEvent('charge.succeeded', aCharge({ customer: null }));
const paid = { metric: 'Successfully Paid', who: 'ada@klaviyo-demo.com' };

let redis: RedisServer;
let directory: string;
let relays: RelayUnderTest[] = [];
let prefixes = 0;

beforeAll(async () => {
  redis = await startRedis();
});
afterAll(() => redis.close());
afterEach(async () => {
  for (const each of relays) await each.stop();
  relays = [];
  if (directory) rmSync(directory, { recursive: true, force: true });
});

/** Starts relays on one store, one after the other or at the same time. */
function createStarts(store: string) {
  directory = mkdtempSync(join(tmpdir(), 'relay-waiting-'));
  const env = {
    STORE: store,
    DATA_DIR: directory,
    REDIS_URL: redis.url,
    REDIS_KEY_PREFIX: `waiting-${++prefixes}`,
    STRIPE_WEBHOOK_SECRETS: stripeSecret,
    STRIPE_REVENUE_SOURCE: 'payment_intent',
  };
  return async (more: Record<string, string> = {}): Promise<RelayUnderTest> => {
    const relay = await startRelay({ env: { ...env, ...more } });
    relays.push(relay);
    return relay;
  };
}

async function deliver(relay: RelayUnderTest, event: object): Promise<Record<string, unknown>> {
  const body = JSON.stringify(event);
  const headers = toStripeHeaders(body, relay.clock.now());
  const response = await relay.post('/webhooks/stripe', body, headers);
  expect(response.status).toBe(200);
  return response.body;
}

const recorded = (relay: RelayUnderTest) =>
  relay.sandbox.state().events.map(({ metric, who }) => ({ metric, who }));

/** The counts of the waiting lane from a Prometheus scrape. */
async function readWaiting(relay: RelayUnderTest): Promise<readonly number[]> {
  const text = await relay.app.metrics.registry.metrics();
  const names = [
    'relay_ingest_total{lane="waiting",outcome="accepted"}',
    'relay_settled_total{lane="waiting",outcome="resolved"}',
    'relay_buffer_envelopes{lane="waiting"}',
  ];
  return names.map((name) => {
    const line = text.split('\n').find((each) => each.startsWith(name));
    return Number(line?.slice(name.length));
  });
}

/** Advances in small steps, so that the heartbeat to Redis is not late. */
async function pass(relay: RelayUnderTest, ms: number): Promise<void> {
  const endsAt = relay.clock.monotonic() + ms;
  await relay.until('time has passed', () => relay.clock.monotonic() >= endsAt);
}

const isSent = (relay: RelayUnderTest) => (): boolean => recorded(relay).length > 0;

describe.each(['memory', 'journal', 'redis'])(
  'with the %s store, a payment that precedes its charge',
  (store) => {
    it('waits, is shown as waiting, and is recorded once the charge identifies the person', async () => {
      const relay = await createStarts(store)();
      expect(await deliver(relay, intent)).toMatchObject({ accepted: 0, waiting: 1 });
      await pass(relay, 5000);
      expect(await readWaiting(relay)).toEqual([1, 0, 1]);
      expect((await relay.get('/v1/dead-letters')).body.data).toEqual([]);
      expect((await relay.get('/readyz')).status).toBe(200);
      const age = /relay_buffer_oldest_age_seconds\{lane="waiting"\} (\S+)/;
      const text = await relay.app.metrics.registry.metrics();
      expect(Number(age.exec(text)?.[1])).toBeGreaterThanOrEqual(5);
      await deliver(relay, charge);
      await relay.until('it is recorded', isSent(relay));
      expect(recorded(relay)).toEqual([paid]);
      await relay.until('it waits no more', async () => (await readWaiting(relay))[2] === 0);
      expect(await readWaiting(relay)).toEqual([1, 1, 0]);
      await relay.untilSettled();
      const { events } = await relay.counts();
      expect(events).toMatchObject({ accepted: 1, delivered: 1, buffered: 0 });
      expect(relay.logged.filter((line) => /"level":(50|60)/.test(line))).toEqual([]);
    });

    it('does not wait if the charge came first', async () => {
      const relay = await createStarts(store)();
      await deliver(relay, charge);
      expect(await deliver(relay, intent)).toMatchObject({ accepted: 1, waiting: 0 });
      await relay.until('it is recorded', isSent(relay));
      expect(recorded(relay)).toEqual([paid]);
    });

    it('becomes a dead letter after WAITING_MAX_AGE, which a redrive sends once the charge has arrived', async () => {
      const relay = await createStarts(store)({ WAITING_MAX_AGE: '60s' });
      await deliver(relay, intent);
      await pass(relay, 55_000);
      expect((await relay.get('/v1/dead-letters')).body.data).toEqual([]);
      const deadLetters = async () => (await relay.get('/v1/dead-letters')).body.data as unknown[];
      await relay.until('it is given up', async () => (await deadLetters()).length > 0);
      expect(await deadLetters()).toMatchObject([
        { lane: 'events', reason: { code: 'unknown_person' }, attempts: 0 },
      ]);
      await relay.until('it waits no more', async () => (await readWaiting(relay))[2] === 0);
      expect(await readWaiting(relay)).toEqual([1, 1, 0]);
      await deliver(relay, charge);
      const redriven = await relay.post('/v1/dead-letters/redrive', { filter: {} });
      expect(redriven.body).toMatchObject({ redriven: 1 });
      await relay.until('it is recorded', isSent(relay));
      expect(recorded(relay)).toEqual([paid]);
    });
  },
);

describe.each(['journal', 'redis'])('with the %s store, a waiting payment', (store) => {
  it('and its counts survive a restart, and it is recorded once', async () => {
    const start = createStarts(store);
    const before = await start();
    await deliver(before, intent);
    await before.stop();
    relays = [];
    const relay = await start();
    await relay.until('it is shown', async () => (await readWaiting(relay))[2] === 1);
    if (store === 'journal') expect(await readWaiting(relay)).toEqual([1, 0, 1]);
    await deliver(relay, charge);
    await relay.until('it is recorded', isSent(relay));
    expect(recorded(relay)).toEqual([paid]);
    await relay.until('it waits no more', async () => (await readWaiting(relay))[2] === 0);
  });
});

it('a payment that waits in one of two relays on Redis is sent once the other relay receives its charge', async () => {
  const start = createStarts('redis');
  const [one, two] = [await start(), await start()];
  await deliver(one, intent);
  await deliver(two, charge);
  const isRecorded = (): boolean => isSent(one)() || isSent(two)();
  for (let steps = 0; steps < 400 && !isRecorded(); steps++) {
    for (const relay of [one, two]) await relay.clock.advance(100);
    await new Promise((resolve) => setImmediate(resolve));
  }
  await one.until('it is recorded', isRecorded);
  expect([...recorded(one), ...recorded(two)]).toEqual([paid]);
});

it('the receipt of a waiting payment says that it is buffered', async () => {
  const start = createStarts('journal');
  const relay = await start();
  await deliver(relay, intent);
  await relay.clock.advance(1000);
  // The ids of all lanes have the same epoch.
  const other = await relay.post('/v1/events', {
    event_name: 'Any',
    email: 'bob@klaviyo-demo.com',
  });
  const id = `wa_${String(other.body.id).split('_')[1]}_1`;
  const receipt = await relay.get(`/v1/receipts/${id}`);
  expect(receipt.body).toMatchObject({ id, lane: 'waiting', state: 'buffered' });
});
