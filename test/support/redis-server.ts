import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';

/** A real redis-server for one test, on a free loopback port and with its own directory. */
export type RedisServer = {
  readonly port: number;
  readonly directory: string;
  readonly url: string;
  readonly pid: number;
  /** Sends SIGKILL. Resolves once the process has ended. */
  kill(): Promise<void>;
  /** Sends SIGTERM: the server waits for its replicas. Resolves once the process has ended. */
  stop(): Promise<void>;
  /** Starts the server again on the same port and directory. Resolves once it accepts connections. */
  start(): Promise<void>;
  /** Sends SIGSTOP: connections stay open, and the server answers nothing. */
  freeze(): void;
  thaw(): void;
  /** Kills the server and removes its directory. */
  close(): Promise<void>;
};

export type RedisServerOptions = {
  /** Settings of redis.conf, such as `{ maxmemory: '4mb' }`. */
  readonly settings?: Readonly<Record<string, string>>;
  /** Further command line arguments. */
  readonly args?: readonly string[];
  /** ACL rules, one string per user. */
  readonly users?: readonly string[];
  /** Path of a Sentinel configuration. */
  readonly config?: string;
};

/** The server that the tests run; REDIS_SERVER names another one, such as a path to valkey-server. */
const command = process.env.REDIS_SERVER ?? 'redis-server';

/** Every write is synced before it is acknowledged, as the relay requires. */
const durable = { appendonly: 'yes', appendfsync: 'always', 'maxmemory-policy': 'noeviction' };

export async function startRedis({
  settings = {},
  users = [],
  args = [],
  config,
}: RedisServerOptions = {}): Promise<RedisServer> {
  const directory = mkdtempSync(join(tmpdir(), 'relay-redis-'));
  const port = await findFreePort();
  const place = { port: String(port), bind: '127.0.0.1', dir: directory };
  const flags =
    config === undefined
      ? [...toFlags({ ...durable, save: '', ...place, ...settings }), ...users.flatMap(toUser)]
      : [config, '--sentinel', ...toFlags(place)];
  let child: ChildProcess | null = null;

  const start = async (): Promise<void> => {
    const started = spawn(command, [...flags, ...args], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    child = started;
    await untilReady(started);
  };
  const end = async (signal: 'SIGKILL' | 'SIGTERM'): Promise<void> => {
    const ending = child;
    child = null;
    if (ending?.exitCode !== null || ending.signalCode !== null) return;
    const exited = once(ending, 'exit');
    ending.kill(signal);
    await exited;
  };
  const kill = (): Promise<void> => end('SIGKILL');
  await start();
  return {
    port,
    directory,
    url: `redis://127.0.0.1:${port}/0`,
    get pid() {
      return child?.pid ?? 0;
    },
    kill,
    stop: () => end('SIGTERM'),
    start,
    freeze: () => void child?.kill('SIGSTOP'),
    thaw: () => void child?.kill('SIGCONT'),
    async close() {
      await kill();
      // A child process that rewrites the file may outlive the server briefly.
      rmSync(directory, { recursive: true, force: true, maxRetries: 10, retryDelay: 50 });
    },
  };
}

const toUser = (rules: string): readonly string[] => ['--user', ...rules.split(' ')];

const toFlags = (settings: Readonly<Record<string, string>>): readonly string[] =>
  Object.entries(settings).flatMap(([name, value]) => [`--${name}`, ...value.split(' ')]);

async function untilReady(child: ChildProcess): Promise<void> {
  const output: string[] = [];
  const failed = new Promise<never>((_resolve, reject) => {
    child.once('error', (error) =>
      reject(
        'code' in error && error.code === 'ENOENT'
          ? new Error(`${command} is missing: apt-get install redis-server`)
          : error,
      ),
    );
    child.once('exit', (code) =>
      reject(new Error(`${command} ended with ${String(code)}:\n${output.join('\n')}`)),
    );
  });
  failed.catch(() => undefined);
  if (child.stdout === null) throw new Error('the process has no output pipe');
  const ready = new Promise<void>((resolve) => {
    // Reading continues after the server is ready; otherwise the pipe would fill up.
    createInterface({ input: child.stdout as NodeJS.ReadableStream }).on('line', (line) => {
      output.push(line);
      if (/Ready to accept connections|sentinel new epoch|Sentinel ID/i.test(line)) resolve();
    });
  });
  await Promise.race([ready, failed]);
}

/** Ports below the kernel's range for outgoing connections, which could occupy a free port first. */
const firstPort = 10_000;
const portCount = 20_000;
/** Test processes start at different ports. */
let nextPort = (process.pid * 101) % portCount;

export async function findFreePort(): Promise<number> {
  for (;;) {
    const port = firstPort + nextPort;
    nextPort = (nextPort + 1) % portCount;
    if (await isFree(port)) return port;
  }
}

function isFree(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const server = createServer();
    server.once('error', () => resolve(false));
    server.listen(port, '127.0.0.1', () => server.close(() => resolve(true)));
  });
}
