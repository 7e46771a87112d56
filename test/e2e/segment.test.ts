import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, describe, expect, it } from 'vitest';
import { systemClock } from '../../src/clock.js';
import { startSandbox, type RunningSandbox } from '../../src/sandbox/sandbox.js';
import { startKlaviyoServer } from '../klaviyo/klaviyo-server.js';
import { startRelay, type RelayUnderTest } from '../support/relay.js';
import { startRelayProcess, type RelayProcess } from '../support/relay-process.js';
import { quickRelay, untilSettled } from '../support/restarted-relay.js';
import { turnsUntil } from '../support/sandbox.js';
import { callAll, expectedMetrics, sdks } from '../support/segment-sdks.js';

const writeKey = 'write-key-1';
/** SDKs use the real clock, which a test cannot advance. */
const timeoutMs = 60_000;

/** What the sandbox recorded for one user. */
function recordedOf(sandbox: RunningSandbox, userId: string) {
  const { events, profiles } = sandbox.state();
  const who = `${userId}@klaviyo-demo.com`;
  return {
    metrics: events
      .filter((event) => event.who === who)
      .map(({ metric }) => metric)
      .sort(),
    profiles: profiles.filter((profile) => profile.who === who),
  };
}

function expectEachOnce(sandbox: RunningSandbox, userId: string): void {
  const { metrics, profiles } = recordedOf(sandbox, userId);
  expect(metrics).toEqual(expectedMetrics);
  expect(profiles).toMatchObject([
    { attributes: { external_id: userId, properties: { plan: 'gold' } } },
  ]);
}

describe.each(sdks)('$name', { timeout: timeoutMs }, ({ connect }) => {
  let relay: RelayUnderTest;
  afterEach(() => relay.stop());
  const start = async (env: Record<string, string> = {}): Promise<void> => {
    relay = await startRelay({ env: { RELAY_API_KEYS: writeKey, ...env } });
  };

  it('delivers every call once, with its value and its person', async () => {
    await start();
    const client = connect(relay.app.url, writeKey);
    callAll(client, 'u-1');
    await client.flush();
    await relay.untilSettled();
    expectEachOnce(relay.sandbox, 'u-1');
    const order = relay.sandbox.state().events.find(({ value }) => value !== null);
    expect(order).toMatchObject({
      metric: 'Placed Order',
      value: 19.99,
      valueCurrency: 'USD',
      properties: { orderId: 'order-u-1', order_id: 'order-u-1', revenue: '19.99' },
    });
    const counts = await relay.app.metrics.sourceSkipped.get();
    expect(counts.values.map(({ labels, value }) => [labels.reason, value]).sort()).toEqual([
      ['alias', 1],
      ['group', 1],
    ]);
    expect(relay.sandbox.state().violations).toEqual([]);
  });

  it('waits after a 429 and delivers every call once', async () => {
    await start({ INGEST_RATE_LIMIT_PER_SECOND: '1' });
    const authorization = `Bearer ${writeKey}`;
    expect((await relay.post('/v1/batch', { batch: [] }, { authorization })).status).toBe(200);
    const client = connect(relay.app.url, writeKey);
    callAll(client, 'u-1');
    let isFlushed = false;
    void client.flush().then(() => (isFlushed = true));
    await turnsUntil(() => relay.logged.some((line) => line.includes('"status":429')));
    // The rate limit uses the relay's clock; the SDK waits by the real clock.
    await relay.until('the SDK has sent all', () => isFlushed);
    await relay.untilSettled();
    expectEachOnce(relay.sandbox, 'u-1');
  });

  it('repeats requests without a response and delivers every call once', async () => {
    await start();
    let count = 0;
    const lossy = await startKlaviyoServer((response, { path, body, headers }) => {
      const {
        'content-type': type = '',
        'content-encoding': encoding = '',
        authorization,
      } = headers;
      const passed = {
        'content-type': type,
        ...(encoding !== '' && { 'content-encoding': encoding }),
        authorization: authorization ?? '',
      };
      const init = { method: 'POST', body: new Uint8Array(body), headers: passed };
      void fetch(`${relay.app.url}${path}`, init).then((result) => {
        if (count++ === 0) response.destroy();
        else response.writeHead(result.status).end();
      });
    });
    const client = connect(lossy.url, writeKey);
    callAll(client, 'u-1');
    await client.flush();
    await relay.untilSettled();
    await lossy.close();
    expectEachOnce(relay.sandbox, 'u-1');
    const [first, second] = lossy.requests.map(({ body }) => body);
    const idsIn = (body: Buffer | undefined) =>
      body?.toString('latin1').match(/"messageId":"[^"]+"/g);
    expect(idsIn(second)).toEqual(idsIn(first));
  });
});

describe('a relay that is killed and started again at the same address', () => {
  it(
    'delivers every call of every SDK once, also calls made while it was down',
    { timeout: timeoutMs },
    async () => {
      const dataDir = await mkdtemp(join(tmpdir(), 'klaviyo-relay-'));
      const sandbox = await startSandbox({
        clock: systemClock,
        windows: 'off',
        importDelayMs: 0,
        faults: [{ endpoint: 'any', status: 503 }],
      });
      const env = { ...quickRelay, RELAY_API_KEYS: writeKey };
      const startOn = (port: string): RelayProcess =>
        startRelayProcess({ klaviyoUrl: sandbox.url, dataDir, env: { ...env, PORT: port } });
      let relay = startOn('0');
      try {
        const url = (await relay.listening) ?? '';
        const connected = sdks.map(({ connect }) => ({
          before: connect(url, writeKey),
          meanwhile: connect(url, writeKey),
        }));
        connected.forEach(({ before }, index) => callAll(before, `before-${index}`));
        await Promise.all(connected.map(({ before }) => before.flush()));
        await relay.end('SIGKILL');
        connected.forEach(({ meanwhile }, index) => callAll(meanwhile, `meanwhile-${index}`));
        const flushed = Promise.all(connected.map(({ meanwhile }) => meanwhile.flush()));
        relay = startOn(new URL(url).port);
        await Promise.all([flushed, relay.listening]);
        sandbox.clearFaults();
        await untilSettled({
          url: () => Promise.resolve(url),
          process: () => Promise.resolve(relay),
        });
        sdks.forEach((_, index) => {
          expectEachOnce(sandbox, `before-${index}`);
          expectEachOnce(sandbox, `meanwhile-${index}`);
        });
      } finally {
        await relay.end('SIGKILL');
        await sandbox.close();
        await rm(dataDir, { recursive: true });
      }
    },
  );
});
