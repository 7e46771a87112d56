import { afterEach, describe, expect, it } from 'vitest';
import { isConserved, startRelay, type RelayUnderTest } from '../support/relay.js';
import { settlePromises } from '../support/manual-clock.js';

let relay: RelayUnderTest;
afterEach(() => relay.stop());

const minuteMs = 60_000;
const tenMinutesMs = 10 * minuteMs;
const hourMs = 60 * minuteMs;

const anEvent = (number: number): object => ({
  event_name: 'Viewed Product',
  distinct_id: `c-${number % 500}`,
  insert_id: `i-${number}`,
  properties: { number },
});

/** Advances ten minutes in steps of seconds; sockets and disk run between them. */
async function passTenMinutes(): Promise<void> {
  for (let step = 0; step < 40; step++) {
    await settlePromises(4);
    await relay.clock.advance(tenMinutesMs / 40);
  }
}

/** Numbers of the recorded events in the order of their arrival. */
const recorded = (): readonly number[] =>
  relay.sandbox.state().events.map(({ properties }) => Number(properties.number));

describe('an outage of Klaviyo for a day', () => {
  it('does not block intake, and afterwards the oldest events are sent first at the permitted rate', async () => {
    relay = await startRelay({
      env: {
        STORE: 'journal',
        EVENT_BATCH_MAX_COUNT: '100',
        // Far less than the events of a day need, so most of them are only on disk.
        WORKING_SET_MAX_BYTES: '4000000',
      },
      sandbox: { maxEvents: 100_000 },
    });
    relay.sandbox.addFault({ endpoint: 'any', status: 503 });
    const perRound = 200;
    let posted = 0;
    for (let round = 0; round < 24 * 6; round++) {
      const events = Array.from({ length: perRound }, () => anEvent(posted++));
      const response = await relay.post('/v1/events/batch', events);
      expect(response.body).toMatchObject({ accepted: perRound, duplicates: 0 });
      await passTenMinutes();
      if (round % 36 === 0) {
        expect((await relay.get('/readyz')).status).toBe(200);
        expect((await relay.counts()).events).toSatisfy(isConserved);
      }
    }
    expect((await relay.counts()).events).toMatchObject({ accepted: posted, buffered: posted });
    expect(recorded()).toEqual([]);

    relay.sandbox.clearFaults();
    const backAt = relay.clock.monotonic();
    await relay.untilSettled();
    const minutes = (relay.clock.monotonic() - backAt) / minuteMs;
    expect((await relay.counts()).events).toMatchObject({ delivered: posted, buffered: 0 });

    const order = recorded();
    expect(new Set(order).size).toBe(posted);
    // The events of the last probes wait for the rest of their backoff, one minute at most.
    const late = order.filter((number, place) => place - number > 2000);
    expect(late.length).toBeLessThanOrEqual(10);
    const rest = order.filter((number) => !late.includes(number));
    expect(rest.filter((number, place) => Math.abs(number - place) > 2000)).toEqual([]);
    // 288 full requests at 150 a minute take two minutes; the first requests are small.
    expect(minutes).toBeLessThan(6);
    const { violations, counters } = relay.sandbox.state();
    expect(violations).toEqual([]);
    expect(counters).toMatchObject({ silentlyDropped: 0 });
  }, 180_000);
});

describe('a wall clock that jumps', () => {
  it.each([
    ['back an hour', -hourMs],
    ['forward a day', 24 * hourMs],
  ])('%s causes no lost, stuck or early retry', async (_name, jumpMs) => {
    relay = await startRelay({ env: { STORE: 'journal', EVENT_FLUSH_INTERVAL_MS: '0' } });
    relay.sandbox.addFault({ endpoint: 'bulk-events', status: 429, retryAfter: 30, times: 1 });
    await relay.post('/v1/events', anEvent(1));
    const requests = () => relay.sandbox.state().requests.length;
    await relay.until('the first request was throttled', () => requests() === 1);
    await settlePromises(50);
    const throttledAt = relay.clock.monotonic();
    relay.clock.jump(jumpMs);
    await relay.post('/v1/events', anEvent(2));
    await relay.until('half a minute is nearly over', () => {
      expect(requests()).toBe(1);
      return relay.clock.monotonic() - throttledAt >= 29_500;
    });
    await relay.untilSettled();
    expect(relay.clock.monotonic() - throttledAt).toBeLessThan(35_000);
    expect([...recorded()].sort()).toEqual([1, 2]);
    expect((await relay.counts()).events).toMatchObject({ delivered: 2, deadLettered: 0 });
  });
});
