import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { ack, anEvent, retry, settledAs, someEvents } from '../../support/builders.js';
import { createManualClock, type ManualClock } from '../../support/manual-clock.js';
import { startRedis, type RedisServer } from '../../support/redis-server.js';
import { append, claim } from '../contract/harness.js';
import { createFaultyConnection } from './faulty-connection.js';
import { openTestRedis, type RedisSettings, type RedisUnderTest } from './under-test.js';

let server: RedisServer;
let clock: ManualClock;
let skewMs = 0;
let prefixes = 0;
let opened: RedisUnderTest[] = [];
beforeAll(async () => {
  server = await startRedis({ settings: { appendfsync: 'no' } });
});
afterEach(async () => {
  for (const each of opened) {
    expect(each.faults).toEqual([]);
    await each.close();
  }
  opened = [];
});
afterAll(() => server.close());

const leaseMs = 10_000;
const steps = [
  ['back by ten minutes', -600_000],
  ['back by two days', -2 * 86_400_000],
  ['forward by ten minutes', 600_000],
  ['forward by two days', 2 * 86_400_000],
] as const;

async function open(count: number, settings: Partial<RedisSettings> = {}) {
  clock = createManualClock();
  skewMs = 0;
  const prefix = `{server-clock-${prefixes++}}`;
  for (let relay = 0; relay < count; relay++) {
    const own = { url: server.url, prefix, clock, leaseMs, skewMs: () => skewMs };
    opened.push(await openTestRedis({ ...own, ...settings }));
  }
  return opened;
}

/** Time passes for those that live, which look as often as they would. */
async function pass(ms: number, living: readonly RedisUnderTest[] = opened): Promise<void> {
  for (let left = ms; left > 0; left -= 500) {
    await living[0]!.clock.advance(Math.min(500, left));
    for (const each of living) await each.session.heartbeat();
  }
}

describe.each(steps)("a server's clock that is set %s", (_what, stepMs) => {
  it('lets a retry be due after the delay that it was meant to have', async () => {
    const [a] = await open(1);
    await append(a!.store, someEvents(2));
    const items = await claim(a!.store);
    await a!.store.settle({ lane: 'events', settled: settledAs(items, retry(5000)) });
    skewMs = stepMs;
    await pass(4000);
    expect(await claim(a!.store)).toEqual([]);
    await pass(1500);
    expect(await claim(a!.store)).toHaveLength(2);
  });

  it('neither hides the age of what waits nor makes it older', async () => {
    const [a] = await open(1);
    await append(a!.store, someEvents(1));
    await pass(3000);
    skewMs = stepMs;
    await pass(3000);
    for (const ageMs of [
      a!.store.depth('events').oldestAgeMs,
      a!.store.claimable('events').oldestAgeMs,
    ]) {
      expect(ageMs).toBeGreaterThan(5000);
      expect(ageMs).toBeLessThanOrEqual(6000);
    }
  });

  it('takes nothing from a relay that lives, and what a dead one held within its lease', async () => {
    const [a, b, c] = await open(3);
    await append(a!.store, someEvents(1));
    const held = await claim(a!.store);
    await append(a!.store, someEvents(1));
    await claim(b!.store);
    await pass(leaseMs);
    skewMs = stepMs;
    await b!.die();
    await pass(leaseMs - 1500, [a!, c!]);
    expect(await claim(c!.store)).toEqual([]);
    await pass(2500, [a!, c!]);
    expect(await claim(c!.store)).toHaveLength(1);
    await a!.store.settle({ lane: 'events', settled: settledAs(held, ack) });
    expect(a!.store.depth('events').count).toBe(1);
    opened = [a!, c!];
  });

  it('still finds a repeat', async () => {
    const [a, b] = await open(2, { dedupe: { maxAgeMs: 60_000, maxCount: 100 } });
    const event = anEvent({ keys: ['ea'] });
    await append(a!.store, [event]);
    await pass(1000);
    skewMs = stepMs;
    // Before any look could notice it, and after.
    expect(await append(b!.store, [event])).toMatchObject([{ duplicate: true }]);
    await pass(50_000);
    expect(await append(b!.store, [event])).toMatchObject([{ duplicate: true }]);
    await pass(12_000);
    expect(await append(b!.store, [event])).toMatchObject([{ duplicate: false }]);
  });

  it('keeps the time for a relay that comes later', async () => {
    const [a] = await open(1);
    await append(a!.store, someEvents(1));
    const items = await claim(a!.store);
    await a!.store.settle({ lane: 'events', settled: settledAs(items, retry(5000)) });
    await a!.die();
    await clock.advance(3000);
    skewMs = stepMs;
    const own = { url: server.url, clock, leaseMs, skewMs: () => skewMs };
    const b = await openTestRedis({ ...own, prefix: a!.prefix });
    opened = [b];
    await pass(5500);
    expect(await claim(b.store)).toHaveLength(1);
  });
});

it('a server that was away for longer than the lease takes nothing from relays that come back later', async () => {
  const { state, wrap } = createFaultyConnection();
  const [a, b] = await open(2, { wrap });
  await append(a!.store, someEvents(1));
  const held = await claim(a!.store);
  state.isCutOff = true;
  await pass(3 * leaseMs);
  state.isCutOff = false;
  await b!.session.heartbeat();
  await pass(leaseMs / 2, [b!]);
  expect(await claim(b!.store)).toEqual([]);
  await a!.session.heartbeat();
  await pass(2 * leaseMs);
  expect(await claim(b!.store)).toEqual([]);
  await a!.store.settle({ lane: 'events', settled: settledAs(held, ack) });
  expect(a!.store.depth('events').count).toBe(0);
});

it('a lease is renewed however many posts come', async () => {
  const [a] = await open(1);
  for (let post = 0; post < 300; post++) {
    await append(a!.store, [anEvent()]);
    await a!.clock.advance(50);
    expect(a!.session.hasLease()).toBe(true);
  }
});
