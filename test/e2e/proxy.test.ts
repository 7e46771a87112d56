import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { once } from 'node:events';
import { createServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { makeCertificate } from '../support/certificate.js';
import { startProxy, type ProxyServer } from '../support/proxy-server.js';
import { startRelayProcess, type RelayProcess } from '../support/relay-process.js';

let directory: string;
let proxy: ProxyServer;
let klaviyo: ReturnType<typeof createServer>;
let klaviyoUrl: string;
/** Resolves once a request reaches Klaviyo. */
let reached: Promise<unknown>;
const relays: RelayProcess[] = [];

beforeEach(async () => {
  directory = mkdtempSync(join(tmpdir(), 'relay-proxy-'));
  const certificate = makeCertificate();
  writeFileSync(join(directory, 'cert.pem'), certificate.cert);
  klaviyo = createServer(certificate, (request, response) => {
    request.resume().on('end', () => response.writeHead(202).end());
  });
  klaviyo.listen(0, '127.0.0.1');
  await once(klaviyo, 'listening');
  klaviyoUrl = `https://localhost:${(klaviyo.address() as AddressInfo).port}`;
  reached = once(klaviyo, 'request');
  proxy = await startProxy();
});
afterEach(async () => {
  for (const relay of relays.splice(0)) await relay.end('SIGKILL');
  klaviyo.close();
  klaviyo.closeAllConnections();
  await proxy.close();
  rmSync(directory, { recursive: true });
});

/** Posts one event, waits until Klaviyo receives it, and returns the whole log of the relay. */
async function deliverOne(env: Readonly<Record<string, string>>): Promise<string> {
  const relay = startRelayProcess({
    klaviyoUrl,
    dataDir: join(directory, 'data'),
    env: {
      LOG_LEVEL: 'debug',
      EVENT_FLUSH_INTERVAL_MS: '20',
      NODE_EXTRA_CA_CERTS: join(directory, 'cert.pem'),
      ...env,
    },
  });
  relays.push(relay);
  const url = await relay.listening;
  await fetch(`${url}/v1/events`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ event_name: 'e', distinct_id: 'd', insert_id: 'i' }),
  });
  await reached;
  expect(await relay.end('SIGTERM')).toBe(0);
  return relay.lines.join('\n');
}

it('the relay reaches Klaviyo through the proxy of its environment and never logs the password of the proxy', async () => {
  const logged = await deliverOne({
    https_proxy: proxy.url.replace('//', '//sam:s3cret-word@'),
    NO_PROXY: 'example.com',
  });
  expect(proxy.requests).toEqual([
    {
      line: `CONNECT ${new URL(klaviyoUrl).host}`,
      authorization: `Basic ${Buffer.from('sam:s3cret-word').toString('base64')}`,
    },
  ]);
  expect(logged).toContain(`"proxy":"${proxy.url}"`);
  expect(logged).not.toContain('s3cret-word');
});

it('the relay reaches Klaviyo without the proxy if NO_PROXY contains its host', async () => {
  await deliverOne({ HTTPS_PROXY: proxy.url, NO_PROXY: 'localhost' });
  expect(proxy.requests).toEqual([]);
});
