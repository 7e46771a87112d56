import { once } from 'node:events';
import { mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { type AddressInfo, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it, onTestFinished } from 'vitest';
import { checkAll } from '../../src/cli/check.js';
import type { Finding } from '../../src/cli/checks.js';
import { systemClock } from '../../src/clock.js';
import { loadConfig } from '../../src/config/config.js';
import { startSandbox } from '../../src/sandbox/sandbox.js';
import { startRedis } from '../support/redis-server.js';
import { runCommand, startRelayProcess } from '../support/relay-process.js';

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'relay-check-'));
});
afterEach(() => rmSync(folder, { recursive: true }));

type Env = Readonly<Record<string, string>>;

const toSettings = (env: Env): Env => ({
  KLAVIYO_API_KEY: 'pk_test',
  PORT: '0',
  DATA_DIR: join(folder, 'data'),
  ...env,
});

/** The output of check, by default without Klaviyo, one line a finding. */
async function findIn(env: Env = {}, { isOffline = true } = {}): Promise<string> {
  const settings = toSettings(env);
  const findings: Finding[] = [];
  for await (const finding of checkAll(loadConfig(settings), settings, isOffline))
    findings.push(finding);
  return findings.map(({ level, what, detail }) => `${level} ${what}: ${detail}\n`).join('');
}

/** Runs check as users do. */
const check = (env: Env = {}, ...args: string[]) =>
  runCommand(['check', '--offline', ...args], toSettings(env), folder);

const writeMapping = (mapping: string): Env => {
  const path = join(folder, 'mapping.yaml');
  writeFileSync(path, mapping);
  return { MAPPING_FILE: path };
};

it('check describes what the mapping file does to each source', async () => {
  const env = writeMapping('shopify:\n  topics: { orders/cancelled: false }\n');
  const { code, output } = await check(env);
  expect(output).toContain('ok   segment: all on, as it comes\n');
  expect(output).toContain('ok   shopify: topic orders/cancelled: off\n');
  expect(code).toBe(0);
});

it('check reports what is wrong with the mapping file', async () => {
  const env = writeMapping('shopify:\n  topics: { orders/cancelled: 0 }\n');
  const { code, output } = await check(env);
  expect(output).toContain('MAPPING_FILE: /shopify/topics/orders~1cancelled must be true or false');
  expect(code).toBe(1);
});

it('check creates nothing in the data directory', async () => {
  const found = await findIn();
  expect(found).toMatch(/^ok data directory: \S+ does not exist yet and can be created$/m);
  expect(found).toMatch(/^ok disk: \d+ MB free$/m);
  expect(readdirSync(folder)).toEqual([]);
});

