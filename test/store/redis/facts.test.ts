import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { factKinds, type Fact } from '../../../src/model/fact.js';
import { UnavailableError } from '../../../src/redis/connection.js';
import { createManualClock, type ManualClock } from '../../support/manual-clock.js';
import { startRedis, type RedisServer } from '../../support/redis-server.js';
import { atMost, factBounds } from '../contract/harness.js';
import { openTestRedis, type RedisSettings, type RedisUnderTest } from './under-test.js';

let server: RedisServer;
let clock: ManualClock;
let opened: RedisUnderTest[] = [];

const prefix = '{facts}';
const unavailable = { ok: false, backpressure: { reason: 'unavailable', retryAfterMs: 1000 } };
const fact = (key: string, value: string): Fact => ({ kind: 'order', key, value });

beforeEach(async () => {
  server = await startRedis();
  clock = createManualClock();
});
afterEach(async () => {
  for (const each of opened) {
    expect(each.faults).toEqual([]);
    await each.close();
  }
  opened = [];
  await server.close();
});

async function open(settings: Partial<RedisSettings> = {}): Promise<RedisUnderTest> {
  const under = await openTestRedis({
    url: server.url,
    prefix,
    clock,
    timeoutMs: 2000,
    leaseMs: 10_000,
    ...settings,
  });
  opened.push(under);
  return under;
}

/** The server answers again, and the relay has seen it. */
async function untilUp({ session, connection }: RedisUnderTest): Promise<void> {
  for (let tries = 0; !session.isUp; tries++) {
    if (tries === 100) throw new Error('it never came back');
    await connection.untilUp(5000);
    await session.heartbeat();
  }
}

describe('facts of relays that share a server', () => {
  it('are known to all, and the newest value of a key wins, whoever has it', async () => {
    const [a, b] = [await open(), await open()];
    await a.store.putFacts([fact('a', '1'), fact('b', '1')]);
    expect(await b.store.getFacts(['a', 'x', 'b'])).toEqual(['1', null, '1']);
    await b.store.putFacts([fact('a', '2')]);
    expect(await a.store.getFacts(['a', 'b'])).toEqual(['2', '1']);
  });

  it('have one bound, and outlive the relay that kept them', async () => {
    const [a, b] = [await open({ facts: atMost(2) }), await open({ facts: atMost(2) })];
    await a.store.putFacts([fact('a', '1'), fact('b', '1')]);
    await b.store.putFacts([fact('a', '1')]);
    await a.store.putFacts([fact('c', '1')]);
    await a.die();
    expect(await b.store.getFacts(['a', 'b', 'c'])).toEqual(['1', null, '1']);
  });

  it('are the last that was sent of those that one relay sends at once', async () => {
    const a = await open();
    const values = Array.from({ length: 50 }, (_, index) => String(index));
    await Promise.all(values.map((value) => a.store.putFacts([fact('a', value)])));
    expect(await a.store.getFacts(['a'])).toEqual(['49']);
  });

  it('go little by little where the bound was lowered', async () => {
    const a = await open();
    await a.store.putFacts(Array.from({ length: 200 }, (_, index) => fact(`n${index}`, 'x')));
    const b = await open({ facts: atMost(10) });
    await b.store.putFacts([fact('new', '1')]);
    expect(await a.store.getFacts(['n64', 'n65'])).toEqual([null, 'x']);
    for (let turn = 0; turn < 3; turn++) await b.store.putFacts([fact('new', '1')]);
    expect(await a.connection.call('HLEN', `${prefix}:facts`)).toBe(10);
    expect(await a.connection.call('ZCARD', `${prefix}:facts:order`)).toBe(10);
    const none = await open({ facts: atMost(0) });
    expect(await none.store.getFacts(['new'])).toEqual([null]);
    await none.store.putFacts([fact('new', '2')]);
    expect(await a.store.getFacts(['new'])).toEqual([null]);
    expect(await a.connection.call('EXISTS', `${prefix}:facts`, `${prefix}:facts:order`)).toBe(0);
  });

  it('lie under the prefix that keeps all names in one slot of a cluster', async () => {
    const a = await open();
    await a.store.putFacts([fact('a', '1')]);
    const names = (await a.connection.call('KEYS', '*')) as readonly Buffer[];
    expect(names.map(String)).toContain(`${prefix}:facts`);
    for (const name of names) expect(String(name)).toMatch(/^\{facts\}:/);
  });
});

