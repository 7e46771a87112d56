import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { builtCommand } from '../support/strace.js';

let directory: string;
let children: ChildProcess[];

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'relay-two-'));
  children = [];
});

afterEach(async () => {
  for (const child of children) await kill(child);
  rmSync(directory, { recursive: true });
});

type Started = {
  readonly child: ChildProcess;
  /** Resolves with the URL of a relay that serves, or with the exit code and stderr of one that has ended. */
  readonly fate: Promise<
    { readonly url: string } | { readonly code: number; readonly why: string }
  >;
};

function start(dataDir: string): Started {
  const child = spawn(process.execPath, [builtCommand, 'start'], {
    env: {
      KLAVIYO_API_KEY: 'pk_test_1234',
      KLAVIYO_BASE_URL: 'http://127.0.0.1:9',
      KLAVIYO_REVISION: '2026-07-15',
      PORT: '0',
      DATA_DIR: dataDir,
      DISK_RESERVE_BYTES: '1000000',
    },
    cwd: directory,
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  children.push(child);
  let stdout = '';
  let why = '';
  child.stderr.on('data', (part: Buffer) => (why += part.toString()));
  const fate = new Promise<Awaited<Started['fate']>>((resolve) => {
    child.stdout.on('data', (part: Buffer) => {
      stdout += part.toString();
      const url = /"url":"([^"]+)"/.exec(stdout)?.[1];
      if (url !== undefined) resolve({ url });
    });
    child.once('close', (code) => resolve({ code: code ?? -1, why }));
  });
  return { child, fate };
}

async function kill(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const over = once(child, 'exit');
  child.kill('SIGKILL');
  await over;
}

async function post(url: string, insertId: string): Promise<number> {
  const response = await fetch(`${url}/v1/events`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ event_name: 'e', distinct_id: 'd', insert_id: insertId }),
  });
  await response.text();
  return response.status;
}

const rounds = 3;

it.each([
  ['a new directory', (round: number) => `new-${round}`],
  ['an existing journal', () => 'one'],
])(
  'of two relays that start at once on %s, one serves and the other ends and names the first',
  async (_what, toName) => {
    for (let round = 0; round < rounds; round++) {
      const dataDir = join(directory, toName(round));
      const both = [start(dataDir), start(dataDir)];
      const fates = await Promise.all(both.map(({ fate }) => fate));
      const serving = fates.flatMap((fate) => ('url' in fate ? [fate.url] : []));
      const ended = fates.flatMap((fate) => ('url' in fate ? [] : [fate]));
      expect(serving, JSON.stringify(fates)).toHaveLength(1);
      const holder = both[fates.findIndex((fate) => 'url' in fate)];
      expect(ended).toMatchObject([{ code: 1 }]);
      expect(ended[0]?.why).toContain(`is held by process ${holder?.child.pid} on `);
      // A round on the same journal finds what the ones before were given.
      expect(await post(serving[0] ?? '', `i-${round}`)).toBe(202);
      for (const { child } of both) await kill(child);
    }
  },
  120_000,
);