describe('check reports', () => {
  it.each<[string, Env, RegExp]>([
    [
      'a variable whose name is misspelt',
      { KLAVIYO_REVISON: '2024-10-15' },
      /^BAD variable: nothing reads KLAVIYO_REVISON; did you mean KLAVIYO_REVISION\?$/m,
    ],
    [
      'a variable in lower case',
      { relay_api_keys: 'ingest-key-1' },
      /nothing reads relay_api_keys; did you mean RELAY_API_KEYS\?$/m,
    ],
    [
      'the variable of the import command in place of the setting',
      { RELAY_API_KEY: 'ingest-key-1' },
      /nothing reads RELAY_API_KEY; did you mean RELAY_API_KEYS\?$/m,
    ],
    [
      'a placeholder among the keys',
      { RELAY_API_KEYS: 'change-me-please' },
      /^BAD keys: RELAY_API_KEYS holds a placeholder/m,
    ],
    [
      'a disk without room',
      { DISK_RESERVE_BYTES: String(2 ** 50) },
      /^BAD disk: \d+ MB free: below DISK_RESERVE_BYTES/m,
    ],
    [
      'a Redis that does not answer',
      { STORE: 'redis', REDIS_URL: 'redis://127.0.0.1:1', REDIS_TIMEOUT_MS: '100' },
      /^BAD REDIS_URL: /m,
    ],
    [
      'an address that this machine does not have',
      { HOST: '192.0.2.1', RELAY_API_KEYS: 'ingest-key-1' },
      /^BAD port: 192\.0\.2\.1:0 cannot be used \(EADDRNOTAVAIL\)$/m,
    ],
  ])('%s', async (_, env, words) => {
    expect(await findIn(env)).toMatch(words);
  });

  it('a port that another program uses', async () => {
    const server = createServer((socket) => socket.destroy()).listen(0, '127.0.0.1');
    onTestFinished(() => {
      server.close();
    });
    await once(server, 'listening');
    const { port } = server.address() as AddressInfo;
    const found = await findIn({ PORT: String(port) });
    expect(found).toContain(`BAD port: 127.0.0.1:${port} cannot be used (EADDRINUSE)\n`);
  });

  it('a data directory with unrelated content', async () => {
    mkdirSync(join(folder, 'data'));
    writeFileSync(join(folder, 'data', 'precious.db'), '');
    expect(await findIn()).toMatch(/^BAD data directory: .*is not empty and holds no journal/m);
  });

  it('a data directory that is a file', async () => {
    writeFileSync(join(folder, 'data'), '');
    expect(await findIn()).toMatch(/^BAD data directory: /m);
  });

  it('a data directory below a file', async () => {
    writeFileSync(join(folder, 'file'), '', { mode: 0o700 });
    const found = await findIn({ DATA_DIR: join(folder, 'file', 'data') });
    expect(found).toMatch(/^BAD data directory: .* cannot be created: .*file is not a directory$/m);
  });
});

it('check warns if the configured relay is running', async () => {
  const dataDir = join(folder, 'data');
  const relay = startRelayProcess({ klaviyoUrl: 'http://127.0.0.1:1', dataDir });
  onTestFinished(async () => {
    await relay.end('SIGKILL');
  });
  const { port } = new URL((await relay.listening)!);
  const found = await findIn({ PORT: port });
  expect(found).toContain(`WARN port: a relay listens on 127.0.0.1:${port} already\n`);
  expect(found).toMatch(/^WARN data directory: .* is held by /m);
  expect(found).not.toContain('BAD');
  // Another port would start a second relay on the same directory.
  expect(await findIn()).toMatch(/^BAD data directory: .* is held by /m);
});

it('check names the scopes that only some lanes need, and is strict about those that the relay uses', async () => {
  const sandbox = await startSandbox({
    clock: systemClock,
    apiKeys: ['pk_test'],
    scopes: { pk_test: ['events:write', 'profiles:write', 'lists:write', 'profiles:read'] },
  });
  onTestFinished(() => sandbox.close());
  const relay = startRelayProcess({ klaviyoUrl: sandbox.url, dataDir: join(folder, 'data') });
  onTestFinished(async () => {
    await relay.end('SIGKILL');
  });
  const url = (await relay.listening)!;
  const find = () =>
    findIn({ PORT: new URL(url).port, KLAVIYO_BASE_URL: sandbox.url }, { isOffline: false });
  const writes = 'subscriptions:write, profiles:write';
  const before = await find();
  expect(before).toMatch(
    new RegExp(
      `^WARN ${writes}, lists:write: .*; only subscriptions and unsubscriptions need it$`,
      'm',
    ),
  );
  expect(before).toMatch(new RegExp(`^WARN ${writes}: .*; only suppressions need it$`, 'm'));
  const response = await fetch(`${url}/v1/suppressions`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ email: 'ada@klaviyo-demo.com' }),
  });
  expect(response.status).toBe(202);
  const after = await find();
  const used = 'the relay has suppressions, which need it';
  expect(after).toMatch(new RegExp(`^BAD ${writes}: .*; ${used}$`, 'm'));
  expect(after).toMatch(new RegExp(`^BAD subscriptions:read: .*; ${used}$`, 'm'));
  expect(after).toMatch(/^WARN subscriptions:write: .*; only unsuppressions need it$/m);
});

