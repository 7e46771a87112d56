import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { systemClock } from '../../src/clock.js';
import { startSandbox } from '../../src/sandbox/sandbox.js';
import { startRelayProcess } from '../support/relay-process.js';
import { startRedis } from '../support/redis-server.js';
import { fetchText, untilSettled } from '../support/restarted-relay.js';

const secrets = {
  KLAVIYO_API_KEY: 'pk_live_privacy_0123456789',
  RELAY_API_KEYS: 'ingest-privacy-0123456789',
  RELAY_ADMIN_KEYS: 'admin-privacy-0123456789',
  SHOPIFY_WEBHOOK_SECRETS: 'shopify-privacy-0123456789',
  STRIPE_WEBHOOK_SECRETS: 'whsec_privacy0123456789',
};
/** Throws an error outside of any request whose text quotes received data and settings. */
const thrower = `process.on('SIGUSR2', () => { throw new Error('quoting ' + process.env.QUOTED); })`;
const person = { email: 'ada.privacy@klaviyo-demo.com', phone_number: '+15005550006' };
const visitor = { anonymous_id: 'a3f2b8c1-9a4d-4e1f-8b7a-0c5d6e7f8a9b' };
const personal = [
  ...Object.values(person),
  ...Object.values(visitor),
  'ada.privacy',
  'Lovelace',
  'private-property',
];

it.each(['json', 'pretty'])(
  'a relay that logs at the lowest level as %s logs no secret and no personal data, whatever fails',
  async (format) => {
    const dataDir = mkdtempSync(join(tmpdir(), 'relay-privacy-'));
    const sandbox = await startSandbox({ clock: systemClock, windows: 'off', importDelayMs: 10 });
    const detail = `Invalid: ${person.email}, ${person.phone_number} and ${visitor.anonymous_id}`;
    const when = { path: '/properties/n', equals: 1 };
    sandbox.addFault({ endpoint: 'bulk-events', times: 1, status: 500 });
    sandbox.addFault({
      endpoint: 'bulk-events',
      poison: { when, at: 'request', pointer: 'exact', detail },
    });
    const relay = startRelayProcess({
      klaviyoUrl: sandbox.url,
      dataDir,
      env: {
        ...secrets,
        LOG_LEVEL: 'trace',
        LOG_FORMAT: format,
        EVENT_FLUSH_INTERVAL_MS: '10',
        RETRY_BASE_MS: '10',
        DISK_RESERVE_BYTES: '1000000',
        QUOTED: [...Object.values(secrets), ...Object.values(person)].join(' '),
        NODE_OPTIONS: `--import=data:text/javascript,${encodeURIComponent(thrower)}`,
      },
    });
    try {
      // The pretty format is not JSON.
      const url = await untilUrl(relay.lines, relay.nextLine);
      const post = async (path: string, body: unknown, key = secrets.RELAY_API_KEYS) => {
        const headers = { 'content-type': 'application/json', authorization: `Bearer ${key}` };
        const text = typeof body === 'string' ? body : JSON.stringify(body);
        return (await fetch(`${url}${path}`, { method: 'POST', headers, body: text })).status;
      };
      const events = [0, 1, 2].map((n) => ({
        ...person,
        ...visitor,
        event_name: 'e',
        insert_id: `i-${n}`,
        properties: { n, secret: 'private-property' },
      }));
      expect(await post('/v1/events/batch', events)).toBe(202);
      expect(await post('/v1/profiles', { ...person, last_name: 'Lovelace' })).toBe(202);
      expect(await post('/v1/events', { ...person, unknown_field: 'private-property' })).toBe(400);
      expect(await post('/v1/events', { ...visitor, event_name: 'e' })).toBe(202);
      expect(await post('/v1/profiles', { ...person, ...visitor })).toBe(400);
      expect(await post('/v1/events', `{"email":"${person.email}`)).toBe(400);
      expect(await post('/v1/events', events[0], 'wrong-private-property')).toBe(401);
      expect(await post('/webhooks/shopify', person)).toBeGreaterThan(400);
      expect(await post('/webhooks/stripe', person)).toBeGreaterThan(400);
      expect(await fetchText(`${url}/v1/people?email=${person.email}`)).not.toBe('');
      await untilSettled({
        url: () => Promise.resolve(url),
        process: () => Promise.resolve(relay),
      });
      // A fatal error: its reason also reaches stderr.
      expect(await relay.end('SIGUSR2')).toBe(1);
      expect(relay.stderr()).toContain('klaviyo-relay: quoting [redacted]');
      expect(relay.stderr()).toContain('[email]');
      const text = [...relay.lines, relay.stderr()].join('\n');
      expect(text).toContain('answered');
      expect(text).toMatch(/"fatal"|FATAL/);
      for (const secret of [...Object.values(secrets), ...personal])
        expect(text).not.toContain(secret);
    } finally {
      await relay.end('SIGKILL');
      await sandbox.close();
      rmSync(dataDir, { recursive: true });
    }
  },
  60_000,
);

