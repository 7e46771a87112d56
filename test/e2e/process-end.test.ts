import { execFileSync, spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, mkdtempSync, openSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, type AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';

// The built command, as users run it: `npm test` builds it first.
const command = new URL('../../dist/main.js', import.meta.url).pathname;

let directory: string;
let closers: (() => unknown)[];

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'relay-end-'));
  closers = [() => rmSync(directory, { recursive: true, force: true })];
});

afterEach(async () => {
  for (const close of closers.reverse()) await close();
});

type Options = {
  readonly env?: Record<string, string>;
  /** File descriptor for stdout; a pipe by default. */
  readonly stdout?: number;
};

type Running = {
  readonly child: ChildProcess;
  readonly stdout: () => string;
  readonly stderr: () => string;
  /** Resolves with the exit code or signal of the process, and the ms from the call to its end. */
  ended(): Promise<{ readonly by: number | string | null; readonly afterMs: number }>;
  /** Resolves once stdout contains the text. */
  printed(text: string): Promise<void>;
};

const start = (args: readonly string[], options: Options = {}): Running =>
  spawnNode([command, ...args], options);

function spawnNode(args: readonly string[], { env = {}, stdout: target }: Options = {}): Running {
  const child = spawn(process.execPath, args, {
    env: {
      TMPDIR: directory,
      KLAVIYO_API_KEY: 'pk_test_1234',
      KLAVIYO_BASE_URL: 'http://127.0.0.1:9',
      PORT: '0',
      DATA_DIR: join(directory, 'data'),
      DISK_RESERVE_BYTES: '1000000',
      ...env,
    },
    stdio: ['ignore', target ?? 'pipe', 'pipe'],
  });
  const over = Promise.all([
    once(child, 'exit'),
    ...[child.stdout, child.stderr].map((stream) => stream && once(stream, 'close')),
  ]);
  closers.push(async () => {
    child.kill('SIGKILL');
    child.stdout?.destroy();
    await over;
  });
  let stdout = '';
  let stderr = '';
  child.stdout?.on('data', (part: Buffer) => (stdout += part.toString()));
  child.stderr?.on('data', (part: Buffer) => (stderr += part.toString()));
  return {
    child,
    stdout: () => stdout,
    stderr: () => stderr,
    async ended() {
      const from = performance.now();
      if (child.exitCode === null && child.signalCode === null) await once(child, 'exit');
      return { by: child.exitCode ?? child.signalCode, afterMs: performance.now() - from };
    },
    async printed(text) {
      while (!stdout.includes(text) && child.exitCode === null) {
        await Promise.race([child.stdout && once(child.stdout, 'data'), once(child, 'exit')]);
      }
      expect(stdout).toContain(text);
    },
  };
}

/** Runs a test service in place of a command. `directory` contains a pipe that no process opens for writing. */
function startService(service: string, stopLimitMs = 500): Running {
  const built = (path: string): string => new URL(`../../dist/${path}`, import.meta.url).href;
  const pipe = join(directory, 'pipe');
  execFileSync('mkfifo', [pipe]);
  const code = `
    import { open } from 'node:fs';
    import { openOutputs, runService } from '${built('cli/service.js')}';
    import { systemClock } from '${built('clock.js')}';
    // Blocks a thread of the pool: open(2) waits for a writer.
    const holdThread = () => open('${pipe}', 'r', () => undefined);
    await runService({
      ...openOutputs(systemClock),
      clock: systemClock,
      redact: (text) => text,
      stopLimitMs: ${stopLimitMs},
      start: async () => { setTimeout(() => console.log('started')); setInterval(() => {}, 1000); return (${service}); },
    });`;
  return spawnNode(['--input-type=module', '-e', code]);
}

const urlOf = ({ stdout }: Running): string => /"url":"([^"]+)"/.exec(stdout())?.[1] ?? '';

const startRelay = async (env: Record<string, string> = {}): Promise<Running> => {
  const running = start(['start'], { env: { STORE: 'memory', WORKERS: '0', ...env } });
  await running.printed('relay is listening');
  return running;
};

async function findFreePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  await once(server.close(), 'close');
  return port;
}

/** Returns a port on which a server listens. */
async function listenOnPort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  closers.push(() => server.close());
  return (server.address() as AddressInfo).port;
}

const openFull = (): number => {
  const fd = openSync('/dev/full', 'w');
  closers.push(() => closeSync(fd));
  return fd;
};

