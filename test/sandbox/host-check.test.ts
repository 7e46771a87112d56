import { request } from 'node:http';
import { describe, expect, it, onTestFinished } from 'vitest';
import { systemClock } from '../../src/clock.js';
import { startSandbox, type SandboxOptions } from '../../src/sandbox/sandbox.js';

async function start(options: Partial<SandboxOptions> = {}) {
  const sandbox = await startSandbox({ clock: systemClock, ...options });
  onTestFinished(() => sandbox.close());
  return (headers: Record<string, string>, method = 'GET', path = '/sandbox/stats') =>
    new Promise<number>((resolve, reject) => {
      const sent = request(sandbox.url + path, { method, headers }, (response) => {
        response.resume();
        resolve(response.statusCode ?? 0);
      });
      sent.once('error', reject).end();
    });
}

describe('the host check', () => {
  it.each([
    ['localhost', { host: 'localhost:4000' }],
    ['a name below localhost', { host: 'klaviyo.LOCALHOST:4000' }],
    ['an address', { host: '192.168.1.2:4000' }],
    ['an address of IPv6', { host: '[::1]:4000' }],
    ['its own page', { host: '127.0.0.1:4000', origin: 'http://127.0.0.1:4000' }],
  ])('accepts %s', async (_what, headers) => {
    const call = await start();
    expect(await call(headers)).toBe(200);
  });

  it.each([
    ['a name that resolves here', { host: 'evil.example.com:4000' }],
    ['a name that ends in an address', { host: '127.0.0.1.nip.io' }],
    ['a name that starts like ours', { host: 'localhost.example.com' }],
    ['a name that was not allowed', { host: 'sandbox:4000' }],
    ['a page of another origin', { host: '127.0.0.1:4000', origin: 'http://1.2.3.4' }],
    ['a page of no origin', { host: '127.0.0.1:4000', origin: 'null' }],
  ])('rejects %s, for the API too, and changes nothing', async (_what, headers) => {
    const call = await start();
    expect(await call(headers)).toBe(403);
    expect(await call(headers, 'DELETE', '/sandbox')).toBe(403);
    expect(await call(headers, 'POST', '/api/events')).toBe(403);
  });

  it('accepts the configured names, on every address', async () => {
    const call = await start({ host: '0.0.0.0', allowedHosts: ['Sandbox'] });
    expect(await call({ host: 'sandbox:4000' })).toBe(200);
    expect(await call({ host: 'sandbox', origin: 'http://sandbox' })).toBe(200);
    expect(await call({ host: 'sandbox.example.com' })).toBe(403);
  });
});