it('a relay whose Redis password is wrong logs neither password on stdout or stderr', async () => {
  const right = 'right-1234567-password';
  const wrong = 'wrong-7654321-p%40ssword';
  const redis = await startRedis({ settings: { requirepass: right } });
  const dataDir = mkdtempSync(join(tmpdir(), 'relay-privacy-'));
  const relay = startRelayProcess({
    klaviyoUrl: 'http://127.0.0.1:9',
    dataDir,
    env: {
      LOG_LEVEL: 'trace',
      STORE: 'redis',
      REDIS_URL: `redis://:${wrong}@127.0.0.1:${redis.port}/0`,
      RATE_LIMIT_REDIS_URL: `redis://:${wrong}@127.0.0.1:${redis.port}/1`,
    },
  });
  try {
    while (!`${relay.lines.join()}${relay.stderr()}`.includes('refuses the password'))
      await relay.nextLine();
    await relay.end('SIGTERM');
    const text = [...relay.lines, relay.stderr()].join('\n');
    for (const part of ['right-', '1234567', 'wrong-', '7654321', 'p@ss', 'p%40ss'])
      expect(text).not.toContain(part);
  } finally {
    await relay.end('SIGKILL');
    await redis.close();
    rmSync(dataDir, { recursive: true });
  }
}, 60_000);

it("a relay redacts addresses, phone numbers and keys in Klaviyo's error texts when it logs pauses and dead letters", async () => {
  const dataDir = mkdtempSync(join(tmpdir(), 'relay-privacy-'));
  const sandbox = await startSandbox({ clock: systemClock, windows: 'off' });
  const quoted = `${person.email}, ${person.phone_number}, ${secrets.KLAVIYO_API_KEY}, ${visitor.anonymous_id}`;
  const detail = `Invalid: ${quoted}`;
  const reject = (is: string): void => {
    sandbox.addFault({
      endpoint: 'bulk-events',
      poison: { when: { path: '/properties/is', equals: is }, pointer: 'prefix', detail },
    });
  };
  reject('few');
  reject('many');
  const relay = startRelayProcess({
    klaviyoUrl: sandbox.url,
    dataDir,
    env: { ...secrets, LOG_LEVEL: 'trace', EVENT_FLUSH_INTERVAL_MS: '10' },
  });
  try {
    const url = await untilUrl(relay.lines, relay.nextLine);
    const headers = {
      'content-type': 'application/json',
      authorization: `Bearer ${secrets.RELAY_API_KEYS}`,
    };
    const post = async (is: string, count: number): Promise<void> => {
      const events = Array.from({ length: count }, (_, n) => ({
        event_name: 'e',
        distinct_id: `${is}-${n}`,
        properties: { is },
      }));
      const body = JSON.stringify({ events });
      const response = await fetch(`${url}/v1/events/batch`, { method: 'POST', headers, body });
      expect(response.status).toBe(202);
    };
    const untilLogged = async (text: string): Promise<void> => {
      while (!relay.lines.some((line) => line.includes(text))) await relay.nextLine();
    };
    const hidden = 'Invalid: [email], [number], [key], [id]';
    await post('few', 10);
    await untilLogged(`gave up on 10 envelopes: ${hidden}`);
    await post('many', 100);
    await untilLogged('lane events paused: refusal: rejected: Klaviyo rejects everything');
    await untilLogged(hidden);
    sandbox.clearFaults();
    await untilLogged('lane events resumed after');
    const errors = [{ status: 401, code: 'authentication_failed', title: 'No.', detail }];
    sandbox.addFault({ endpoint: 'bulk-events', status: 401, body: { errors } });
    await post('refused', 1);
    await untilLogged('lane events paused: unauthorized: check KLAVIYO_API_KEY');
    expect(await relay.end('SIGTERM')).toBe(0);
    const text = relay.lines.join('\n');
    for (const secret of [...Object.values(secrets), ...personal])
      expect(text).not.toContain(secret);
  } finally {
    await relay.end('SIGKILL');
    await sandbox.close();
    rmSync(dataDir, { recursive: true });
  }
}, 60_000);

async function untilUrl(lines: readonly string[], nextLine: () => Promise<void>): Promise<string> {
  for (;;) {
    const url = /relay is listening.*?(http:[/][/]127[.]0[.]0[.]1:\d+)|"url":"([^"]+)"/.exec(
      lines.join('\n'),
    );
    if (url !== null) return url[1] ?? url[2] ?? '';
    await nextLine();
  }
}
