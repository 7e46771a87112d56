import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { systemClock } from '../../../src/clock.js';
import { parseRedisUrl } from '../../../src/redis/address.js';
import { createRedisConnection } from '../../../src/redis/create-connection.js';
import type { RedisConnection } from '../../../src/redis/connection.js';
import {
  AccountGuard,
  toAccountKey,
  type AccountAnswer,
} from '../../../src/store/redis/account.js';
import { openRedis, type OpenRedisOptions } from '../../../src/store/redis/open.js';
import { ack, anEvent, settledAs, someEvents } from '../../support/builders.js';
import { createManualClock } from '../../support/manual-clock.js';
import { startRedis, type RedisServer } from '../../support/redis-server.js';
import { append, claim, wideBounds } from '../contract/harness.js';
import { openTestRedis, type RedisUnderTest } from './under-test.js';

let server: RedisServer;
let operator: RedisConnection;
const opened: RedisUnderTest[] = [];
beforeEach(async () => {
  const users = ['relay on >pw ~* &* +@all'];
  server = await startRedis({ users, settings: { appendfsync: 'no' } });
  operator = createRedisConnection({
    address: parseRedisUrl(server.url),
    clock: systemClock,
    timeoutMs: 5000,
  });
  await operator.untilUp(5000);
});
afterEach(async () => {
  for (const each of opened.splice(0)) {
    expect(each.faults).toEqual([]);
    await each.close();
  }
  await operator.close();
  await server.close();
});

const refused = { ok: false, backpressure: { reason: 'unavailable', retryAfterMs: 1000 } };

async function open(settings: Partial<Parameters<typeof openTestRedis>[0]> = {}) {
  const url = `redis://relay:pw@127.0.0.1:${server.port}/0`;
  const under = await openTestRedis({ url, leaseMs: 60_000, ...settings });
  opened.push(under);
  return under;
}
const allow = (...rules: readonly string[]) => operator.call('ACL', 'SETUSER', 'relay', ...rules);

/** Time passes, and the relay looks. */
async function pass(under: RedisUnderTest, ms: number): Promise<void> {
  await under.clock.advance(ms);
  await under.session.heartbeat();
}

describe('a server that refuses what it is asked', () => {
  it('is unavailable with its own words as the reason, and used again as soon as it allows it', async () => {
    const under = await open();
    await append(under.store, someEvents(1));
    await allow('-@scripting');
    expect(await under.store.append([anEvent()])).toEqual(refused);
    expect(under.store.outage()).toMatch(
      /NOPERM (this user|User relay) has no permissions to run the 'evalsha'/,
    );
    expect(await claim(under.store)).toEqual([]);
    await pass(under, 5000);
    expect(under.store.backpressure()).toEqual(refused.backpressure);
    await allow('+@all');
    await pass(under, 1000);
    expect(under.store.outage()).toBeNull();
    await append(under.store, someEvents(1));
    expect(await claim(under.store)).toHaveLength(2);
  });

  it('and answers looks nonetheless is not tried by every post, and is reported once', async () => {
    const under = await open();
    await allow('-xadd');
    expect(await under.store.append([anEvent()])).toEqual(refused);
    await pass(under, 500);
    expect(under.store.backpressure()).toEqual(refused.backpressure);
    for (let second = 0; second < 5; second++) {
      await pass(under, 1000);
      expect(under.store.backpressure()).toBeNull();
      expect(await under.store.append([anEvent()])).toEqual(refused);
    }
    expect(under.reported).toHaveLength(2);
    expect(under.reported[1]).toMatch(
      /can't run this command|has no permissions to run the 'xadd'/,
    );
    await allow('+xadd');
    await pass(under, 1000);
    await append(under.store, someEvents(1));
    await pass(under, 100);
    expect(under.reported.slice(2)).toEqual([null]);
  });

  it('keeps a settlement waiting until it allows it again', async () => {
    const under = await open();
    await append(under.store, someEvents(2));
    const items = await claim(under.store);
    await allow('-@scripting');
    const settling = under.store.settle({ lane: 'events', settled: settledAs(items, ack) });
    await pass(under, 2000);
    await allow('+@all');
    await pass(under, 1000);
    await pass(under, 1000);
    await settling;
    expect(under.store.depth('events').count).toBe(0);
  });
});

