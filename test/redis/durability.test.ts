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

/** Changes settings of the server until the test ends. */
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

/** Returns a connection with canned replies, for servers that the tests cannot start. */
function replyWith(
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
  it('is given if each write is synced before its reply and nothing is evicted', async () => {
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
  ])(
    'is missing with %j, and the finding contains the setting to change',
    async (settings, finding) => {
      const durability = await readDurability(await withSettings(settings), {
        stated: 'auto',
        waitReplicas: 0,
      });
      expect(durability).toMatchObject({ isDurable: false, isKnown: true });
      expect(durability.findings).toEqual([expect.stringContaining(finding)]);
      expect(durability.findings[0]).toMatch(/; set [a-z-]+ (yes|no|always|noeviction)$/);
    },
  );

  it('does not depend on the eviction policy if maxmemory is 0', async () => {
    const connection = await withSettings({ maxmemory: '0', 'maxmemory-policy': 'allkeys-lru' });
    expect(await readDurability(connection, { stated: 'auto', waitReplicas: 0 })).toMatchObject({
      isDurable: true,
      findings: [],
    });
  });

  it('is lacking for a server of the limiter alone only if it may evict keys without an expiry time', async () => {
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

  it('has one finding for each wrong setting', async () => {
    const connection = await withSettings({
      appendfsync: 'everysec',
      maxmemory: '64mb',
      'maxmemory-policy': 'allkeys-lfu',
    });
    expect(
      (await readDurability(connection, { stated: 'auto', waitReplicas: 0 })).findings,
    ).toHaveLength(2);
  });

  it('is missing on a replica with any settings', async () => {
    const connection = await connect(
      (await startAnother({ settings: { replicaof: '127.0.0.1 1' } })).url,
    );
    const durability = await readDurability(connection, { stated: 'auto', waitReplicas: 0 });
    expect(durability).toMatchObject({ isDurable: false, isKnown: true });
    expect(durability.findings).toEqual([expect.stringContaining('the server is a replica')]);
  });

  it('is missing if a failover can lose writes that the replicas do not have yet', async () => {
    // By default the server waits 5 s for further replicas before it synchronises the first one.
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

  it('is known of one node of a cluster only, which a finding says', async () => {
    const node = await startAnother({ settings: { 'cluster-enabled': 'yes' } });
    const { isDurable, findings } = await readDurability(await connect(node.url), {
      stated: 'auto',
      waitReplicas: 0,
    });
    expect(isDurable).toBe(true);
    expect(findings).toEqual([expect.stringContaining('a node of a cluster')]);
  });

  it('cannot be read while the server is down, so the caller can read it later', async () => {
    const another = await startAnother({});
    const connection = await connect(another.url);
    await another.kill();
    await expect(
      readDurability(connection, { stated: 'auto', waitReplicas: 0 }),
    ).rejects.toBeInstanceOf(UnavailableError);
  });
});

describe('a server that does not show its settings', () => {
  /** Connects as a user without one right. */
  const connectAs = async (denial: '-config' | '-info'): Promise<RedisConnection> => {
    const connection = await connect();
    await connection.call('ACL', 'SETUSER', 'ingest', 'on', '>secret', '~*', '&*', '+@all');
    closers.push(async () => {
      await connection.call('ACL', 'DELUSER', 'ingest');
    });
    const limited = await connect(`redis://ingest:secret@127.0.0.1:${server.port}/0`);
    // After the connection is open: on connect the client reads INFO and writes to stderr if it has no right to.
    await connection.call('ACL', 'SETUSER', 'ingest', denial);
    return limited;
  };

  it('counts as not durable until REDIS_DURABLE is set', async () => {
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

  it('counts as durable once its user may read the settings', async () => {
    const connection = await connectAs('-config');
    await (await connect()).call('ACL', 'SETUSER', 'ingest', '+config|get');
    expect(await readDurability(connection, { stated: 'auto', waitReplicas: 0 })).toMatchObject({
      isDurable: true,
      isKnown: true,
    });
  });

  it('may have no CONFIG command, as managed servers do', async () => {
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

  it('still shows in INFO that it appends to no file', async () => {
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

  it('has the name unknown if it denies INFO', async () => {
    const connection = await connectAs('-info');
    expect(await readDurability(connection, { stated: 'auto', waitReplicas: 0 })).toEqual({
      server: 'unknown',
      isSupported: true,
      isDurable: true,
      isKnown: true,
      findings: [],
    });
  });

  it('has unknown durability if it omits a single setting', async () => {
    const shown = { appendonly: 'yes', maxmemory: '0', 'maxmemory-policy': 'noeviction' };
    const connection = replyWith({ redis_version: '7.2.4' }, shown);
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

describe('REDIS_DURABLE', () => {
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
  ])(
    '%s is believed with the settings %j, and a finding names each contradiction',
    async (stated, settings, isDurable, findings) => {
      const durability = await readDurability(await withSettings(settings), {
        stated,
        waitReplicas: 0,
      });
      expect(durability).toMatchObject({ isKnown: true, isDurable });
      expect(durability.findings).toEqual(
        findings.map((each): unknown => expect.stringContaining(each)),
      );
    },
  );
});

describe('the version of a server', () => {
  const healthy = { role: 'master', aof_last_write_status: 'ok', connected_slaves: '0' };

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
    const durability = await readDurability(replyWith({ ...healthy, ...info }, durableSettings), {
      stated: 'auto',
      waitReplicas: 0,
    });
    expect(durability).toMatchObject({ server: name, isSupported, isDurable: true });
    expect(durability.findings).toEqual(
      isSupported ? [] : [expect.stringContaining('use 6.2 or later, or Valkey')],
    );
  });

  it('is read together with a finding about a failed write to disk', async () => {
    const connection = replyWith({ ...healthy, aof_last_write_status: 'err' }, durableSettings);
    expect(
      (await readDurability(connection, { stated: 'auto', waitReplicas: 0 })).findings,
    ).toEqual([expect.stringContaining('look at the disk of the server')]);
  });
});
