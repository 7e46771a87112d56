import { once } from 'node:events';
import { createServer as createHttpServer } from 'node:http';
import { connect as connectTo, createServer, type Server, type Socket } from 'node:net';
import { afterEach, describe, expect, it } from 'vitest';
import { systemClock } from '../../src/clock.js';
import { parseRedisUrl } from '../../src/redis/address.js';
import { createRedisConnection } from '../../src/redis/create-connection.js';
import {
  ScriptError,
  toScript,
  UnavailableError,
  type RedisConnection,
} from '../../src/redis/connection.js';
import { findFreePort, startRedis, type RedisServer } from '../support/redis-server.js';

const connections: RedisConnection[] = [];
const servers: Server[] = [];
const redisServers: RedisServer[] = [];
afterEach(async () => {
  for (const each of connections.splice(0)) await each.close();
  for (const each of servers.splice(0)) each.close();
  for (const each of redisServers.splice(0)) await each.close();
});

async function startRedisServer(
  options: Parameters<typeof startRedis>[0] = {},
): Promise<RedisServer> {
  const server = await startRedis({
    ...options,
    settings: { appendfsync: 'no', ...options.settings },
  });
  redisServers.push(server);
  return server;
}

function open(url: string, timeoutMs = 1000): RedisConnection {
  const connection = createRedisConnection({
    address: parseRedisUrl(url),
    clock: systemClock,
    timeoutMs,
  });
  connections.push(connection);
  return connection;
}

/** Resolves with the reason of a failed connection once it matches `words`. */
async function untilReason(connection: RedisConnection, words: RegExp): Promise<string> {
  const matches = (why: string | undefined): boolean => why !== undefined && words.test(why);
  if (!matches(connection.failure()?.why)) {
    await new Promise<void>((resolve) => {
      const stop = connection.onFailure(({ why }) => {
        if (!matches(why)) return;
        stop();
        resolve();
      });
    });
  }
  return connection.failure()?.why ?? '';
}

async function listen(server: Server): Promise<number> {
  servers.push(server);
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  return address === null || typeof address === 'string' ? 0 : address.port;
}

/** Starts a server that calls `respond` for each connection, and returns its port. */
const listenWith = (respond: (socket: Socket) => void): Promise<number> =>
  listen(
    createServer((socket) => {
      socket.on('error', () => undefined);
      respond(socket);
    }),
  );

describe('the reason of a failed connection, which contains no password, describes', () => {
  it.each([
    ['a wrong password', ':wr0ng@', 'Redis refuses the password in REDIS_URL'],
    ['an unknown user', 'nobody:wr0ng@', 'Redis refuses the user or the password in REDIS_URL'],
    ['no password', '', 'Redis requires a password, and REDIS_URL has none'],
  ])('%s', async (_what, credentials, why) => {
    const server = await startRedisServer({ settings: { requirepass: 'r1ght' } });
    const connection = open(`redis://${credentials}127.0.0.1:${server.port}/0`);
    expect(await untilReason(connection, /Redis/)).toBe(why);
    await expect(connection.call('PING')).rejects.toThrow(why);
  });

  it('a port without a listener', async () => {
    const port = await findFreePort();
    const why = await untilReason(open(`redis://127.0.0.1:${port}`), /refused/);
    expect(why).toBe(`the connection to 127.0.0.1:${port} is refused: no server listens there`);
  });

  it('an unknown host name', async () => {
    const why = await untilReason(open('redis://no-such-host.invalid'), /name/);
    expect(why).toContain('the name in REDIS_URL is not found');
  });

  it('a server that is not Redis', async () => {
    const port = await listen(createHttpServer((_request, response) => response.end('hello')));
    const why = await untilReason(open(`redis://:s3cret@127.0.0.1:${port}`), /not Redis/);
    expect(why).toBe(`what answers at 127.0.0.1:${port} is not Redis: correct REDIS_URL`);
  });

  it('a server that expects TLS', async () => {
    // A TLS alert, as OpenSSL sends one to a client that speaks plain text.
    const alert = Buffer.from([0x15, 3, 1, 0, 2, 2, 70]);
    const port = await listenWith((socket) => socket.once('data', () => socket.end(alert)));
    const why = await untilReason(open(`redis://127.0.0.1:${port}`), /TLS/);
    expect(why).toBe(`the server at 127.0.0.1:${port} speaks TLS: use rediss:// in REDIS_URL`);
  });

  it('a server that does not speak TLS', async () => {
    const port = await listenWith((socket) => socket.once('data', () => socket.end('-ERR\r\n')));
    const why = await untilReason(open(`rediss://127.0.0.1:${port}`), /TLS/);
    expect(why).toBe(
      `the server at 127.0.0.1:${port} does not speak TLS: use redis:// in REDIS_URL`,
    );
  });

  it('a server that closes the connection without a response', async () => {
    const port = await listenWith((socket) => socket.once('data', () => socket.destroy()));
    const why = await untilReason(open(`redis://127.0.0.1:${port}`), /before it answers/);
    expect(why).toContain('it may expect TLS (rediss:// in REDIS_URL)');
  });

  it('a server with its maximum of clients', async () => {
    const server = await startRedisServer({ settings: { maxclients: '1' } });
    await open(server.url).untilUp(5000);
    // The server closes the connection at once: if the first command fails before its error is read, the error is lost.
    const why = await untilReason(open(server.url), /answers|EPIPE|ECONNRESET/);
    expect(why).toMatch(
      /^(?:Redis answers "ERR max number of clients reached"|write EPIPE|read ECONNRESET)$/,
    );
  });

  it('a server that hangs', async () => {
    const port = await listenWith(() => undefined);
    expect(await untilReason(open(`redis://127.0.0.1:${port}`, 100), /answer/)).toBe(
      'Redis does not answer within 100 ms',
    );
  });

  it('sentinels that cannot be reached', async () => {
    expect(await untilReason(open('redis+sentinel://127.0.0.1:1/main/0'), /sentinel/)).toBe(
      'no sentinel at 127.0.0.1:1 can be reached: connect ECONNREFUSED 127.0.0.1:1',
    );
  });

  it('a Sentinel URL of a plain server and a cluster URL of a single server', async () => {
    const { port } = await startRedisServer();
    expect(await untilReason(open(`redis+sentinel://127.0.0.1:${port}/main/0`), /sentinel/)).toBe(
      `what answers at 127.0.0.1:${port} are no sentinels: use redis:// in REDIS_URL`,
    );
    expect(await untilReason(open(`redis+cluster://127.0.0.1:${port}`), /cluster/)).toContain(
      'the server is not part of a cluster: use redis:// in REDIS_URL',
    );
  });
});