it('a buffer that is emptied by somebody is reported with what was lost, and never counted below zero', async () => {
  const under = await open();
  await append(under.store, someEvents(5));
  const items = await claim(under.store, { maxCount: 2 });
  await operator.call('FLUSHALL');
  await under.session.heartbeat();
  expect(under.lost).toEqual([5]);
  await under.store.settle({ lane: 'events', settled: settledAs(items, ack) });
  expect(under.store.depth('events')).toMatchObject({ count: 0, bytes: 0 });
  await append(under.store, someEvents(1));
  // A part of it alone, as an eviction takes it.
  await operator.call('DEL', `${under.prefix}:events:stats`);
  const [rest] = [await claim(under.store)];
  await under.store.settle({ lane: 'events', settled: settledAs(rest, ack) });
  expect(under.store.depth('events')).toMatchObject({ count: 0, bytes: 0 });
  expect(under.store.laneTotals('events').delivered).toBeGreaterThanOrEqual(0);
});

describe('a prefix that is used with another key', () => {
  it('is neither read nor written, by a relay that comes and by one whose server is replaced', async () => {
    const ours = await open();
    await append(ours.store, someEvents(1));
    const theirs = await open({ prefix: ours.prefix, accountKey: 'account-2' });
    expect(theirs.foreign).toHaveLength(1);
    expect(theirs.store.outage()).toContain('another Klaviyo account');
    expect(await theirs.store.append([anEvent()])).toEqual(refused);
    expect(await claim(theirs.store)).toEqual([]);
    expect(await operator.call('ZCARD', `${ours.prefix}:relays`)).toBe(1);
    await operator.call('DEL', `${ours.prefix}:account`);
    await operator.call('HSET', `${ours.prefix}:account`, 'account-2', '');
    await ours.session.heartbeat();
    expect(await ours.store.append([anEvent()])).toEqual(refused);
    expect(ours.foreign).toHaveLength(1);
  });

  it('is adopted where it was written before keys were noted', async () => {
    const before = await open();
    await append(before.store, someEvents(1));
    await operator.call('DEL', `${before.prefix}:account`);
    const after = await open({ prefix: before.prefix, accountKey: 'account-3' });
    expect(await claim(after.store)).toHaveLength(1);
    await operator.call('HSET', `${before.prefix}:account`, 'account-1', '');
  });
});