it('check connects to Redis and warns of settings that could lose events', async () => {
  const server = await startRedis({ settings: { appendonly: 'no' } });
  onTestFinished(() => server.close());
  const found = await findIn({ STORE: 'redis', REDIS_URL: server.url });
  expect(found).toMatch(/^ok REDIS_URL: redis \d/m);
  expect(found).toMatch(/^WARN REDIS_URL: .*append/m);
});

it('check reports which revision of Klaviyo is used, why, and until when', async () => {
  expect(await findIn()).toMatch(
    /^ok revision: \d{4}-\d\d-\d\d, .* \(KLAVIYO_REVISION is auto\); supported until \d{4}-\d\d-\d\d$/m,
  );
  expect(await findIn({ KLAVIYO_REVISION: '2024-10-15' })).toMatch(
    /^WARN revision: KLAVIYO_REVISION 2024-10-15 ran out of support on 2026-10-15: set it to auto$/m,
  );
});

it('check exits with 1 if it prints BAD, and with --strict if it prints WARN', async () => {
  const bad = await check({ KLAVIYO_REVISON: '2026-07-15' });
  expect(bad.output).toMatch(/^BAD {2}variable: /m);
  expect(bad.code).toBe(1);
  const warned = { KLAVIYO_REVISION: '2020-01-01' };
  const lenient = await check(warned);
  expect(lenient.output).toMatch(/^WARN revision: /m);
  expect(lenient.code).toBe(0);
  expect((await check(warned, '--strict')).code).toBe(1);
});

it.each([
  [['check', '--ofline'], 'unknown option --ofline; did you mean --offline?'],
  [['start', '--prot', '3000'], 'unknown option --prot; did you mean --port?'],
  [['--data-dri', 'x'], 'unknown option --data-dri; did you mean --data-dir?'],
  [['start', 'now'], 'this command accepts options only'],
  [['start', '--port'], "Option '--port <value>' argument missing"],
  [['chekc'], 'unknown command "chekc"; did you mean check?'],
  [['store', 'exprot'], 'unknown action "store exprot"; did you mean export?'],
  [['store', 'check', 'a', 'b'], 'this command accepts at most 2 arguments'],
  [['store', '--chekc'], 'unknown option --chekc'],
  [['sandbox', '--fault', 'x'], 'unknown option --fault; did you mean --faults?'],
  [['sandbox', '--port', 'http'], '--port must be a whole number from 0 to 65535'],
  [['demo', '--shoppers', 'many'], '--shoppers must be a whole number from 1 to 1000000'],
  [['import', 'a.csv', '--typ', 'events'], 'unknown option --typ; did you mean --type?'],
])('the command line %j exits with 2 and a reason', async (args, words) => {
  const { code, output } = await runCommand(args, toSettings({}), folder);
  expect(output).toContain(`klaviyo-relay: ${words}`);
  expect(code).toBe(2);
});

it('check reads .env in the working directory, and the environment takes precedence', async () => {
  writeFileSync(join(folder, '.env'), 'PORT=1\nHOST=127.0.0.2\nKLAVIYO_REVISON=x\n');
  const { output } = await check({ PORT: '0' });
  expect(output).toContain('ok   configuration: store journal, listens on 127.0.0.2:0\n');
  expect(output).toContain('nothing reads KLAVIYO_REVISON');
  const overridden = await check({}, '--host', '127.0.0.3', '--port', '0');
  expect(overridden.output).toContain('store journal, listens on 127.0.0.3:0\n');
});

it('check names the file that cannot be read if .env is a directory', async () => {
  mkdirSync(join(folder, '.env'));
  const { code, output } = await check();
  expect(output).toMatch(/^klaviyo-relay: \.env cannot be read: EISDIR/);
  expect(code).toBe(1);
});