it('a connection reports a password that changed at the server, and reconnects once it is valid again', async () => {
  const server = await startRedisServer();
  const operator = open(server.url);
  const connection = open(`redis://:old@127.0.0.1:${server.port}/0`);
  await operator.untilUp(5000);
  await operator.call('CONFIG', 'SET', 'requirepass', 'old');
  expect(await connection.untilUp(5000)).toBe(true);
  await operator.call('CONFIG', 'SET', 'requirepass', 'new');
  await operator.call('CLIENT', 'KILL', 'TYPE', 'normal', 'SKIPME', 'yes');
  await untilReason(connection, /Redis refuses the password in REDIS_URL/);
  await operator.call('CONFIG', 'SET', 'requirepass', 'old');
  expect(await connection.untilUp(5000)).toBe(true);
  expect(connection.failure()).toBeNull();
});

/** Starts a TCP proxy that can switch to another server, as a load balancer does in a failover. */
async function startTcpProxy(target: RedisServer) {
  let port = target.port;
  const sockets = new Set<Socket>();
  const proxyPort = await listenWith((socket) => {
    const upstream = connectTo(port, '127.0.0.1');
    for (const each of [socket, upstream]) {
      sockets.add(each);
      each.on('error', () => undefined);
    }
    socket.pipe(upstream).pipe(socket);
  });
  return {
    port: proxyPort,
    switchTo(next: RedisServer): void {
      port = next.port;
      for (const socket of sockets) socket.destroy();
      sockets.clear();
    },
  };
}