const fatalSignals = ['SIGSEGV', 'SIGBUS', 'SIGILL', 'SIGFPE', 'SIGABRT', 'SIGTRAP'] as const;

describe('a fatal signal', () => {
  it.each(fatalSignals)('%s ends the relay at once by that signal', async (signal) => {
    const relay = await startRelay();
    relay.child.kill(signal);
    const { by, afterMs } = await relay.ended();
    expect(by).toBe(signal);
    expect(afterMs).toBeLessThan(3000);
  });

  it.each(fatalSignals)('%s ends the sandbox at once by that signal', async (signal) => {
    const sandbox = start(['sandbox', '--port', '0']);
    await sandbox.printed('Klaviyo sandbox on');
    sandbox.child.kill(signal);
    const { by, afterMs } = await sandbox.ended();
    expect(by).toBe(signal);
    expect(afterMs).toBeLessThan(3000);
  });

  it('ends the demo at once by that signal', async () => {
    const demo = start(['demo']);
    await demo.printed('relay: http');
    demo.child.kill('SIGSEGV');
    expect((await demo.ended()).by).toBe('SIGSEGV');
  });
});

describe('a command that cannot start', () => {
  it('exits start with code 1 and writes the reason to stderr and the log if the port is in use', async () => {
    const port = String(await listenOnPort());
    const relay = start(['start'], { env: { PORT: port } });
    expect((await relay.ended()).by).toBe(1);
    expect(relay.stderr()).toMatch(/^klaviyo-relay: listen EADDRINUSE: [^\n]+\n$/);
    expect(relay.stdout()).toContain('"level":"fatal"');
    const next = start(['start']);
    await next.printed('relay is listening');
  });

  it('exits start with code 1 and writes the reason to stderr if the machine does not have the address', async () => {
    const relay = start(['start'], { env: { HOST: '192.0.2.1', RELAY_API_KEYS: 'k'.repeat(32) } });
    expect((await relay.ended()).by).toBe(1);
    expect(relay.stderr()).toContain('EADDRNOTAVAIL');
  });

  it('exits start with code 1 and writes the reason to stderr if the log cannot be written either', async () => {
    const path = join(directory, 'file');
    writeFileSync(path, '');
    const relay = start(['start'], { env: { DATA_DIR: path }, stdout: openFull() });
    expect((await relay.ended()).by).toBe(1);
    expect(relay.stderr()).toContain(path);
  });

  it('exits start after SIGTERM while it waits for a Redis that does not answer', async () => {
    const silent = await listenOnPort();
    const relay = start(['start'], {
      env: {
        STORE: 'redis',
        REDIS_URL: `redis://127.0.0.1:${silent}/0`,
        REDIS_TIMEOUT_MS: '600000',
        NODE_OPTIONS: `--import=data:text/javascript,${encodeURIComponent(
          "import net from 'node:net'; const connect = net.Socket.prototype.connect; net.Socket.prototype.connect = function (...args) { console.log('connects'); return connect.apply(this, args); };",
        )}`,
      },
    });
    await relay.printed('connects');
    relay.child.kill('SIGTERM');
    const { by, afterMs } = await relay.ended();
    expect(by).toBe(0);
    expect(afterMs).toBeLessThan(8000);
  });

  it('exits sandbox with code 1 and writes the reason to stderr if the port is in use', async () => {
    const sandbox = start(['sandbox', '--port', String(await listenOnPort())]);
    expect((await sandbox.ended()).by).toBe(1);
    expect(sandbox.stderr()).toMatch(/^klaviyo-relay: listen EADDRINUSE: [^\n]+\n$/);
  });

  it('exits demo with code 1 and writes the reason to stderr if its journal cannot be created', async () => {
    const demo = start(['demo'], { env: { TMPDIR: join(directory, 'missing') } });
    expect((await demo.ended()).by).toBe(1);
    expect(demo.stderr()).toMatch(/^klaviyo-relay: ENOENT: [^\n]+\n$/);
  });

  it('exits check with code 1 and writes the reason to stderr if stdout cannot be written', async () => {
    const check = start(['check', '--offline'], { stdout: openFull() });
    expect((await check.ended()).by).toBe(1);
    expect(check.stderr()).toContain('stdout cannot be written: ENOSPC');
  });
});