describe('facts of an earlier version', () => {
  const value = { ok: true };
  /** As a relay of an earlier version would. */
  const writeMemos = async (
    { connection }: RedisUnderTest,
    keys: readonly string[],
  ): Promise<void> => {
    for (const [order, key] of keys.entries()) {
      await connection.call('HSET', `${prefix}:memos`, key, `old ${key}`);
      await connection.call('ZADD', `${prefix}:memo-orders`, order, key);
    }
  };

  it('are found, give way to what is put under their key, and go as facts about people come', async () => {
    const a = await open({ facts: atMost(4) });
    await writeMemos(a, ['a', 'b', 'c']);
    expect(await a.store.getFacts(['a', 'b', 'x'])).toEqual(['old a', 'old b', null]);
    expect(await a.store.putFacts([fact('a', '1')])).toEqual(value);
    expect(await a.store.getFacts(['a', 'b', 'c'])).toEqual(['1', 'old b', 'old c']);
    const deliveries = Array.from({ length: 10 }, (_, index) => ({
      ...fact(`d${index}`, '1'),
      kind: 'delivery' as const,
    }));
    await a.store.putFacts(deliveries);
    expect(await a.store.getFacts(['a', 'b', 'c', 'd9'])).toEqual(['1', 'old b', 'old c', '1']);
    await a.store.putFacts([fact('d', '1'), fact('e', '1')]);
    expect(await a.store.getFacts(['b', 'c', 'd'])).toEqual([null, 'old c', '1']);
  });

  it('that a relay of it writes beside this one are the newer ones', async () => {
    const a = await open();
    await a.store.putFacts([fact('a', '1'), fact('b', '1')]);
    await writeMemos(a, ['a']);
    expect(await a.store.getFacts(['a', 'b'])).toEqual(['old a', '1']);
    await a.store.putFacts([fact('a', '1')]);
    expect(await a.store.getFacts(['a', 'b'])).toEqual(['1', '1']);
    expect(await a.connection.call('EXISTS', `${prefix}:memos`, `${prefix}:memo-orders`)).toBe(0);
  });
});

describe('the age of facts at a server', () => {
  it('is by the time that relays share, and follows no step of its clock', async () => {
    let skewMs = 0;
    const bounds = factBounds({ order: 10_000 });
    const a = await open({ facts: bounds, leaseMs: 1e9, skewMs: () => skewMs });
    await a.store.putFacts([fact('a', '1')]);
    skewMs = 1e9;
    await a.session.heartbeat();
    expect(await a.store.getFacts(['a'])).toEqual(['1']);
    await clock.advance(9000);
    expect(await a.store.getFacts(['a'])).toEqual(['1']);
    await clock.advance(2100);
    expect(await a.store.getFacts(['a'])).toEqual([null]);
  });

  it('removes those that are too old a few with each call, of all kinds in turn', async () => {
    const a = await open({ facts: factBounds({ delivery: 1000 }) });
    const some = Array.from({ length: 100 }, (_, index) => fact(`d${index}`, '1'));
    await a.store.putFacts(some.map((one) => ({ ...one, kind: 'delivery' as const })));
    await clock.advance(1000);
    const turns = factKinds.length;
    for (let turn = 0; turn < turns; turn++) await a.store.putFacts([fact(`n${turn}`, '1')]);
    expect(await a.connection.call('ZCARD', `${prefix}:facts:delivery`)).toBe(36);
    for (let turn = 0; turn < turns; turn++) await a.store.putFacts([fact(`n${turn}`, '1')]);
    expect(await a.connection.call('ZCARD', `${prefix}:facts:delivery`)).toBe(0);
    expect(await a.connection.call('HLEN', `${prefix}:facts`)).toBe(turns);
  });
});

