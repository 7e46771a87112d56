import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { describe, expect, it, onTestFinished } from 'vitest';

/** Runs `klaviyo-relay sandbox` on a free port and returns its address. */
async function startSandboxCommand(...args: readonly string[]): Promise<string> {
  const command = ['dist/main.js', 'sandbox', '--port', '0', ...args];
  const child = spawn(process.execPath, command, { stdio: ['ignore', 'pipe', 'inherit'] });
  onTestFinished(async () => {
    child.kill();
    await once(child, 'exit');
  });
  for await (const line of createInterface({ input: child.stdout })) {
    const [url] = /http:\/\/\S+/.exec(line) ?? [];
    if (url !== undefined) return url;
  }
  throw new Error('the sandbox ended without an address');
}

type Asked = { readonly revision: string; readonly optsOut?: boolean };

/** The status for a revision, and the revision in the response. */
async function ask(url: string, { revision, optsOut = false }: Asked) {
  const response = await fetch(`${url}/api/metrics`, {
    headers: {
      authorization: 'Klaviyo-API-Key pk_test',
      revision,
      ...(optsOut && { 'x-klaviyo-revision-fall-forward-opt-out': '1' }),
    },
  });
  await response.arrayBuffer();
  return [response.status, response.headers.get('revision')];
}

/** A revision that is already retired by age. */
const old = '2023-10-15';

describe('klaviyo-relay sandbox', () => {
  it('serves every revision without --retire-by-age', async () => {
    const url = await startSandboxCommand();
    expect(await ask(url, { revision: old, optsOut: true })).toEqual([200, null]);
  });

  it('with --retire-by-age retires a revision two years after its release', async () => {
    const url = await startSandboxCommand('--retire-by-age');
    expect(await ask(url, { revision: old, optsOut: true })).toEqual([410, null]);
    expect(await ask(url, { revision: old })).toEqual([
      200,
      expect.stringMatching(/^20\d\d-\d\d-15$/),
    ]);
  });

  it('with --faults FILE retires the revision that a rule names, after skip requests', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'relay-sandbox-'));
    onTestFinished(() => rmSync(folder, { recursive: true }));
    const file = join(folder, 'faults.json');
    writeFileSync(
      file,
      JSON.stringify([{ skip: 1, retire: { revision: '2024-10-15', answer: 'gone' } }]),
    );
    const url = await startSandboxCommand('--faults', file);
    expect(await ask(url, { revision: '2024-10-15' })).toEqual([200, null]);
    expect(await ask(url, { revision: '2024-10-15' })).toEqual([410, null]);
    expect(await ask(url, { revision: '2025-01-15' })).toEqual([200, null]);
  });
});
