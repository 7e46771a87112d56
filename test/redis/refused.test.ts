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

const links: RedisConnection[] = [];
const servers: Server[] = [];
const redises: RedisServer[] = [];
afterEach(async () => {
  for (const each of links.splice(0)) await each.close();
  for (const each of servers.splice(0)) each.close();
  for (const each of redises.splice(0)) await each.close();
});

async function redis(options: Parameters<typeof startRedis>[0] = {}): Promise<RedisServer> {
  const server = await startRedis({
    ...options,
    settings: { appendfsync: 'no', ...options.settings },
  });
  redises.push(server);
  return server;
}

function open(url: string, timeoutMs = 1000): RedisConnection {
  const connection = createRedisConnection({
    address: parseRedisUrl(url),
    clock: systemClock,
    timeoutMs,
  });
  links.push(connection);
  return connection;
}

/** Resolves once the connection says why it is down, in words that match. */
async function untilWhy(connection: RedisConnection, words: RegExp): Promise<string> {
  const isSo = (why: string | undefined): boolean => why !== undefined && words.test(why);
  if (!isSo(connection.failure()?.why)) {
    await new Promise<void>((resolve) => {
      const stop = connection.onFailure(({ why }) => {
        if (!isSo(why)) return;
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

/** Answers each connection in its own way. */
const answering = (answer: (socket: Socket) => void): Promise<number> =>
  listen(
    createServer((socket) => {
      socket.on('error', () => undefined);
      answer(socket);
    }),
  );

describe('why a server cannot be used is said, without the password', () => {
  it.each([
    ['a wrong password', ':wr0ng@', 'Redis refuses the password in REDIS_URL'],
    ['an unknown user', 'nobody:wr0ng@', 'Redis refuses the user or the password in REDIS_URL'],
    ['no password', '', 'Redis requires a password, and REDIS_URL has none'],
  ])('%s', async (_what, credentials, why) => {
    const server = await redis({ settings: { requirepass: 'r1ght' } });
    const connection = open(`redis://${credentials}127.0.0.1:${server.port}/0`);
    expect(await untilWhy(connection, /Redis/)).toBe(why);
    await expect(connection.call('PING')).rejects.toThrow(why);
  });

  it('a port that nothing listens on', async () => {
    const port = await findFreePort();
    const why = await untilWhy(open(`redis://127.0.0.1:${port}`), /refused/);
    expect(why).toBe(`the connection to 127.0.0.1:${port} is refused: no server listens there`);
  });

  it('a name that is not known', async () => {
    const why = await untilWhy(open('redis://no-such-host.invalid'), /name/);
    expect(why).toContain('the name in REDIS_URL is not found');
  });

  it('another kind of server', async () => {
    const port = await listen(createHttpServer((_request, response) => response.end('hello')));
    const why = await untilWhy(open(`redis://:s3cret@127.0.0.1:${port}`), /not Redis/);
    expect(why).toBe(`what answers at 127.0.0.1:${port} is not Redis: correct REDIS_URL`);
  });

  it('a server that expects TLS', async () => {
    // A TLS alert, as OpenSSL sends one to a client that speaks plain text.
    const alert = Buffer.from([0x15, 3, 1, 0, 2, 2, 70]);
    const port = await answering((socket) => socket.once('data', () => socket.end(alert)));
    const why = await untilWhy(open(`redis://127.0.0.1:${port}`), /TLS/);
    expect(why).toBe(`the server at 127.0.0.1:${port} speaks TLS: use rediss:// in REDIS_URL`);
  });

  it('a server that does not speak TLS', async () => {
    const port = await answering((socket) => socket.once('data', () => socket.end('-ERR\r\n')));
    const why = await untilWhy(open(`rediss://127.0.0.1:${port}`), /TLS/);
    expect(why).toBe(
      `the server at 127.0.0.1:${port} does not speak TLS: use redis:// in REDIS_URL`,
    );
  });

  it('a server that closes the connection without a word', async () => {
    const port = await answering((socket) => socket.once('data', () => socket.destroy()));
    const why = await untilWhy(open(`redis://127.0.0.1:${port}`), /before it answers/);
    expect(why).toContain('it may expect TLS (rediss:// in REDIS_URL)');
  });

  it('a server that takes no more clients', async () => {
    const server = await redis({ settings: { maxclients: '1' } });
    await open(server.url).untilUp(5000);
    // It closes the connection at once: where the first command fails before that is read, its words are lost.
    const why = await untilWhy(open(server.url), /answers|EPIPE|ECONNRESET/);
    expect(why).toMatch(
      /^(?:Redis answers "ERR max number of clients reached"|write EPIPE|read ECONNRESET)$/,
    );
  });

  it('a server that hangs', async () => {
    const port = await answering(() => undefined);
    expect(await untilWhy(open(`redis://127.0.0.1:${port}`, 100), /answer/)).toBe(
      'Redis does not answer within 100 ms',
    );
  });

  it('says why no sentinel can be reached', async () => {
    expect(await untilWhy(open('redis+sentinel://127.0.0.1:1/main/0'), /sentinel/)).toBe(
      'no sentinel at 127.0.0.1:1 can be reached: connect ECONNREFUSED 127.0.0.1:1',
    );
  });

  it('a Sentinel URL for a server that is none, and a cluster URL for one that is alone', async () => {
    const { port } = await redis();
    expect(await untilWhy(open(`redis+sentinel://127.0.0.1:${port}/main/0`), /sentinel/)).toBe(
      `what answers at 127.0.0.1:${port} are no sentinels: use redis:// in REDIS_URL`,
    );
    expect(await untilWhy(open(`redis+cluster://127.0.0.1:${port}`), /cluster/)).toContain(
      'the server is not part of a cluster: use redis:// in REDIS_URL',
    );
  });
});

it('a password that is rotated at the server is named as the reason, and the connection comes back once it is right again', async () => {
  const server = await redis();
  const operator = open(server.url);
  const connection = open(`redis://:old@127.0.0.1:${server.port}/0`);
  await operator.untilUp(5000);
  await operator.call('CONFIG', 'SET', 'requirepass', 'old');
  expect(await connection.untilUp(5000)).toBe(true);
  await operator.call('CONFIG', 'SET', 'requirepass', 'new');
  await operator.call('CLIENT', 'KILL', 'TYPE', 'normal', 'SKIPME', 'yes');
  await untilWhy(connection, /Redis refuses the password in REDIS_URL/);
  await operator.call('CONFIG', 'SET', 'requirepass', 'old');
  expect(await connection.untilUp(5000)).toBe(true);
  expect(connection.failure()).toBeNull();
});

/** A way to one server, and from a moment on to another: a failover, as a name or a balancer makes it. */
async function startWay(target: RedisServer) {
  let port = target.port;
  const sockets = new Set<Socket>();
  const own = await answering((socket) => {
    const there = connectTo(port, '127.0.0.1');
    for (const each of [socket, there]) {
      sockets.add(each);
      each.on('error', () => undefined);
    }
    socket.pipe(there).pipe(socket);
  });
  return {
    port: own,
    turnTo(next: RedisServer): void {
      port = next.port;
      for (const socket of sockets) socket.destroy();
      sockets.clear();
    },
  };
}

describe('a database that the server does not have', () => {
  it('is never replaced by database 0, and it is certain that it never will be there', async () => {
    const { port } = await redis();
    const connection = open(`redis://127.0.0.1:${port}/20`);
    expect(await connection.untilUp(60_000)).toBe(false);
    expect(connection.failure()).toEqual({
      why: 'the server does not have database 20 of REDIS_URL ("ERR DB index is out of range")',
      isCertain: true,
    });
    await expect(connection.call('SET', 'a', '1')).rejects.toThrow('does not have database 20');
  });

  it('is asked for again on each new connection, also where another server answers', async () => {
    const [many, one] = [await redis(), await redis({ settings: { databases: '1' } })];
    const way = await startWay(many);
    const connection = open(`redis://127.0.0.1:${way.port}/3`);
    expect(await connection.untilUp(5000)).toBe(true);
    await connection.call('SET', 'a', 'first');
    way.turnTo(one);
    await untilWhy(connection, /does not have database 3/);
    await expect(connection.call('SET', 'a', 'second')).rejects.toBeInstanceOf(UnavailableError);
    const there = open(one.url);
    await there.untilUp(5000);
    expect(await there.call('DBSIZE')).toBe(0);
    way.turnTo(many);
    await new Promise<void>((resolve) => connection.onChange((isUp) => isUp && resolve()));
    expect(String(await connection.call('GET', 'a'))).toBe('first');
    const zero = open(many.url);
    await zero.untilUp(5000);
    expect(await zero.call('DBSIZE')).toBe(0);
  });

  it('is another thing than a server that cannot answer for the moment', async () => {
    let isOver = false;
    const port = await answering((socket) =>
      socket.on('data', (data) => {
        const commands = data.toString().match(/\*\d+\r\n/g) ?? [];
        const reply = isOver ? '+OK\r\n' : '-ERR max daily request limit exceeded\r\n';
        socket.write(reply.repeat(commands.length));
      }),
    );
    const connection = open(`redis://127.0.0.1:${port}/2`);
    await untilWhy(connection, /max daily request limit exceeded/);
    expect(connection.failure()?.isCertain).toBe(false);
    isOver = true;
    expect(await connection.untilUp(5000)).toBe(true);
  });
});

describe('an error that the server answers with', () => {
  const raised = toScript('raised', [], "return redis.error_reply('RELAY_OWN this')");
  const faulty = toScript('faulty', [], 'local a = nil; return a.b');
  const denied = toScript('denied', [], "return redis.call('SET', KEYS[1], ARGV[1])");
  const failure = (work: Promise<unknown>): Promise<unknown> =>
    work.catch((error: unknown) => error);

  it('is ours only where our own script raised it, or broke off', async () => {
    const { url } = await redis();
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
  ])('is the server, where it is about %s', async (_what, rules, words) => {
    const { port } = await redis({ users: ['relay on >pw ~* &* +@all'] });
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

  it('is the server where a script of somebody else keeps it busy, and over when that ends', async () => {
    const { url } = await redis({ settings: { 'busy-reply-threshold': '50' } });
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

  it('shows nothing of the command that it is about', async () => {
    const { url } = await redis();
    const connection = open(url);
    await connection.untilUp(5000);
    const error = await failure(connection.call('NOSUCH', 'sam@klaviyo-demo.com'));
    expect(error).toBeInstanceOf(UnavailableError);
    expect(String(error)).toContain("ERR unknown command 'NOSUCH'");
    expect(JSON.stringify(error) + String(error)).not.toContain('sam@');
  });
});
