import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { systemClock } from '../../src/clock.js';
import { startSandbox, type RunningSandbox } from '../../src/sandbox/sandbox.js';

// The built command, as users run it: `npm test` builds it first.
const command = new URL('../../dist/main.js', import.meta.url).pathname;

type Running = {
  readonly child: ChildProcess;
  readonly url: string;
  readonly lines: readonly string[];
  /** Resolves once the process has ended and its whole log is read. */
  readonly ended: Promise<unknown>;
  /** Resolves once a log line contains `text`. */
  logged(text: string): Promise<void>;
};

let sandbox: RunningSandbox;
let children: ChildProcess[];

beforeEach(async () => {
  children = [];
  sandbox = await startSandbox({ clock: systemClock, windows: 'off', importDelayMs: 50 });
});

afterEach(async () => {
  for (const child of children) {
    if (child.exitCode === null && child.signalCode === null) {
      child.kill('SIGKILL');
      await once(child, 'exit');
    }
  }
  await sandbox.close();
});

/** Starts the relay and waits for the log line with its URL. */
async function start(env: Record<string, string> = {}): Promise<Running> {
  const child = spawn(process.execPath, [command, 'start'], {
    env: {
      KLAVIYO_API_KEY: 'pk_test_1234',
      KLAVIYO_BASE_URL: sandbox.url,
      PORT: '0',
      STORE: 'memory',
      ...env,
    },
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  children.push(child);
  const lines: string[] = [];
  const reader = createInterface({ input: child.stdout });
  const ended = Promise.all([once(child, 'exit'), once(reader, 'close')]);
  const url = await new Promise<string>((resolve, reject) => {
    child.once('exit', (code) =>
      reject(new Error(`ended with ${String(code)}:\n${lines.join('\n')}`)),
    );
    reader.on('line', (line) => {
      lines.push(line);
      const { url: listening } = JSON.parse(line) as { url?: string };
      if (listening !== undefined) resolve(listening);
    });
  });
  const logged = (text: string): Promise<void> =>
    new Promise((resolve) => {
      const look = (): void => {
        if (lines.some((line) => line.includes(text))) resolve();
      };
      reader.on('line', look);
      look();
    });
  return { child, url, lines, ended, logged };
}

/** Makes the relay log its loaded CommonJS packages when it exits. */
const logPackages = `--import=data:text/javascript,${encodeURIComponent(`
  import { createRequire } from 'node:module';
  process.on('exit', () => {
    const files = Object.keys(createRequire('/').cache);
    const packages = files.map((file) => /.*node_modules[/]((?:@[^/]+[/])?[^/]+)/.exec(file)?.[1]);
    console.log(JSON.stringify({ packages: [...new Set(packages)] }));
  });
`)}`;

type Run = {
  readonly env?: Record<string, string>;
  /** File descriptor for stdout; a pipe by default. */
  readonly stdout?: number;
};

/** Runs a command until it ends. */
async function run(args: readonly string[], { env = {}, stdout: target }: Run = {}) {
  const child = spawn(process.execPath, [command, ...args], {
    env,
    stdio: ['ignore', target ?? 'pipe', 'pipe'],
  });
  children.push(child);
  let stdout = '';
  let stderr = '';
  child.stdout?.on('data', (part: Buffer) => (stdout += part.toString()));
  child.stderr?.on('data', (part: Buffer) => (stderr += part.toString()));
  await once(child, 'close');
  return { code: child.exitCode, stdout, stderr };
}

describe('a relay that gets SIGTERM under load', () => {
  it('delivers every event that was answered with 202 and exits with 0', async () => {
    const { child, url, lines, ended } = await start({ EVENT_FLUSH_INTERVAL_MS: '60000' });
    const acknowledged: string[] = [];
    let stopping = false;
    const poster = async (name: string): Promise<void> => {
      for (let number = 0; number < 5000; number++) {
        const insert_id = `${name}-${number}`;
        const body = JSON.stringify({ event_name: 'e', distinct_id: 'd', insert_id });
        const headers = { 'content-type': 'application/json' };
        const response = await fetch(`${url}/v1/events`, { method: 'POST', headers, body }).catch(
          () => null,
        );
        if (response?.status !== 202) return;
        acknowledged.push(insert_id);
        if (acknowledged.length === 1500 && !stopping) {
          stopping = true;
          child.kill('SIGTERM');
        }
      }
    };
    await Promise.all(['a', 'b', 'c', 'd'].map(poster));
    await ended;
    expect(child.exitCode).toBe(0);
    expect(acknowledged.length).toBeGreaterThanOrEqual(1500);
    const recorded = new Set(sandbox.state().events.map(({ uniqueId }) => uniqueId));
    expect(acknowledged.filter((id) => !recorded.has(id))).toEqual([]);
    expect(lines.join('\n')).not.toContain('"lost"');
  }, 60_000);

  it('ends at once at a second signal', async () => {
    sandbox.addFault({ endpoint: 'any', delayMs: 60_000 });
    const { child, url, ended, logged } = await start({ EVENT_FLUSH_INTERVAL_MS: '0' });
    const headers = { 'content-type': 'application/json' };
    await fetch(`${url}/v1/events`, {
      method: 'POST',
      headers,
      body: '{"event_name":"e","distinct_id":"d"}',
    });
    child.kill('SIGTERM');
    await logged('"stopping"');
    child.kill('SIGTERM');
    await ended;
    expect(child.exitCode).toBe(1);
  });
});

it('drafting threads process large batches, reject bad entries, backfill old ones, and end with the relay', async () => {
  const { child, url, ended } = await start({ WORKERS: '2', EVENT_FLUSH_INTERVAL_MS: '50' });
  const post = async (name: string) => {
    const entries = Array.from({ length: 1000 }, (_, number) =>
      number === 7
        ? { event_name: 'e' }
        : { ...toEvent(`${name}-${number}`), ...(number % 2 === 0 && { event_time: oldTime }) },
    );
    const headers = { 'content-type': 'application/json' };
    const response = await fetch(`${url}/v1/events/batch`, {
      ...{ method: 'POST', headers, body: JSON.stringify(entries) },
    });
    return { status: response.status, body: await response.json() };
  };
  const responses = await Promise.all(['a', 'b', 'c', 'd'].map(post));
  for (const response of responses) {
    expect(response).toMatchObject({
      status: 202,
      body: { accepted: 999, rejected: [{ index: 7 }] },
    });
  }
  child.kill('SIGTERM');
  await ended;
  expect(child.exitCode).toBe(0);
  const { events } = sandbox.state();
  const ids = events.map(({ uniqueId }) => uniqueId);
  expect(new Set(ids).size).toBe(4 * 999);
  expect(events.filter(({ backfill }) => backfill)).toHaveLength(4 * 500);
  for (const { time, backfill } of events) expect(time === oldTime).toBe(backfill);
}, 30_000);

const oldTime = '2020-05-01T00:00:00Z';
const toEvent = (insert_id: string): object => ({ event_name: 'e', distinct_id: 'd', insert_id });

it('the relay loads only packages that it runs, because each one costs start time and memory', async () => {
  const { child, url, lines, ended } = await start({ NODE_OPTIONS: logPackages });
  await fetch(`${url}/openapi.json`);
  child.kill('SIGTERM');
  await ended;
  const { packages } = JSON.parse(lines.at(-1) ?? '') as { packages: string[] };
  expect(packages).toContain('fastify');
  const unused = [
    '@fastify/ajv-compiler',
    '@fastify/fast-json-stringify-compiler',
    'ajv',
    'ioredis',
    'pino-pretty',
  ];
  expect(packages.filter((name) => unused.includes(name))).toEqual([]);
});

describe('the command', () => {
  it.each(['--help', 'start --help', 'sandbox --help', 'check --help', 'demo --help'])(
    '%s prints the usage',
    async (args) => {
      const { code, stdout } = await run(args.split(' '));
      expect(code).toBe(0);
      expect(stdout).toContain('Usage: klaviyo-relay');
    },
  );

  it('prints every problem of the configuration at once and no secret', async () => {
    const { code, stderr } = await run(['start'], {
      env: { KLAVIYO_API_KEY: 'secret-without-prefix', PORT: 'high', HOST: '0.0.0.0' },
    });
    expect(code).toBe(1);
    for (const name of ['KLAVIYO_API_KEY', 'PORT']) expect(stderr).toContain(name);
    expect(stderr).not.toContain('secret-without-prefix');
  });

  it('rejects an unknown command', async () => {
    const { code, stderr } = await run(['strat']);
    expect(code).toBe(2);
    expect(stderr).toContain('"strat"');
  });

  it('check prints the scopes of a key', async () => {
    const env = { KLAVIYO_API_KEY: 'pk_test_1234', KLAVIYO_BASE_URL: sandbox.url };
    const { code, stdout } = await run(['check'], { env });
    expect(stdout).toContain('events:write');
    expect(code).toBe(0);
    expect(sandbox.state().counters.recorded).toBe(0);
  });

  it('demo runs a small shop, shows that all events are accounted for, and ends', async () => {
    const { code, stdout } = await run(['demo', '--shoppers', '60']);
    expect(stdout).toContain('The counts add up');
    expect(code).toBe(0);
  });
});
