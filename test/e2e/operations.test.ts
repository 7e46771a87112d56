import { afterEach, describe, expect, it } from 'vitest';
import { startRelay, type RelayUnderTest } from '../support/relay.js';

let relay: RelayUnderTest;
afterEach(() => relay.stop());

const order = {
  event_name: 'Placed Order',
  email: 'sam@klaviyo-demo.com',
  insert_id: 'order-1',
  value: 29.98,
  currency: 'USD',
  order_id: 1001,
};

describe('an event', () => {
  it('is recorded by Klaviyo as posted, and its receipt links to its delivery', async () => {
    relay = await startRelay();
    const { body } = await relay.post('/v1/events', {
      ...order,
      properties: { Items: ['Linen shirt'] },
    });
    expect(body).toEqual({ id: expect.stringMatching(/^ev_/) as string, status: 'accepted' });
    const id = String(body.id);
    expect((await relay.get(`/v1/receipts/${id}`)).body).toMatchObject({ id, state: 'buffered' });
    await relay.untilSettled();
    const receipt = (await relay.get(`/v1/receipts/${id}`)).body;
    expect(receipt).toMatchObject({ id, state: 'delivered' });
    const delivery = (await relay.get(`/v1/deliveries/${String(receipt.delivery_id)}`)).body;
    expect(delivery).toMatchObject({
      lane: 'events',
      status: 202,
      count: 1,
      delivered: 1,
      trigger: 'time',
      attempt: 1,
    });
    const [event] = relay.sandbox.state().events;
    expect(event).toMatchObject({ uniqueId: 'order-1', value: 29.98, valueCurrency: 'USD' });
    expect(event?.properties).toEqual({
      Items: ['Linen shirt'],
      $value: 29.98,
      currency: 'USD',
      order_id: 1001,
    });
  });

  it('that is posted twice is answered as duplicate with the first id and recorded once', async () => {
    relay = await startRelay();
    const first = await relay.post('/v1/events', order);
    await relay.untilSettled();
    const second = await relay.post('/v1/events', order);
    expect(second.body).toEqual({ id: first.body.id, status: 'duplicate' });
    expect(relay.sandbox.state().counters.recorded).toBe(1);
  });

  it('keeps its time and unique_id in every retry', async () => {
    relay = await startRelay({
      sandbox: { faults: [{ endpoint: 'bulk-events', times: 3, reset: 'after' }] },
    });
    const at = new Date(relay.clock.now()).toISOString();
    await relay.post('/v1/events', { event_name: 'Viewed Product', distinct_id: 'c1' });
    await relay.untilSettled();
    const { events, counters } = relay.sandbox.state();
    expect(events).toHaveLength(1);
    expect(events[0]?.time).toBe(at);
    expect(counters.repeats).toBeGreaterThan(0);
  });
});

