import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { systemClock } from '../../src/clock.js';
import { startSandbox, type RunningSandbox } from '../../src/sandbox/sandbox.js';
import { startRelayProcess, type RelayProcess } from '../support/relay-process.js';

let folder: string;
let sandbox: RunningSandbox;
let relay: RelayProcess;
let url: string;
const path = (name: string): string => join(folder, name);
const files = { RELAY_API_KEYS: 'ingest', RELAY_ADMIN_KEYS: 'admin', KLAVIYO_API_KEY: 'klaviyo' };

beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), 'relay-reload-'));
  writeFileSync(path('ingest'), 'ingest-key-1\n');
  writeFileSync(path('admin'), 'admin-key-1\n');
  writeFileSync(path('klaviyo'), 'pk_first_key\n');
  writeFileSync(path('mapping.yaml'), 'segment: { metrics: { Signed Up: First Name } }\n');
  sandbox = await startSandbox({ clock: systemClock });
  relay = startRelayProcess({
    klaviyoUrl: sandbox.url,
    dataDir: path('data'),
    env: {
      KLAVIYO_API_KEY: '',
      EVENT_FLUSH_INTERVAL_MS: '0',
      MAPPING_FILE: path('mapping.yaml'),
      ...Object.fromEntries(
        Object.entries(files).map(([name, file]) => [`${name}_FILE`, path(file)]),
      ),
    },
  });
  url = (await relay.listening)!;
});

afterEach(async () => {
  await relay.end('SIGKILL');
  await sandbox.close();
  rmSync(folder, { recursive: true });
});

/** Sends SIGHUP and resolves with the log line about its result. */
async function reload(): Promise<Record<string, unknown>> {
  const from = relay.lines.length;
  process.kill(relay.pid, 'SIGHUP');
  for (;;) {
    const line = relay.lines.slice(from).find((each) => each.includes('were read again'));
    if (line !== undefined) return JSON.parse(line) as Record<string, unknown>;
    await relay.nextLine();
  }
}

async function track(key: string): Promise<number> {
  const response = await fetch(`${url}/v1/track`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', authorization: `Bearer ${key}` },
    body: JSON.stringify({
      ...{ type: 'track', event: 'Signed Up', messageId: key },
      ...{ userId: 'u1', context: { traits: { email: 'ada@klaviyo-demo.com' } } },
    }),
  });
  return response.status;
}

it('SIGHUP reloads key files and the mapping file without a restart', async () => {
  expect(await track('ingest-key-1')).toBe(200);
  writeFileSync(path('ingest'), 'ingest-key-2\n');
  writeFileSync(path('klaviyo'), 'pk_second_key\n');
  writeFileSync(path('mapping.yaml'), 'segment: { metrics: { Signed Up: Second Name } }\n');
  expect(await reload()).toMatchObject({
    level: 'info',
    changed: ['KLAVIYO_API_KEY', 'RELAY_API_KEYS', 'MAPPING_FILE'],
  });
  expect(await track('ingest-key-1')).toBe(401);
  expect(await track('ingest-key-2')).toBe(200);
  const isRecorded = (): boolean =>
    sandbox.state().events.some(({ metric }) => metric === 'Second Name');
  while (!isRecorded()) await relay.nextLine();
  expect(relay.unexpectedEnd()).toBeNull();
  expect(relay.lines.join('\n')).not.toMatch(/ingest-key|pk_(?:first|second)/);
});

it('SIGHUP keeps the old settings and logs the reason if the new ones are invalid', async () => {
  writeFileSync(path('ingest'), 'short\n');
  writeFileSync(path('mapping.yaml'), 'segment: [\n');
  const line = await reload();
  expect(line).toMatchObject({ level: 'error' });
  expect(line.problems).toEqual([
    'RELAY_API_KEYS: each key must have at least 8 characters',
    expect.stringMatching(/^MAPPING_FILE: is neither YAML nor JSON/),
  ]);
  expect(await track('ingest-key-1')).toBe(200);
});