describe('a service', () => {
  const isOver =
    (limitMs: number) =>
    ({ afterMs }: { afterMs: number }) =>
      afterMs < limitMs;

  it.each([
    ['never resolves', '{ stop: () => new Promise(() => undefined) }'],
    ['never resolves and holds a thread', '{ stop: () => new Promise(() => void holdThread()) }'],
  ])(
    'whose stop %s is killed once the stop is overdue and writes the reason to stderr',
    async (_what, service) => {
      const running = startService(service);
      await running.printed('started');
      running.child.kill('SIGTERM');
      const end = await running.ended();
      expect(end.by).toBe('SIGKILL');
      expect(end).toSatisfy(isOver(4000));
      expect(running.stderr()).toBe('klaviyo-relay: the stop failed: it took longer than 500 ms\n');
    },
  );

  it.each([
    ['rejects', "{ stop: async () => { throw new Error('no luck'); } }"],
    ['throws', "{ stop() { throw new Error('no luck'); } }"],
  ])(
    'whose stop %s ends with exit code 1 and writes the reason to stderr',
    async (_what, service) => {
      const running = startService(service);
      await running.printed('started');
      running.child.kill('SIGTERM');
      expect((await running.ended()).by).toBe(1);
      expect(running.stderr()).toBe('klaviyo-relay: the stop failed: no luck\n');
    },
  );

  it('that has stopped while a pool thread is blocked is killed at the time limit of its stop', async () => {
    const running = startService('{ stop: async () => holdThread() }');
    await running.printed('started');
    running.child.kill('SIGTERM');
    const end = await running.ended();
    expect(end.by).toBe('SIGKILL');
    expect(end).toSatisfy(isOver(4000));
  });

  it('ends at once at a second signal although a pool thread is blocked', async () => {
    const running = startService(
      "{ stop() { holdThread(); console.log('stopping'); return new Promise(() => undefined); } }",
      600_000,
    );
    await running.printed('started');
    running.child.kill('SIGTERM');
    await running.printed('stopping');
    running.child.kill('SIGTERM');
    expect((await running.ended()).by).toBe('SIGKILL');
    expect(running.stderr()).toContain('a second signal');
  });
});

const post = async (url: string, body: object): Promise<number> => {
  const headers = { 'content-type': 'application/json' };
  const response = await fetch(`${url}/v1/events`, {
    ...{ method: 'POST', headers, body: JSON.stringify(body) },
  });
  await response.text();
  return response.status;
};

const anEvent = { event_name: 'e', distinct_id: 'd' };

async function countDropped(url: string): Promise<number> {
  const text = await (await fetch(`${url}/metrics`)).text();
  return Number(/^relay_log_lines_dropped_total (\d+)$/m.exec(text)?.[1]);
}

describe('a relay', () => {
  it('works with a log on a full volume and counts the lines it drops from the start on', async () => {
    const port = await findFreePort();
    const url = `http://127.0.0.1:${port}`;
    const relay = start(['start'], { env: { PORT: String(port) }, stdout: openFull() });
    let dropped = 0;
    while (dropped === 0 && relay.child.exitCode === null) {
      dropped = await countDropped(url).catch(() => 0);
    }
    expect(dropped).toBeGreaterThan(0);
    expect(await post(url, anEvent)).toBe(202);
    relay.child.kill('SIGTERM');
    expect((await relay.ended()).by).toBe(0);
  });

  it('works with a log whose reader has ended and counts the lines it drops', async () => {
    const relay = await startRelay();
    const url = urlOf(relay);
    relay.child.stdout?.destroy();
    relay.child.stderr?.destroy();
    for (let number = 0; number < 5; number++) expect(await post(url, {})).toBe(400);
    expect(await post(url, anEvent)).toBe(202);
    relay.child.kill('SIGTERM');
    expect((await relay.ended()).by).toBe(0);
  });

  it('answers requests and stops although the reader of its log has stopped reading', async () => {
    const relay = await startRelay();
    const url = urlOf(relay);
    relay.child.stdout?.pause();
    // One line per request, about 190 bytes: more than the pipe and the read buffer of Node.js hold.
    for (let round = 0; round < 20; round++) {
      const statuses = await Promise.all(Array.from({ length: 25 }, () => post(url, {})));
      expect(new Set(statuses)).toEqual(new Set([400]));
    }
    expect(await post(url, anEvent)).toBe(202);
    relay.child.kill('SIGTERM');
    expect((await relay.ended()).by).toBe(0);
  }, 60_000);
});

it('the demo ends without a stack trace if the reader of its output ends early', async () => {
  const demo = start(['demo', '--shoppers', '20']);
  await demo.printed('relay: http');
  demo.child.stdout?.destroy();
  expect((await demo.ended()).by).toBe(0);
  expect(demo.stderr()).toBe('');
}, 60_000);