describe('a key of an account', () => {
  const apiKey = 'pk_0123456789abcdef0123456789abcdef01';
  const prefix = '{account-test}';
  const guard = (accountKey: string, answer: AccountAnswer, acceptedKey?: string) =>
    new AccountGuard({
      connection: operator,
      prefix,
      accountKey,
      acceptedKey,
      account: () => Promise.resolve(answer),
    });
  const known = () => operator.call('HGETALL', `${prefix}:account`).then(String);

  it('is stood for by what shows nothing of it, and differs by prefix', () => {
    expect(toAccountKey(apiKey, 'a')).toMatch(/^[\w-]{16}$/);
    expect(toAccountKey(apiKey, 'a')).not.toBe(toAccountKey(apiKey, 'b'));
    expect(toAccountKey(apiKey, 'a')).not.toBe(toAccountKey(`${apiKey}2`, 'a'));
  });

  it('is let in once Klaviyo says that it is of the same account', async () => {
    await operator.call('HSET', `${prefix}:account`, 'old', '');
    await guard('old', { ok: true, id: 'ACC1' }).learn();
    expect(await guard('new', { ok: true, id: 'ACC1' }).admit()).toBeNull();
    expect(await known()).toBe('old,ACC1,new,ACC1');
  });

  it('is refused where the account is another, is not told or cannot be asked, unless the operator accepts it', async () => {
    await operator.call('HSET', `${prefix}:account`, 'old', 'ACC1');
    const other = await guard('new', { ok: true, id: 'ACC2' }).admit();
    expect(other).toContain('belongs to the Klaviyo account ACC1');
    expect(other).toContain('KLAVIYO_API_KEY is of ACC2');
    expect(other).toContain('REDIS_ACCEPT_KEY=new');
    expect(await guard('new', { ok: true }).admit()).toContain('accounts:read');
    expect(await guard('new', { ok: false, reason: 'no answer: x' }).admit()).toContain(
      'no answer',
    );
    expect(await known()).toBe('old,ACC1');
    expect(await guard('new', { ok: true }, 'another').admit()).not.toBeNull();
    expect(await guard('new', { ok: true }, 'new').admit()).toBeNull();
    expect(await known()).toBe('old,ACC1,new,');
  });

  it('is asked for its account once, however many relays start, and again only where Klaviyo gave no answer', async () => {
    let asked = 0;
    const counting = (answer: AccountAnswer) =>
      new AccountGuard({
        connection: operator,
        prefix,
        accountKey: 'old',
        acceptedKey: undefined,
        account: () => {
          asked++;
          return Promise.resolve(answer);
        },
      });
    await operator.call('HSET', `${prefix}:account`, 'old', '');
    const failing = { ok: false, reason: 'no answer: x' } as const;
    await Promise.all([counting(failing).learn(), counting(failing).learn()]);
    expect(asked).toBe(1);
    await operator.call('DEL', `${prefix}:account-asked`);
    await counting({ ok: true }).learn();
    await operator.call('DEL', `${prefix}:account-asked`);
    await counting({ ok: true }).learn();
    expect(asked).toBe(2);
    expect(await known()).toBe('old,-');
  });
});

describe('a start', () => {
  const start = (over: Partial<OpenRedisOptions>) =>
    openRedis({
      ...wideBounds,
      address: parseRedisUrl(server.url),
      keyPrefix: 'start',
      apiKey: 'pk_first',
      acceptedKey: undefined,
      account: () => Promise.resolve({ ok: true }),
      clock: createManualClock(),
      random: () => 0.5,
      timeoutMs: 5000,
      leaseMs: 60_000,
      stated: 'auto',
      waitReplicas: 0,
      requiresDurable: false,
      time: undefined,
      onServer: () => undefined,
      onDurability: () => undefined,
      onSynced: () => undefined,
      onTakenOver: () => undefined,
      onLate: () => undefined,
      onLeaseLost: () => undefined,
      onBufferLost: () => undefined,
      onDeadLetterDropped: () => undefined,
      onFatal: (error) => {
        throw error;
      },
      ...over,
    });

  it('fails at once where the server does not have the database', async () => {
    const address = parseRedisUrl(`redis://127.0.0.1:${server.port}/20`);
    await expect(start({ address, timeoutMs: 60_000 })).rejects.toThrow(
      'REDIS_URL: the server does not have database 20 of REDIS_URL',
    );
    expect(await operator.call('DBSIZE')).toBe(0);
  });

  it("fails where the prefix is another account's, and not where the operator accepts the key", async () => {
    await (await start({})).close();
    await expect(start({ apiKey: 'pk_second' })).rejects.toThrow(
      /^KLAVIYO_API_KEY: what lies under REDIS_KEY_PREFIX belongs to another key/,
    );
    const acceptedKey = toAccountKey('pk_second', 'start');
    const accepted = await start({ apiKey: 'pk_second', acceptedKey });
    expect(accepted.backpressure()).toBeNull();
    await accepted.close();
    const first = await start({});
    expect(first.backpressure()).toBeNull();
    await first.close();
  });
});