describe('a running relay', () => {
  it('sends buffered events at once after POST /v1/flush', async () => {
    relay = await startRelay({ env: { EVENT_FLUSH_INTERVAL_MS: '3600000' } });
    await relay.post('/v1/events', order);
    await relay.clock.advance(10_000);
    expect(relay.sandbox.state().events).toHaveLength(0);
    expect((await relay.post('/v1/flush', {})).status).toBe(202);
    await relay.until('it is recorded', () => relay.sandbox.state().events.length === 1);
    await relay.untilSettled();
    const [delivery] = (await relay.get('/v1/deliveries')).body.data as Record<string, unknown>[];
    expect(delivery).toMatchObject({ trigger: 'drain' });
  });

  it('shows the reason of a dead letter, sends it again on redrive, and keeps accepted = settled + buffered', async () => {
    const detail = 'Phone number is valid but is not in a supported region for this account.';
    relay = await startRelay({
      sandbox: {
        faults: [
          {
            endpoint: 'bulk-events',
            poison: { when: { path: '/properties/bad', equals: true }, detail },
          },
        ],
      },
    });
    const { body } = await relay.post('/v1/events', { ...order, properties: { bad: true } });
    const id = String(body.id);
    await relay.untilSettled();
    expect((await relay.get(`/v1/receipts/${id}`)).body).toMatchObject({
      state: 'dead_lettered',
      reason: { detail },
    });
    expect((await relay.get(`/v1/dead-letters/${id}`)).body).toMatchObject({
      id,
      reason: { detail, status: 400 },
    });
    const filter = { lane: 'events' };
    expect(
      (await relay.post('/v1/dead-letters/redrive', { filter, dry_run: true })).body,
    ).toMatchObject({ matched: 1 });
    relay.sandbox.clearFaults();
    expect((await relay.post('/v1/dead-letters/redrive', { filter })).body).toMatchObject({
      matched: 1,
    });
    await relay.untilSettled();
    expect((await relay.get(`/v1/receipts/${id}`)).body).toMatchObject({ state: 'delivered' });
    expect(relay.sandbox.state().events.map(({ uniqueId }) => uniqueId)).toEqual(['order-1']);
    expect((await relay.counts()).events).toEqual({
      accepted: 2,
      delivered: 1,
      merged: 0,
      deadLettered: 1,
      erased: 0,
      buffered: 0,
    });
  });

  it('accepts the corrected event of a dead letter under the same id', async () => {
    relay = await startRelay({
      sandbox: {
        faults: [
          { endpoint: 'bulk-events', poison: { when: { path: '/properties/bad', equals: true } } },
        ],
      },
    });
    await relay.post('/v1/events', { ...order, properties: { bad: true } });
    await relay.untilSettled();
    expect((await relay.post('/v1/events', order)).body).toMatchObject({ status: 'accepted' });
    await relay.untilSettled();
    expect(relay.sandbox.state().counters.recorded).toBe(1);
  });

  it('answers 503 with Retry-After and is not ready while its buffer is full, and recovers once it has drained', async () => {
    relay = await startRelay({
      env: { MAX_BUFFER_COUNT: '10' },
      sandbox: { faults: [{ endpoint: 'bulk-events', status: 503 }] },
    });
    const post = (id: number) =>
      relay.post('/v1/events', { event_name: 'e', distinct_id: `c${id}` });
    for (let id = 0; id < 10; id++) expect((await post(id)).status).toBe(202);
    const rejected = await post(10);
    expect(rejected.status).toBe(503);
    expect(Number(rejected.headers.get('retry-after'))).toBeGreaterThanOrEqual(1);
    expect((await relay.get('/readyz')).status).toBe(503);
    relay.sandbox.clearFaults();
    await relay.untilSettled();
    expect((await relay.get('/readyz')).status).toBe(200);
    expect((await post(10)).status).toBe(202);
    await relay.untilSettled();
    expect(relay.sandbox.state().counters.recorded).toBe(11);
  });

  it('logs one line per delivery, without secrets or personal data', async () => {
    relay = await startRelay();
    await relay.post('/v1/events', { ...order, phone_number: '+16175551212' });
    await relay.post('/v1/profiles', { email: 'sam@klaviyo-demo.com', first_name: 'Samantha' });
    await relay.untilSettled();
    const deliveries = relay.logged.filter((line) => line.includes('"delivery":"dl_'));
    expect(deliveries.length).toBeGreaterThanOrEqual(2);
    const everything = relay.logged.join('');
    for (const secret of ['pk_test_key_1', 'sam@', '6175551212', 'Samantha', 'order-1']) {
      expect(everything).not.toContain(secret);
    }
  });

  it('delivers what is buffered before it stops', async () => {
    relay = await startRelay({
      env: { EVENT_FLUSH_INTERVAL_MS: '3600000', PROFILE_FLUSH_INTERVAL_MS: '3600000' },
    });
    await relay.post('/v1/events', order);
    await relay.post('/v1/profiles', { email: 'sam@klaviyo-demo.com' });
    const stopped = relay.app.stop();
    let ended = false;
    void stopped.then(() => (ended = true));
    await relay.until('it has stopped', () => ended);
    expect(relay.sandbox.state().counters).toMatchObject({ recorded: 1, imported: 1 });
    expect(relay.logged.join('')).not.toContain('"lost"');
  });
});
