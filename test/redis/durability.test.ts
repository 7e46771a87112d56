import { afterEach, beforeAll, afterAll, describe, expect, it } from 'vitest';
import { systemClock } from '../../src/clock.js';
import { parseRedisUrl } from '../../src/redis/address.js';
import { findEviction, readDurability, type Stated } from '../../src/redis/durability.js';
import { createRedisConnection } from '../../src/redis/create-connection.js';
import {
  UnavailableError,
  type RedisConnection,
  type RedisReply,
} from '../../src/redis/connection.js';
import { startRedis, type RedisServer, type RedisServerOptions } from '../support/redis-server.js';

let server: RedisServer;
const closers: (() => Promise<void>)[] = [];

beforeAll(async () => {
  server = await startRedis();
});
afterEach(async () => {
  for (const close of closers.splice(0).reverse()) await close();
});
afterAll(() => server.close());

async function connect(url = server.url): Promise<RedisConnection> {
  const connection = createRedisConnection({
    address: parseRedisUrl(url),
    clock: systemClock,
    timeoutMs: 15_000,
  });
  closers.push(() => connection.close());
  expect(await connection.untilUp(5000)).toBe(true);
  return connection;
}

async function startAnother(options: RedisServerOptions): Promise<RedisServer> {
  const another = await startRedis(options);
  closers.push(() => another.close());
  return another;
}

/** The server with other settings than the durable ones, until the test is over. */
async function withSettings(settings: Readonly<Record<string, string>>): Promise<RedisConnection> {
  const connection = await connect();
  for (const [name, value] of Object.entries(settings)) {
    const [, was] = (await connection.call('CONFIG', 'GET', name)) as readonly RedisReply[];
    closers.push(async () => {
      await connection.call('CONFIG', 'SET', name, String(was));
    });
    await connection.call('CONFIG', 'SET', name, value);
  }
  return connection;
}

/** A server that cannot be had here, by its answers. */
function answering(
  info: Readonly<Record<string, string>>,
  settings: Readonly<Record<string, string>> = {},
): Pick<RedisConnection, 'call'> {
  const lines = Object.entries(info).map(([name, value]) => `${name}:${value}\r\n`);
  return {
    call(command, _verb, name = '') {
      if (command === 'INFO') return Promise.resolve(Buffer.from(`# All\r\n${lines.join('')}`));
      const value = settings[name];
      const pair = value === undefined ? [] : [Buffer.from(String(name)), Buffer.from(value)];
      return Promise.resolve(pair);
    },
  };
}
const durableSettings = {
  appendonly: 'yes',
  appendfsync: 'always',
  maxmemory: '0',
  'maxmemory-policy': 'noeviction',
};

