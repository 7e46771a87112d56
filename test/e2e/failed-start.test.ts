import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, type AddressInfo, type Server } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pino } from 'pino';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { startApp, type App } from '../../src/app/app.js';
import { systemClock } from '../../src/clock.js';
import { loadConfig } from '../../src/config/config.js';

let directory: string;
let closers: (() => unknown)[];

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'relay-start-'));
  closers = [() => rmSync(directory, { recursive: true })];
});

afterEach(async () => {
  for (const close of closers.reverse()) await close();
});

type Start = {
  readonly env?: Record<string, string>;
  /** Receives each log line. May throw. */
  readonly write?: (line: string) => void;
  readonly signal?: AbortSignal;
};

/** Starts a relay with a journal, which is stopped after the test. */
async function start({ env = {}, write = () => undefined, signal }: Start): Promise<App> {
  const app = await startApp({
    config: loadConfig({
      KLAVIYO_API_KEY: 'pk_test_1234',
      KLAVIYO_BASE_URL: 'http://127.0.0.1:9',
      PORT: '0',
      DATA_DIR: directory,
      WORKERS: '0',
      ...env,
    }),
    clock: systemClock,
    random: Math.random,
    newId: () => 'id',
    log: pino({ level: 'debug' }, { write }),
    droppedLogLines: () => 0,
    version: 'test',
    onFatal: (error) => expect.unreachable(String(error)),
    ...(signal && { signal }),
  });
  closers.push(() => app.stop());
  return app;
}

async function listen(port: number): Promise<Server> {
  const server = createServer().listen(port, '127.0.0.1');
  await once(server, 'listening');
  return server;
}

/** Resolves with a port on which no server listens. */
async function findFreePort(): Promise<number> {
  const server = await listen(0);
  const { port } = server.address() as AddressInfo;
  await once(server.close(), 'close');
  return port;
}

const closeServer = async (server: Server): Promise<void> => {
  await once(server.close(), 'close');
};

describe('a start that fails', () => {
  it('releases the journal if the port is in use, so that the next start succeeds', async () => {
    const holder = await listen(0);
    const { port } = holder.address() as AddressInfo;
    await expect(start({ env: { PORT: String(port) } })).rejects.toThrow('EADDRINUSE');
    await closeServer(holder);
    const app = await start({ env: { PORT: String(port) } });
    expect((await fetch(`${app.url}/livez`)).status).toBe(200);
  });

  it('releases the port and the journal if it fails after it listens', async () => {
    const port = await findFreePort();
    const failing = start({
      env: { PORT: String(port) },
      write: (line) => {
        if (line.includes('relay is listening')) throw new Error('the log is at fault');
      },
    });
    await expect(failing).rejects.toThrow('the log is at fault');
    closers.push(closeServer.bind(null, await listen(port)));
    await start({});
  });

  it('opens nothing if the data directory is a file', async () => {
    const path = join(directory, 'file');
    writeFileSync(path, '');
    await expect(start({ env: { DATA_DIR: path } })).rejects.toThrow(path);
  });
});

describe('a start that is aborted', () => {
  it('rejects with the reason and releases the journal', async () => {
    const port = await findFreePort();
    const giveUp = new AbortController();
    giveUp.abort(new Error('SIGTERM'));
    await expect(start({ env: { PORT: String(port) }, signal: giveUp.signal })).rejects.toThrow(
      'SIGTERM',
    );
    closers.push(closeServer.bind(null, await listen(port)));
    await start({});
  });
});
