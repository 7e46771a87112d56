import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { systemClock } from '../../src/clock.js';
import { parseRedisUrl } from '../../src/redis/address.js';
import { createRedisConnection } from '../../src/redis/create-connection.js';
import { toScript, UnavailableError, type RedisConnection } from '../../src/redis/connection.js';
import { startRedis, type RedisServer } from '../support/redis-server.js';

let server: RedisServer;
let connection: RedisConnection;
const connections: RedisConnection[] = [];

beforeAll(async () => {
  server = await startRedis();
});
afterEach(async () => {
  for (const each of connections.splice(0)) await each.close();
});
afterAll(() => server.close());

async function connect(timeoutMs = 2000): Promise<RedisConnection> {
  connection = createRedisConnection({
    address: parseRedisUrl(server.url),
    clock: systemClock,
    timeoutMs,
  });
  connections.push(connection);
  expect(await connection.untilUp(5000)).toBe(true);
  return connection;
}

const echo = toScript('echo', [], 'return {KEYS[1], ARGV[1], #ARGV, false}');
const wrong = toScript('wrong', [], "return redis.error_reply('RELAY_WRONG this')");
const failure = (work: Promise<unknown>): Promise<unknown> => work.catch((error: unknown) => error);

async function retryWhileUnavailable<T>(work: () => Promise<T>): Promise<T> {
  for (let tries = 0; tries < 100; tries++) {
    await connection.untilUp(5000);
    const result = await work().catch((error: unknown) => {
      if (!(error instanceof UnavailableError)) throw error;
      return null;
    });
    if (result !== null) return result;
  }
  throw new Error('the server stayed unavailable');
}

describe('a connection to Redis', () => {
  it('runs scripts, cached on the server or not, and passes bytes unchanged', async () => {
    await connect();
    const bytes = Buffer.from([0, 255, 10, 13]);
    expect(await connection.run(echo, 'k', [bytes, 5])).toEqual([Buffer.from('k'), bytes, 2, null]);
    await connection.call('SCRIPT', 'FLUSH');
    expect(await connection.run(echo, 'k', ['é'])).toEqual([
      Buffer.from('k'),
      Buffer.from('é'),
      1,
      null,
    ]);
  });

  it('reports an error of a script as another error than UnavailableError', async () => {
    await connect();
    const error = await failure(connection.run(wrong, 'k', []));
    expect(error).not.toBeInstanceOf(UnavailableError);
    expect(String(error)).toContain('RELAY_WRONG this');
  });

  it('rejects commands at once while the server is down, and reconnects by itself', async () => {
    await connect();
    const changes: boolean[] = [];
    const down = new Promise<void>((resolve) => {
      connection.onChange((isUp) => {
        changes.push(isUp);
        if (!isUp) resolve();
      });
    });
    await server.kill();
    await down;
    expect(await failure(connection.call('PING'))).toBeInstanceOf(UnavailableError);
    await server.start();
    expect(await connection.untilUp(5000)).toBe(true);
    expect(String(await connection.call('PING'))).toBe('PONG');
    expect(changes).toEqual([false, true]);
  });

  it('rejects commands while the server hangs, and reconnects by itself', async () => {
    await connect(200);
    server.freeze();
    const failures = await Promise.all([
      failure(connection.call('PING')),
      failure(connection.call('PING')),
    ]);
    for (const each of failures) expect(each).toBeInstanceOf(UnavailableError);
    expect(connection.isUp()).toBe(false);
    expect(await failure(connection.call('PING'))).toBeInstanceOf(UnavailableError);
    server.thaw();
    expect(await connection.untilUp(5000)).toBe(true);
    expect(String(await connection.call('PING'))).toBe('PONG');
  });

  it('rejects a write to a replica with UnavailableError', async () => {
    await connect();
    await connection.call('REPLICAOF', '127.0.0.1', '1');
    expect(await failure(connection.call('SET', 'a', '1'))).toBeInstanceOf(UnavailableError);
    // The connection is opened again meanwhile, in case another server is the primary now.
    await retryWhileUnavailable(() => connection.call('REPLICAOF', 'NO', 'ONE'));
    expect(String(await retryWhileUnavailable(() => connection.call('SET', 'a', '1')))).toBe('OK');
  });
});

describe('parseRedisUrl', () => {
  it.each([
    [
      'redis://localhost',
      { kind: 'single', hosts: [{ host: 'localhost', port: 6379 }], isTls: false, database: 0 },
    ],
    [
      'rediss://u:p%40ss@h:7000/3',
      {
        kind: 'single',
        hosts: [{ host: 'h', port: 7000 }],
        isTls: true,
        username: 'u',
        password: 'p@ss',
        database: 3,
      },
    ],
    [
      'redis://:secret@[::1]:7001',
      {
        kind: 'single',
        hosts: [{ host: '::1', port: 7001 }],
        isTls: false,
        password: 'secret',
        database: 0,
      },
    ],
    [
      'redis+sentinel://:s@a,b:26380/main/1',
      {
        kind: 'sentinel',
        hosts: [
          { host: 'a', port: 26379 },
          { host: 'b', port: 26380 },
        ],
        isTls: false,
        password: 's',
        primary: 'main',
        database: 1,
      },
    ],
    [
      'rediss+cluster://a:1,b:2',
      {
        kind: 'cluster',
        hosts: [
          { host: 'a', port: 1 },
          { host: 'b', port: 2 },
        ],
        isTls: true,
        database: 0,
      },
    ],
  ])('reads %s', (url, address) => {
    expect(parseRedisUrl(url)).toEqual(address);
  });

  it.each([
    ['http://h', 'must look like redis://host:6379/0'],
    ['redis://', 'must look like redis://host:6379/0'],
    ['redis://a,b', 'names several hosts'],
    ['redis+sentinel://a', "must name Sentinel's primary"],
    ['redis+cluster://a/2', 'a cluster has none'],
    ['redis://:hunter2@h/x', 'must end with the number of a database'],
    ['redis://h:port', 'must name a host and may name a port'],
    ['redis://h:70000', 'must name a port from 1 to 65535'],
    ['redis://:hunter2@h?db=2', 'must not have a ? or a #: name the database as /2'],
    ['redis://:hunter2@h/0#2', 'must not have a ? or a #'],
    ['redis://:hunter2#@h/0', 'must not have a ? or a #'],
    ['redis://:hunter2/@h/0', 'a user and a password are percent-encoded'],
    ['redis://:hunter2@x@h/0', 'a user and a password are percent-encoded'],
    ['redis://:hunter2%zz@h/0', 'is not percent-encoded as %25'],
    ['redis://hunter2@h/0', 'names a user without a password'],
    ['redis://:hunter2@h/1e1', 'must end with the number of a database'],
    ['redis://:hunter2@h/0x2', 'must end with the number of a database'],
    ['redis://:hunter2@h/0/1', 'must end with the number of a database'],
  ])('rejects %s with a reason without the password', (url, reason) => {
    expect(() => parseRedisUrl(url)).toThrow(reason);
    expect(() => parseRedisUrl(url)).not.toThrow('hunter2');
  });
});
