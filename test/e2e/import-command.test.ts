import { once } from 'node:events';
import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { aProblem, startFarSide, takeAll } from '../import/fixture.js';
import { startRelay } from '../support/relay.js';

const command = new URL('../../dist/main.js', import.meta.url).pathname;

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'relay-import-command-'));
});
afterEach(() => rmSync(folder, { recursive: true }));

function aFile(name: string, text: string): string {
  const path = join(folder, name);
  writeFileSync(path, text);
  return path;
}

function start(args: readonly string[], { stdin = '', env = {} } = {}) {
  const child = spawn(process.execPath, [command, 'import', ...args], { env, cwd: folder });
  child.stdin.end(stdin);
  let [output, errors] = ['', ''];
  child.stdout.on('data', (part: Buffer) => (output += part.toString()));
  child.stderr.on('data', (part: Buffer) => (errors += part.toString()));
  const ended = once(child, 'close').then(() => ({ code: child.exitCode, output, errors }));
  return { child, ended };
}

const run = (...args: Parameters<typeof start>) => start(...args).ended;

const events = (count: number): string =>
  Array.from({ length: count }, (_, at) => `{"event_name":"e","distinct_id":"c${at}"}\n`).join('');

describe('klaviyo-relay import', () => {
  it('ends with 0 where all is taken, and with 3 where some is refused', async () => {
    const relay = await startRelay({ env: { RELAY_API_KEYS: 'ingest-key-1' } });
    const env = { RELAY_URL: `${relay.app.url}/`, RELAY_API_KEY: 'ingest-key-1' };
    const good = await run([aFile('a.jsonl', events(3))], { env });
    expect(good).toMatchObject({
      code: 0,
      output: expect.stringContaining('accepted    3') as string,
    });
    const keyFile = aFile('key', 'ingest-key-1\n');
    const stdin = 'event_name;email\ne;ada@klaviyo-demo.com\ne;ada\n';
    const bad = await run(
      ['-', '--format', 'csv', '--delimiter', ';', '--url', relay.app.url, '--key-file', keyFile],
      { stdin },
    );
    expect(bad.output).toContain('refused     1, with the reasons in import.rejected.ndjson');
    expect(bad.code).toBe(3);
    await relay.stop();
  });

  it.each([
    ['no option', [], [true, true]],
    ['--backfill age', ['--backfill', 'age'], [true, false]],
    ['--backfill none', ['--backfill', 'none'], [false, false]],
  ] as const)('with %s has Klaviyo trigger the flows it should', async (_what, options, flows) => {
    const relay = await startRelay();
    const times = ['2020-05-01T00:00:00Z', '2026-11-01T11:00:00Z'];
    const lines = times.map((event_time, insert_id) =>
      JSON.stringify({ event_name: 'e', distinct_id: 'c', event_time, insert_id }),
    );
    const args = [aFile('a.ndjson', lines.join('\n')), '--url', relay.app.url, ...options];
    expect(await run(args)).toMatchObject({ code: 0 });
    await relay.untilSettled();
    const { events: recorded } = relay.sandbox.state();
    expect(recorded.map(({ backfill }) => backfill)).toEqual(flows);
    await relay.stop();
  });

  it('ends with 1 where it stops, and goes on where it did', async () => {
    const path = aFile('a.ndjson', events(7));
    let isKnown = true;
    const { url, received } = await startFarSide((one, index) => {
      isKnown = index !== 1;
      return isKnown ? takeAll(one) : { status: 401, body: aProblem('unauthorized', 'no') };
    });
    const args = [path, '--url', url, '--batch', '3'];
    const first = await run(args);
    expect(first.code).toBe(1);
    expect(first.output).toContain('up to line 3, then it stopped: it answers 401: no');
    const second = await run(args);
    expect(second).toMatchObject({
      code: 0,
      output: expect.stringContaining('read        7') as string,
    });
    expect(received.map(({ lines }) => lines.length)).toEqual([3, 3, 3, 1]);
  });

  it.each(['SIGINT', 'SIGTERM'] as const)('finishes its batch at %s', async (signal) => {
    const path = aFile('a.ndjson', events(9));
    const running: { kill?: () => void } = {};
    const { url } = await startFarSide((one) => {
      running.kill?.();
      return takeAll(one);
    });
    const { child, ended } = start([path, '--url', url, '--batch', '1']);
    running.kill = () => child.kill(signal);
    const { code, output } = await ended;
    expect(code).toBe(1);
    expect(output).toMatch(
      /up to line \d, then it stopped: told to stop. The same command goes on/,
    );
    running.kill = () => undefined;
    expect((await run([path, '--url', url])).output).toContain('accepted    9');
  });

  it.each<[string, readonly string[], Record<string, string>, string]>([
    ['no file', [], {}, 'name one file'],
    ['two files', ['a.csv', 'b.csv'], {}, 'name one file'],
    ['an option that is none', ['a.csv', '--key', 'hunter2'], {}, 'no option --key'],
    ['a type that is none', ['a.csv', '--type', 'orders'], {}, '--type must be events or profiles'],
    ['a name that tells no format', ['a.txt'], {}, '--format ndjson or --format csv'],
    ['a long delimiter', ['a.csv', '--delimiter', 'ab'], {}, '--delimiter must be one character'],
    [
      'a quote as delimiter',
      ['a.csv', '--delimiter', '"'],
      {},
      '--delimiter must be one character',
    ],
    ['no URL', ['a.csv', '--url', 'relay:3000'], {}, '--url must be an http or https URL'],
    [
      'a password in the URL',
      ['a.csv', '--url', 'http://u:hunter2@x'],
      {},
      'without user, password',
    ],
    ['a batch of none', ['a.csv', '--batch', '0'], {}, '--batch must be a whole number'],
    [
      'two keys',
      ['a.csv', '--key-file', 'k'],
      { RELAY_API_KEY: 'x' },
      'RELAY_API_KEY or --key-file',
    ],
    [
      'a backfill that is none',
      ['a.csv', '--backfill', 'yes'],
      {},
      '--backfill must be all or age or none',
    ],
    ['a key file that is not there', ['a.csv', '--key-file', 'k'], {}, '--key-file cannot be read'],
    ['a key of two words', ['a.csv'], { RELAY_API_KEY: 'hunter2 x' }, 'the key must be one word'],
  ])('ends with 2 at %s, and shows no secret', async (_, args, env, words) => {
    const { code, errors } = await run(args, { env });
    expect(code).toBe(2);
    expect(errors).toContain(words);
    expect(errors).not.toContain('hunter2');
  });
});