describe('a database number that the server does not have', () => {
  it('is a permanent failure, and database 0 is not used instead', async () => {
    const { port } = await startRedisServer();
    const connection = open(`redis://127.0.0.1:${port}/20`);
    expect(await connection.untilUp(60_000)).toBe(false);
    expect(connection.failure()).toEqual({
      why: 'the server does not have database 20 of REDIS_URL ("ERR DB index is out of range")',
      isCertain: true,
    });
    await expect(connection.call('SET', 'a', '1')).rejects.toThrow('does not have database 20');
  });

  it('is checked again on each new connection, also after a failover', async () => {
    const [many, one] = [
      await startRedisServer(),
      await startRedisServer({ settings: { databases: '1' } }),
    ];
    const proxy = await startTcpProxy(many);
    const connection = open(`redis://127.0.0.1:${proxy.port}/3`);
    expect(await connection.untilUp(5000)).toBe(true);
    await connection.call('SET', 'a', 'first');
    proxy.switchTo(one);
    await untilReason(connection, /does not have database 3/);
    await expect(connection.call('SET', 'a', 'second')).rejects.toBeInstanceOf(UnavailableError);
    const direct = open(one.url);
    await direct.untilUp(5000);
    expect(await direct.call('DBSIZE')).toBe(0);
    proxy.switchTo(many);
    await new Promise<void>((resolve) => connection.onChange((isUp) => isUp && resolve()));
    expect(String(await connection.call('GET', 'a'))).toBe('first');
    const zero = open(many.url);
    await zero.untilUp(5000);
    expect(await zero.call('DBSIZE')).toBe(0);
  });

  it('is distinguished from a temporary error of the server', async () => {
    let isOver = false;
    const port = await listenWith((socket) =>
      socket.on('data', (data) => {
        const commands = data.toString().match(/\*\d+\r\n/g) ?? [];
        const reply = isOver ? '+OK\r\n' : '-ERR max daily request limit exceeded\r\n';
        socket.write(reply.repeat(commands.length));
      }),
    );
    const connection = open(`redis://127.0.0.1:${port}/2`);
    await untilReason(connection, /max daily request limit exceeded/);
    expect(connection.failure()?.isCertain).toBe(false);
    isOver = true;
    expect(await connection.untilUp(5000)).toBe(true);
  });
});

describe('an error reply of the server', () => {
  const raised = toScript('raised', [], "return redis.error_reply('RELAY_OWN this')");
  const faulty = toScript('faulty', [], 'local a = nil; return a.b');
  const denied = toScript('denied', [], "return redis.call('SET', KEYS[1], ARGV[1])");
  const failure = (work: Promise<unknown>): Promise<unknown> =>
    work.catch((error: unknown) => error);

  it('is a ScriptError only if a script of the relay raised it or failed', async () => {
    const { url } = await startRedisServer();
    const connection = open(url);
    await connection.untilUp(5000);
    expect(await failure(connection.run(raised, 'k', []))).toMatchObject({
      name: 'ScriptError',
      code: 'RELAY_OWN',
      message: 'RELAY_OWN this',
    });
    const fault = await failure(connection.run(faulty, 'k', []));
    expect(fault).toBeInstanceOf(ScriptError);
    expect(fault).toMatchObject({ code: 'LUA' });
  });

  it.each([
    ['a script that the user may not run', ['-@scripting'], /NOPERM/],
    [
      'a command within a script',
      ['-set'],
      /can't run this command|has no permissions to run the 'set'/,
    ],
    ['a key within a script', ['resetkeys', '~other*'], /access/],
  ])('is an UnavailableError if it is about %s', async (_what, rules, words) => {
    const { port } = await startRedisServer({ users: ['relay on >pw ~* &* +@all'] });
    const operator = open(`redis://127.0.0.1:${port}/0`);
    await operator.untilUp(5000);
    const connection = open(`redis://relay:pw@127.0.0.1:${port}/0`);
    await connection.untilUp(5000);
    await operator.call('ACL', 'SETUSER', 'relay', ...rules);
    const error = await failure(connection.run(denied, 'k', ['secret-value']));
    expect(error).toBeInstanceOf(UnavailableError);
    expect(String(error)).toMatch(words);
    expect(JSON.stringify(error) + String(error)).not.toContain('secret-value');
    expect(connection.isUp()).toBe(true);
    await operator.call('ACL', 'SETUSER', 'relay', '~*', '+@all');
    expect(String(await connection.run(denied, 'k', ['1']))).toBe('OK');
  });

  it('is an UnavailableError while a script of another client keeps the server busy', async () => {
    const { url } = await startRedisServer({ settings: { 'busy-reply-threshold': '50' } });
    const [connection, other] = [open(url, 5000), open(url, 5000)];
    await Promise.all([connection.untilUp(5000), other.untilUp(5000)]);
    const endless = other.call('EVAL', 'while true do end', '0').catch(() => null);
    let words = '';
    while (words === '') {
      await connection.call('GET', 'a').catch((error: unknown) => {
        words = error instanceof UnavailableError ? error.why : 'another error';
      });
    }
    expect(words).toContain('BUSY');
    await connection.call('SCRIPT', 'KILL');
    await endless;
    expect(await connection.call('GET', 'a')).toBeNull();
  });

  it('does not repeat the arguments of its command', async () => {
    const { url } = await startRedisServer();
    const connection = open(url);
    await connection.untilUp(5000);
    const error = await failure(connection.call('NOSUCH', 'sam@klaviyo-demo.com'));
    expect(error).toBeInstanceOf(UnavailableError);
    expect(String(error)).toContain("ERR unknown command 'NOSUCH'");
    expect(JSON.stringify(error) + String(error)).not.toContain('sam@');
  });
});
