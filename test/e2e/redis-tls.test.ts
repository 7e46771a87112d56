import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { systemClock } from '../../src/clock.js';
import { startSandbox, type RunningSandbox } from '../../src/sandbox/sandbox.js';
import { findFreePort, startRedis, type RedisServer } from '../support/redis-server.js';
import { startRelayProcess, type RelayProcess } from '../support/relay-process.js';

let directory: string;
let sandbox: RunningSandbox;
let server: RedisServer;
let tlsPort: number;
const relays: RelayProcess[] = [];

beforeEach(async () => {
  directory = mkdtempSync(join(tmpdir(), 'relay-tls-'));
  const [key, cert] = [join(directory, 'key.pem'), join(directory, 'cert.pem')];
  const of = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-days', '2'];
  const name = ['-subj', '/CN=localhost', '-addext', 'subjectAltName=DNS:localhost'];
  execFileSync('openssl', ['req', '-x509', ...of, ...name, '-keyout', key, '-out', cert], {
    stdio: 'pipe',
  });
  tlsPort = await findFreePort();
  sandbox = await startSandbox({ clock: systemClock, windows: 'off' });
  server = await startRedis({
    settings: {
      'tls-port': String(tlsPort),
      'tls-cert-file': cert,
      'tls-key-file': key,
      'tls-ca-cert-file': cert,
      'tls-auth-clients': 'no',
    },
    // Exactly the rights that docs/guides/several-relays.md lists.
    users: ['default off', 'relay on >s3cret-word ~{klaviyo-relay}* +@all -@dangerous +info'],
  });
});
afterEach(async () => {
  for (const relay of relays.splice(0)) await relay.end('SIGKILL');
  await server.close();
  await sandbox.close();
  rmSync(directory, { recursive: true });
});

async function start(
  password: string,
  timeoutMs: number,
): Promise<{ relay: RelayProcess; url: string }> {
  const relay = startRelayProcess({
    klaviyoUrl: sandbox.url,
    dataDir: directory,
    env: {
      STORE: 'redis',
      REDIS_URL: `rediss://relay:${password}@localhost:${tlsPort}/0`,
      // Time limit for the first connection, before the relay listens.
      REDIS_TIMEOUT_MS: String(timeoutMs),
      EVENT_FLUSH_INTERVAL_MS: '20',
      // Node.js reads the private certificate authority at its start.
      NODE_EXTRA_CA_CERTS: join(directory, 'cert.pem'),
    },
  });
  relays.push(relay);
  const url = await relay.listening;
  if (url === null) throw new Error('it ended');
  return { relay, url };
}

const post = (url: string): Promise<Response> =>
  fetch(`${url}/v1/events`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ event_name: 'e', distinct_id: 'd', insert_id: 'i' }),
  });

it('the relay uses Redis over TLS with a user that has only the documented rights', async () => {
  const { relay, url } = await start('s3cret-word', 20_000);
  expect((await post(url)).status).toBe(202);
  while (sandbox.state().events.length === 0) await relay.nextLine();
  expect(await relay.end('SIGTERM')).toBe(0);
  // The user may not call CONFIG, and the relay logs that.
  expect(relay.lines.join('\n')).toContain('REDIS_DURABLE');
  expect(relay.lines.join('\n')).not.toContain('s3cret-word');
}, 30_000);

it('a relay with a wrong Redis password accepts nothing and shows the password nowhere', async () => {
  const { relay, url } = await start('wr0ng-word', 500);
  const response = await post(url);
  expect(response.status).toBe(503);
  expect(response.headers.get('retry-after')).toBe('1');
  expect((await fetch(`${url}/readyz`)).status).toBe(503);
  expect((await fetch(`${url}/livez`)).status).toBe(200);
  expect(await relay.end('SIGTERM')).toBe(0);
  expect(relay.lines.join('\n')).not.toContain('wr0ng-word');
}, 30_000);