describe('the durability of a server', () => {
  it('is given where each write is synced before its answer and nothing is evicted', async () => {
    const { server: name, ...rest } = await readDurability(await connect(), {
      stated: 'auto',
      waitReplicas: 0,
    });
    expect(name).toMatch(/^(redis|valkey) \d+\.\d+\.\d+$/);
    expect(rest).toEqual({ isSupported: true, isDurable: true, isKnown: true, findings: [] });
  });

  it.each<[Readonly<Record<string, string>>, string]>([
    [{ appendonly: 'no' }, 'appendonly is no: everything accepted is lost'],
    [{ appendonly: 'no', save: '900 1' }, 'appendonly is no: what was accepted since its last'],
    [{ appendfsync: 'everysec' }, 'appendfsync is everysec: a second or two'],
    [{ appendfsync: 'no' }, 'appendfsync is no: what the kernel has not written'],
    [{ 'no-appendfsync-on-rewrite': 'yes' }, 'no-appendfsync-on-rewrite is yes'],
    [
      { maxmemory: '64mb', 'maxmemory-policy': 'allkeys-lru' },
      'maxmemory-policy is allkeys-lru: at maxmemory the server drops',
    ],
    [
      { maxmemory: '64mb', 'maxmemory-policy': 'volatile-ttl' },
      'maxmemory-policy is volatile-ttl: at maxmemory the server drops',
    ],
  ])('is missing with %j, and the finding says what to set', async (settings, finding) => {
    const durability = await readDurability(await withSettings(settings), {
      stated: 'auto',
      waitReplicas: 0,
    });
    expect(durability).toMatchObject({ isDurable: false, isKnown: true });
    expect(durability.findings).toEqual([expect.stringContaining(finding)]);
    expect(durability.findings[0]).toMatch(/; set [a-z-]+ (yes|no|always|noeviction)$/);
  });

  it('does not mind a policy of eviction while memory has no bound', async () => {
    const connection = await withSettings({ maxmemory: '0', 'maxmemory-policy': 'allkeys-lru' });
    expect(await readDurability(connection, { stated: 'auto', waitReplicas: 0 })).toMatchObject({
      isDurable: true,
      findings: [],
    });
  });

  it('matters to the limiter alone where keys go that never expire', async () => {
    const settings = { maxmemory: '64mb', 'maxmemory-policy': 'allkeys-lru' };
    expect(await findEviction(await withSettings(settings))).toMatch(/allkeys-lru.*noeviction$/);
    for (const other of [
      { ...settings, maxmemory: '0' },
      { ...settings, 'maxmemory-policy': 'volatile-lru' },
      { ...settings, 'maxmemory-policy': 'noeviction' },
    ]) {
      expect(await findEviction(await withSettings(other))).toBeNull();
    }
  });

  it('tells everything that is wrong at once', async () => {
    const connection = await withSettings({
      appendfsync: 'everysec',
      maxmemory: '64mb',
      'maxmemory-policy': 'allkeys-lfu',
    });
    expect(
      (await readDurability(connection, { stated: 'auto', waitReplicas: 0 })).findings,
    ).toHaveLength(2);
  });

  it('is missing on a replica, whatever its settings', async () => {
    const connection = await connect(
      (await startAnother({ settings: { replicaof: '127.0.0.1 1' } })).url,
    );
    const durability = await readDurability(connection, { stated: 'auto', waitReplicas: 0 });
    expect(durability).toMatchObject({ isDurable: false, isKnown: true });
    expect(durability.findings).toEqual([expect.stringContaining('the server is a replica')]);
  });

  it('is not there where a failover loses what replicas do not have yet', async () => {
    // It would wait 5 s for more replicas to copy itself to at once.
    const connection = await withSettings({ 'repl-diskless-sync-delay': '0' });
    await startAnother({ settings: { replicaof: `127.0.0.1 ${server.port}` } });
    await connection.call('SET', 'a', '1');
    expect(await connection.call('WAIT', 1, 10_000)).toBe(1);
    const read = (waitReplicas: number, stated: Stated = 'auto') =>
      readDurability(connection, { stated, waitReplicas });
    const lossy = await read(0);
    expect(lossy).toMatchObject({ isDurable: false, isKnown: true });
    expect(lossy.findings).toEqual([
      expect.stringMatching(/^a replica follows a moment behind.*set REDIS_WAIT_REPLICAS to 1$/),
    ]);
    expect(await read(1)).toMatchObject({ isDurable: true, isKnown: true, findings: [] });
    expect(await read(0, 'yes')).toMatchObject({ isDurable: true });
    expect((await read(2)).findings).toEqual([
      'REDIS_WAIT_REPLICAS is 2, and a replica follows: nothing is accepted until there are enough',
    ]);
  });

  it('is known of one node of a cluster only, and says so', async () => {
    const node = await startAnother({ settings: { 'cluster-enabled': 'yes' } });
    const { isDurable, findings } = await readDurability(await connect(node.url), {
      stated: 'auto',
      waitReplicas: 0,
    });
    expect(isDurable).toBe(true);
    expect(findings).toEqual([expect.stringContaining('a node of a cluster')]);
  });

  it('is asked for again where the server went away meanwhile', async () => {
    const another = await startAnother({});
    const connection = await connect(another.url);
    await another.kill();
    await expect(
      readDurability(connection, { stated: 'auto', waitReplicas: 0 }),
    ).rejects.toBeInstanceOf(UnavailableError);
  });
});