describe('facts and a server', () => {
  it('that is killed: none is taken and none recalled until it is back, and then all are there', async () => {
    const a = await open();
    await a.store.putFacts([fact('a', '1')]);
    await server.kill();
    expect(await a.store.putFacts([fact('a', '2')])).toEqual(unavailable);
    await expect(a.store.getFacts(['a'])).rejects.toThrow(UnavailableError);
    expect(await a.store.putFacts([])).toEqual({ ok: true });
    await server.start();
    await untilUp(a);
    expect(await a.store.getFacts(['a'])).toEqual(['1']);
    expect(await a.store.putFacts([fact('a', '3')])).toEqual({ ok: true });
    expect(await a.store.getFacts(['a'])).toEqual(['3']);
  });

  it('that hangs: they wait for its time limit, and the next not at all', async () => {
    const a = await open();
    server.freeze();
    expect(await a.store.putFacts([fact('a', '1')])).toEqual(unavailable);
    const refusals = Array.from({ length: 100 }, () => a.store.putFacts([fact('a', '1')]));
    expect(await Promise.all(refusals)).toEqual(Array(100).fill(unavailable));
    server.thaw();
    await untilUp(a);
    expect(await a.store.putFacts([fact('a', '2')])).toEqual({ ok: true });
  });

  it('whose memory is full: none is taken, and those there are recalled', async () => {
    const a = await open();
    await a.store.putFacts([fact('a', '1')]);
    await a.connection.call('CONFIG', 'SET', 'maxmemory', '1');
    expect(await a.store.putFacts([fact('a', '2')])).toEqual(unavailable);
    expect(a.store.backpressure()).toEqual(unavailable.backpressure);
    expect(await a.store.getFacts(['a'])).toEqual(['1']);
    await a.connection.call('CONFIG', 'SET', 'maxmemory', '0');
    await a.session.heartbeat();
    expect(await a.store.putFacts([fact('a', '3')])).toEqual({ ok: true });
  });

  it('that became a replica: none is taken', async () => {
    const a = await open();
    await a.connection.call('REPLICAOF', '127.0.0.1', '1');
    expect(await a.store.putFacts([fact('a', '1')])).toEqual(unavailable);
    expect(a.store.backpressure()).toEqual(unavailable.backpressure);
    await a.connection.untilUp(5000);
    for (let tries = 0; tries < 100 && !a.session.isUp; tries++) {
      await a.connection.untilUp(5000);
      await a.connection.call('REPLICAOF', 'NO', 'ONE').catch(() => null);
      await a.session.heartbeat();
    }
    expect(await a.store.putFacts([fact('a', '2')])).toEqual({ ok: true });
  });

  it('that lost the buffer: none is taken before it is begun anew', async () => {
    const a = await open();
    await a.store.putFacts([fact('a', '1')]);
    await a.connection.call('FLUSHALL');
    expect(await a.store.putFacts([fact('b', '1')])).toEqual(unavailable);
    await a.session.heartbeat();
    expect(await a.store.putFacts([fact('c', '1')])).toEqual({ ok: true });
    expect(await a.store.getFacts(['a', 'b', 'c'])).toEqual([null, null, '1']);
  });

  it('that may lose what it acknowledges, where that is not allowed: none is taken', async () => {
    let isDurable = false;
    const a = await open({ requiresDurable: true, isDurable: () => isDurable });
    const lossy = { ok: false, backpressure: { reason: 'lossy', retryAfterMs: 10_000 } };
    expect(await a.store.putFacts([fact('a', '1')])).toEqual(lossy);
    expect(a.store.backpressure()).toEqual(lossy.backpressure);
    isDurable = true;
    expect(await a.store.putFacts([fact('a', '1')])).toEqual({ ok: true });
  });
});
