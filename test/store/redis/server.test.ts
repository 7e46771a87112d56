import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { createBatcher } from '../../../src/delivery/batcher.js';
import { ack, aDelivery, anEvent, settledAs, someEvents } from '../../support/builders.js';
import { createManualClock } from '../../support/manual-clock.js';
import { startRedis, type RedisServer } from '../../support/redis-server.js';
import { append, appendIds, claim, toClaimed } from '../contract/harness.js';
import { openTestRedis, type RedisUnderTest } from './under-test.js';

let server: RedisServer;
let under: RedisUnderTest;

const timeoutMs = 2000;
const unavailable = { reason: 'unavailable', retryAfterMs: 1000 };
const refused = { ok: false, backpressure: unavailable };

beforeEach(async () => {
  server = await startRedis();
  under = await openTestRedis({ url: server.url, timeoutMs, leaseMs: 10_000 });
});
afterEach(async () => {
  expect(under.faults).toEqual([]);
  await under.close();
  expect(under.clock.pending()).toBe(0);
  await server.close();
});

/** The server answers again, and the relay has seen it. */
async function untilUp(): Promise<void> {
  for (let tries = 0; !under.session.isUp; tries++) {
    if (tries === 100) throw new Error('it never came back');
    await under.connection.untilUp(5000);
    await under.session.heartbeat();
  }
}

/** Posts that come while the server is away get their no at once, and nothing is kept of them. */
async function expectRefusedAtOnce(): Promise<void> {
  expect(under.store.backpressure()).toEqual(unavailable);
  const refusals = Array.from({ length: 1000 }, () => under.store.append([anEvent()]));
  expect(new Set((await Promise.all(refusals)).map((each) => JSON.stringify(each)))).toEqual(
    new Set([JSON.stringify(refused)]),
  );
  expect(await claim(under.store)).toEqual([]);
  expect(under.store.claimable('events')).toMatchObject({ count: 0, bytes: 0 });
}

describe('a server that is killed and started again', () => {
  it('is waited for by what was delivered, and by nobody who posts', async () => {
    const ids = await appendIds(under.store, someEvents(3));
    const [first] = await claim(under.store, { maxCount: 1 });
    await server.kill();
    await under.store.append([anEvent()]);
    await expectRefusedAtOnce();
    const settling = under.store.settle({
      lane: 'events',
      settled: settledAs([first!], ack),
      delivery: aDelivery({ id: 'dl_1' }),
    });
    await server.start();
    await untilUp();
    await under.clock.advance(1000);
    await settling;
    expect(under.store.backpressure()).toBeNull();
    expect(under.store.depth('events').count).toBe(2);
    expect(await under.store.receipt(ids[0]!)).toMatchObject({
      state: 'delivered',
      deliveryId: 'dl_1',
    });
    expect(toClaimed(await claim(under.store)).flat()).toEqual(['n1', 'n2']);
  });

  it('wakes a lane that was waiting meanwhile, although nothing new was accepted', async () => {
    const { store, clock } = under;
    await append(store, someEvents(1));
    await server.kill();
    await under.store.append([anEvent()]);
    const bounds = { maxCount: 1, maxBytes: 1000, maxAgeMs: 1000 };
    const batcher = createBatcher({ lane: 'events', bounds, clock, store });
    const stop = new AbortController();
    const due = batcher.due(stop.signal);
    await server.start();
    await untilUp();
    stop.abort();
    expect(await due).toBe('size');
    batcher.close();
  });

  it('ends the wait of what was delivered where the relay closes', async () => {
    await append(under.store, someEvents(1));
    const items = await claim(under.store);
    await server.kill();
    const settling = under.store
      .settle({ lane: 'events', settled: settledAs(items, ack) })
      .catch((error: unknown) => String(error));
    await under.store.close();
    expect(await settling).toContain('Redis is not available');
  });
});

it('a server that hangs holds up a post for its time limit, and the next ones not at all', async () => {
  await append(under.store, someEvents(1));
  server.freeze();
  expect(await under.store.append([anEvent()])).toEqual(refused);
  await expectRefusedAtOnce();
  server.thaw();
  await untilUp();
  await append(under.store, someEvents(1));
});

it('a server whose memory is full takes no posts, settles what is held, and is used again by itself', async () => {
  await append(under.store, someEvents(2));
  const items = await claim(under.store);
  await under.connection.call('CONFIG', 'SET', 'maxmemory', '1');
  expect(await under.store.append([anEvent()])).toEqual(refused);
  await under.session.heartbeat();
  expect(under.store.backpressure()).toEqual(unavailable);
  await under.store.settle({
    lane: 'events',
    settled: settledAs(items, ack),
    delivery: aDelivery(),
  });
  expect(under.store.depth('events').count).toBe(0);
  await under.connection.call('CONFIG', 'SET', 'maxmemory', '0');
  await under.session.heartbeat();
  expect(under.store.backpressure()).toBeNull();
  await append(under.store, someEvents(1));
});

