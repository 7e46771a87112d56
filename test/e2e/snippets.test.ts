import { execFile, spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { promisify } from 'node:util';
import { afterEach, describe, expect, it } from 'vitest';
import { startRelay, type RelayUnderTest } from '../support/relay.js';

const run = promisify(execFile);
const key = 'an-ingest-key';
let relay: RelayUnderTest;
afterEach(() => relay.stop());

/** Returns the only code block of a language that contains this text. */
function findSnippet(path: string, language: string, text: string): string {
  const page = readFileSync(path, 'utf8');
  const blocks = [...page.matchAll(/^```(\w+)\n(.*?)^```$/gms)]
    .filter(([, each, code = '']) => each === language && code.includes(text))
    .map(([, , code = '']) => code);
  expect(blocks).toHaveLength(1);
  return blocks[0] ?? '';
}

const isThere = (tool: string): boolean =>
  spawnSync('sh', ['-c', `command -v ${tool}`]).status === 0;

const toMetrics = () => relay.sandbox.state().events.map(({ metric }) => metric);

const guide = 'docs/guides/http-clients.md';

describe('the documentation', () => {
  it.runIf(isThere('curl') && isThere('gzip'))(
    'has curl commands that post the described entries',
    async () => {
      relay = await startRelay();
      const snippet = findSnippet('docs/getting-started.md', 'sh', 'curl -X POST').replaceAll(
        'http://127.0.0.1:3000',
        relay.app.url,
      );
      const { stdout } = await run('sh', ['-eu', '-c', snippet]);
      expect(stdout.match(/"status":"accepted"/g)).toHaveLength(2);
      expect(stdout).toContain('{"accepted":2,"duplicates":0,"rejected":[]}');
      await relay.untilSettled();
      expect(toMetrics().sort()).toEqual(['Placed Order', 'Viewed Product', 'Viewed Product']);
    },
  );

  it.runIf(isThere('python3'))('has a Python program that posts an event with a key', async () => {
    relay = await startRelay({ env: { RELAY_API_KEYS: key } });
    const env = { ...process.env, RELAY_URL: relay.app.url, RELAY_KEY: key };
    const { stdout } = await run('python3', ['-c', findSnippet(guide, 'python', 'urllib')], {
      env,
    });
    expect(stdout).toContain("'status': 'accepted'");
    await relay.untilSettled();
    expect(toMetrics()).toEqual(['Placed Order']);
  });

  it('has a Node.js program that posts an event with a key', async () => {
    relay = await startRelay({ env: { RELAY_API_KEYS: key } });
    const env = { ...process.env, RELAY_URL: relay.app.url, RELAY_KEY: key };
    const args = ['--input-type=module', '-e', findSnippet(guide, 'js', 'fetch')];
    const { stdout } = await run(process.execPath, args, { env });
    expect(stdout).toContain("status: 'accepted'");
    await relay.untilSettled();
    expect(toMetrics()).toEqual(['Placed Order']);
  });
});