describe('a server that keeps its settings to itself', () => {
  /** As a user who may do all but one thing. */
  const connectAs = async (denial: '-config' | '-info'): Promise<RedisConnection> => {
    const connection = await connect();
    await connection.call('ACL', 'SETUSER', 'ingest', 'on', '>secret', '~*', '&*', '+@all');
    closers.push(async () => {
      await connection.call('ACL', 'DELUSER', 'ingest');
    });
    const limited = await connect(`redis://ingest:secret@127.0.0.1:${server.port}/0`);
    // Only now: the client looks into INFO when it connects, and complains on stderr where it may not.
    await connection.call('ACL', 'SETUSER', 'ingest', denial);
    return limited;
  };

  it('is not known, and not taken for durable, until an operator states it', async () => {
    const connection = await connectAs('-config');
    const unknown = await readDurability(connection, { stated: 'auto', waitReplicas: 0 });
    expect(unknown).toMatchObject({ isDurable: false, isKnown: false });
    expect(unknown.findings).toEqual([expect.stringMatching(/\+config\|get.*REDIS_DURABLE/)]);
    const yes = { isKnown: true, isDurable: true, findings: [] };
    expect(await readDurability(connection, { stated: 'yes', waitReplicas: 0 })).toMatchObject(yes);
    const no = await readDurability(connection, { stated: 'no', waitReplicas: 0 });
    expect(no).toMatchObject({ isKnown: true, isDurable: false });
    expect(no.findings).toEqual([expect.stringContaining('REDIS_DURABLE is no: what is accepted')]);
  });

  it('is known once its user may read settings', async () => {
    const connection = await connectAs('-config');
    await (await connect()).call('ACL', 'SETUSER', 'ingest', '+config|get');
    expect(await readDurability(connection, { stated: 'auto', waitReplicas: 0 })).toMatchObject({
      isDurable: true,
      isKnown: true,
    });
  });

  it('may have no CONFIG at all, as managed servers do', async () => {
    const managed = await startAnother({ settings: { 'rename-command': 'CONFIG hidden' } });
    const connection = await connect(managed.url);
    const unknown = await readDurability(connection, { stated: 'auto', waitReplicas: 0 });
    expect(unknown).toMatchObject({ isDurable: false, isKnown: false });
    expect(unknown.findings).toEqual([
      expect.stringMatching(/does not tell its settings \(ERR unknown command 'CONFIG'\).*REDIS_D/),
    ]);
    expect(await readDurability(connection, { stated: 'yes', waitReplicas: 0 })).toMatchObject({
      isDurable: true,
      findings: [],
    });
  });

  it('still gives away by INFO that it appends to no file', async () => {
    const managed = await startAnother({
      settings: { appendonly: 'no', 'rename-command': 'CONFIG hidden' },
    });
    const connection = await connect(managed.url);
    expect(
      (await readDurability(connection, { stated: 'auto', waitReplicas: 0 })).findings,
    ).toEqual([
      expect.stringContaining('appendonly is no'),
      expect.stringContaining('it is not known'),
    ]);
    expect((await readDurability(connection, { stated: 'yes', waitReplicas: 0 })).findings).toEqual(
      [
        expect.stringContaining('appendonly is no'),
        expect.stringContaining('REDIS_DURABLE is yes and is believed'),
      ],
    );
  });

  it('may refuse INFO too, and is an unknown server then', async () => {
    const connection = await connectAs('-info');
    expect(await readDurability(connection, { stated: 'auto', waitReplicas: 0 })).toEqual({
      server: 'unknown',
      isSupported: true,
      isDurable: true,
      isKnown: true,
      findings: [],
    });
  });

  it('may leave single settings out', async () => {
    const told = { appendonly: 'yes', maxmemory: '0', 'maxmemory-policy': 'noeviction' };
    const connection = answering({ redis_version: '7.2.4' }, told);
    const { isKnown, findings } = await readDurability(connection, {
      stated: 'auto',
      waitReplicas: 0,
    });
    expect(isKnown).toBe(false);
    expect(findings).toEqual([
      expect.stringContaining('the server does not tell its settings, so'),
    ]);
  });
});

describe('what an operator states', () => {
  it.each<[Stated, Readonly<Record<string, string>>, boolean, readonly string[]]>([
    [
      'yes',
      { appendfsync: 'everysec' },
      true,
      ['appendfsync is everysec', 'REDIS_DURABLE is yes and is believed'],
    ],
    ['no', { appendfsync: 'everysec' }, false, ['appendfsync is everysec']],
    ['no', {}, false, ['REDIS_DURABLE is no and is believed']],
    ['yes', {}, true, []],
  ])('%s with %j is believed, and contradicted', async (stated, settings, isDurable, findings) => {
    const durability = await readDurability(await withSettings(settings), {
      stated,
      waitReplicas: 0,
    });
    expect(durability).toMatchObject({ isKnown: true, isDurable });
    expect(durability.findings).toEqual(
      findings.map((each): unknown => expect.stringContaining(each)),
    );
  });
});

describe('the version of a server', () => {
  const told = { role: 'master', aof_last_write_status: 'ok', connected_slaves: '0' };

  it.each([
    [
      { redis_version: '7.2.4', server_name: 'valkey', valkey_version: '8.1.0' },
      'valkey 8.1.0',
      true,
    ],
    [{ redis_version: '7.2.4', valkey_version: '7.2.7' }, 'valkey 7.2.7', true],
    [{ redis_version: '10.0.0' }, 'redis 10.0.0', true],
    [{ redis_version: '6.2.0' }, 'redis 6.2.0', true],
    [{ redis_version: '6.0.16' }, 'redis 6.0.16', false],
    [{ redis_version: '5.0.7' }, 'redis 5.0.7', false],
  ])('%j is %s, supported: %s', async (info, name, isSupported) => {
    const durability = await readDurability(answering({ ...told, ...info }, durableSettings), {
      stated: 'auto',
      waitReplicas: 0,
    });
    expect(durability).toMatchObject({ server: name, isSupported, isDurable: true });
    expect(durability.findings).toEqual(
      isSupported ? [] : [expect.stringContaining('use 6.2 or later, or Valkey')],
    );
  });

  it('tells a disk that failed', async () => {
    const connection = answering({ ...told, aof_last_write_status: 'err' }, durableSettings);
    expect(
      (await readDurability(connection, { stated: 'auto', waitReplicas: 0 })).findings,
    ).toEqual([expect.stringContaining('look at the disk of the server')]);
  });
});