it('a heartbeat that is late is reported once, and what is left of the lease is shown', async () => {
  const clock = createManualClock();
  const late = await openTestRedis({ url: server.url, timeoutMs, leaseMs: 10_000, clock });
  expect(late.store.leaseLeftMs()).toBe(10_000);
  server.freeze();
  expect(await late.store.append([anEvent()])).toEqual(refused);
  await clock.advance(4900);
  expect(late.late).toEqual([]);
  await clock.advance(200);
  await clock.advance(1000);
  expect(late.late).toEqual([5000]);
  expect(late.store.leaseLeftMs()).toBe(3900);
  await clock.advance(10_000);
  expect(late.store.leaseLeftMs()).toBe(0);
  server.thaw();
  await late.connection.untilUp(5000);
  await late.session.heartbeat();
  expect(late.store.leaseLeftMs()).toBe(10_000);
  await late.close();
});

describe('a server whose memory is full', () => {
  const memory = async (name: string): Promise<number> => {
    const info = String(await under.connection.call('INFO', 'memory'));
    return Number(new RegExp(`^${name}:(\\d+)`, 'm').exec(info)?.[1]);
  };
  const limitTo = (bytes: number) =>
    under.connection.call('CONFIG', 'SET', 'maxmemory', Math.floor(bytes));

  it('still gives out what it holds, which makes room', async () => {
    await append(under.store, someEvents(2));
    await limitTo(1);
    await under.session.heartbeat();
    expect(under.store.backpressure()).toEqual(unavailable);
    expect(under.store.outage()).toContain('OOM');
    expect(under.store.claimable('events').count).toBe(2);
    expect(await claim(under.store)).toHaveLength(2);
  });

  it('is used again when some of it is free, and not at its bound', async () => {
    await limitTo(1);
    expect(await under.store.append([anEvent()])).toEqual(refused);
    const used = await memory('used_memory');
    await limitTo(used * 1.05);
    await under.session.heartbeat();
    expect(under.store.backpressure()).toEqual(unavailable);
    await limitTo(used * 1.3);
    await under.session.heartbeat();
    expect(under.store.backpressure()).toBeNull();
    expect(under.reported.slice(1)).toEqual([expect.stringContaining('OOM'), null]);
  });

  it('is used again 10 s after its last backpressure, however full others keep it', async () => {
    await limitTo(1);
    expect(await under.store.append([anEvent()])).toEqual(refused);
    await limitTo((await memory('used_memory')) * 1.05);
    await under.clock.advance(9000);
    await under.session.heartbeat();
    expect(under.store.backpressure()).toEqual(unavailable);
    await under.clock.advance(1000);
    await under.session.heartbeat();
    expect(under.store.backpressure()).toBeNull();
  });
});

it('a server that became a replica takes no posts, until it is a primary again', async () => {
  await append(under.store, someEvents(2));
  await under.connection.call('REPLICAOF', '127.0.0.1', '1');
  expect(await under.store.append([anEvent()])).toEqual(refused);
  expect(under.store.backpressure()).toEqual(unavailable);
  await under.connection.untilUp(5000);
  await under.connection.call('REPLICAOF', 'NO', 'ONE').catch(() => null);
  for (let tries = 0; tries < 100 && !under.session.isUp; tries++) {
    await under.connection.untilUp(5000);
    await under.connection.call('REPLICAOF', 'NO', 'ONE').catch(() => null);
    await under.session.heartbeat();
  }
  expect(under.store.backpressure()).toBeNull();
  expect(await claim(under.store)).toHaveLength(2);
});

describe('a buffer that was lost at the server', () => {
  it('is begun anew under other ids, and what was in flight settles nothing of it', async () => {
    const [old] = await appendIds(under.store, someEvents(1));
    const items = await claim(under.store);
    await under.connection.call('FLUSHALL');
    expect(await under.store.append([anEvent()])).toEqual(refused);
    await under.session.heartbeat();
    const [fresh] = await appendIds(under.store, [anEvent({ text: 'fresh' })]);
    expect(fresh).not.toBe(old);
    expect(await under.store.receipt(old!)).toBeNull();
    const again = await claim(under.store);
    await under.store.settle({ lane: 'events', settled: settledAs(items, ack) });
    expect(under.store.depth('events').count).toBe(1);
    await under.store.settle({ lane: 'events', settled: settledAs(again, ack) });
    expect(under.store.depth('events').count).toBe(0);
  });
});

it('a consumer group on its stream, and the end of one, change nothing', async () => {
  await append(under.store, someEvents(2));
  const queue = `${under.prefix}:events:queue`;
  await under.connection.call('XGROUP', 'CREATE', queue, 'strangers', '0');
  await under.connection.call('XREADGROUP', 'GROUP', 'strangers', 'one', 'STREAMS', queue, '>');
  await under.connection.call('XGROUP', 'DESTROY', queue, 'strangers');
  expect(await claim(under.store)).toHaveLength(2);
});

it('scripts that the server forgot are sent again', async () => {
  await append(under.store, someEvents(1));
  await under.connection.call('SCRIPT', 'FLUSH');
  await append(under.store, someEvents(1));
  expect(await claim(under.store)).toHaveLength(2);
});

it('a buffer that a newer relay wrote is not touched', async () => {
  await under.connection.call('HSET', `${under.prefix}:meta`, 'version', '2');
  const other = await openTestRedis({ url: server.url, prefix: under.prefix });
  expect(String(other.faults)).toContain('the buffer was written by a newer relay, in format 2');
  await other.die();
  await under.connection.call('HSET', `${under.prefix}:meta`, 'version', '1');
});
