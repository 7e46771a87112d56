import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { runCommand, startRelayProcess, type RelayProcess } from '../support/relay-process.js';

let dataDir: string;
let relay: RelayProcess | undefined;

beforeEach(() => {
  dataDir = mkdtempSync(join(tmpdir(), 'relay-store-command-'));
});
afterEach(async () => {
  await relay?.end('SIGKILL');
  relay = undefined;
  rmSync(dataDir, { recursive: true, force: true });
});

/** Starts a relay that accepts one event and cannot reach Klaviyo. */
async function startWithOne(): Promise<void> {
  relay = startRelayProcess({ klaviyoUrl: 'http://127.0.0.1:9', dataDir });
  const response = await fetch(`${(await relay.listening) ?? ''}/v1/events`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: '{"event_name":"Viewed","distinct_id":"c1","properties":{"n":12345678901234567890}}',
  });
  expect(response.status).toBe(202);
}

describe('klaviyo-relay store', () => {
  it('checks and exports the store of a killed relay', async () => {
    await startWithOne();
    await relay?.end('SIGKILL');
    const checked = await runCommand(['store', 'check', dataDir]);
    expect(checked.output).toContain('events: 1 unsettled');
    expect(checked.output).toContain('\n0 facts\n');
    expect(checked.output).toContain('ok: everything can be read');
    expect(checked.code).toBe(0);
    const exported = await runCommand(['store', 'export', dataDir]);
    expect(exported.code).toBe(0);
    expect(exported.output).toContain('"properties":{"n":12345678901234567890}');
    expect(JSON.parse(exported.output)).toMatchObject({ kind: 'envelope', lane: 'events' });
  });

  it('reports which process holds the directory of a running relay', async () => {
    await startWithOne();
    const { code, output } = await runCommand(['store', 'check', dataDir]);
    expect(code).toBe(1);
    expect(output).toContain(`DATA_DIR ${dataDir} is held by process ${String(relay?.pid)} on `);
  });

  it.each([[[]], [['repair']], [['check', 'a', 'b']]])('%j prints the usage', async (args) => {
    const { code, output } = await runCommand(['store', ...args]);
    expect(code).toBe(2);
    expect(output).toContain('Usage: klaviyo-relay store check|export');
  });
});

describe('klaviyo-relay start', () => {
  it('changes no directory if the configuration is invalid', async () => {
    const path = join(dataDir, 'journal');
    relay = startRelayProcess({ klaviyoUrl: 'no URL', dataDir: path });
    await expect(relay.listening).rejects.toThrow('ended by itself');
    expect(existsSync(path)).toBe(false);
  });

  it('rejects a directory with unrelated content and reports it', async () => {
    writeFileSync(join(dataDir, 'precious.db'), '');
    relay = startRelayProcess({ klaviyoUrl: 'http://127.0.0.1:9', dataDir });
    await expect(relay.listening).rejects.toThrow('ended by itself');
    const { output } = await runCommand(['store', 'check', dataDir]);
    expect(output).toContain('holds no journal');
  });
});
