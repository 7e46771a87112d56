import { describe, expect, it } from 'vitest';
import { selectProxy, toProxyHeaders, type ProxySettings } from '../../src/klaviyo/proxy.js';

const proxies = { HTTPS_PROXY: 'http://secure:1', HTTP_PROXY: 'http://plain:2' };
const hostOf = (url: string, settings: ProxySettings = proxies): string | null =>
  selectProxy(url, settings)?.host ?? null;

describe('the proxy for a URL', () => {
  it('is selected by the scheme of the URL', () => {
    expect(hostOf('https://a.klaviyo.com')).toBe('secure:1');
    expect(hostOf('http://a.klaviyo.com')).toBe('plain:2');
    expect(hostOf('https://a.klaviyo.com', { HTTP_PROXY: 'http://plain:2' })).toBeNull();
    expect(hostOf('http://a.klaviyo.com', { HTTPS_PROXY: 'http://secure:1' })).toBeNull();
    expect(hostOf('https://a.klaviyo.com', {})).toBeNull();
  });

  it.each(['127.0.0.1', '127.9.9.9', 'localhost', 'LOCALHOST.', 'app.localhost', '[::1]'])(
    'is null for plain HTTP to this machine: %s',
    (host) => {
      expect(hostOf(`http://${host}:4000`)).toBeNull();
      expect(hostOf(`https://${host}:4000`)).toBe('secure:1');
    },
  );

  it.each([
    ['https://a.klaviyo.com', '*'],
    ['https://a.klaviyo.com', 'a.klaviyo.com'],
    ['https://a.klaviyo.com', 'klaviyo.com'],
    ['https://a.klaviyo.com', '.klaviyo.com'],
    ['https://a.klaviyo.com', '*.klaviyo.com'],
    ['https://a.klaviyo.com', 'KLAVIYO.COM.'],
    ['https://a.klaviyo.com', 'localhost, 10.0.0.0/8,klaviyo.com'],
    ['https://a.klaviyo.com', 'localhost klaviyo.com'],
    ['https://a.klaviyo.com', 'a.klaviyo.com:443'],
    ['https://A.Klaviyo.com.:8443', 'a.klaviyo.com:8443'],
    ['http://a.klaviyo.com', 'a.klaviyo.com:80'],
    ['https://10.1.2.3', '10.1.2.3'],
    ['https://10.1.2.3', '10.0.0.0/8'],
    ['https://10.1.2.3:8443', '10.1.2.3:8443'],
    ['https://[fd00::1]', 'fd00:0::1'],
    ['https://[fd00::1]', '[fd00::1]'],
    ['https://[fd00::1]:8443', '[fd00::1]:8443'],
    ['https://[fd00::1]', 'fd00::/8'],
  ])('is null for %s if NO_PROXY is %s', (url, NO_PROXY) => {
    expect(hostOf(url, { ...proxies, NO_PROXY })).toBeNull();
  });

  it.each([
    ['https://a.klaviyo.com', ''],
    ['https://a.klaviyo.com', ' , '],
    ['https://a.klaviyo.com', 'viyo.com'],
    ['https://a.klaviyo.com', 'b.a.klaviyo.com'],
    ['https://a.klaviyo.com', '.'],
    ['https://a.klaviyo.com', 'a.klaviyo.com:80'],
    ['https://a.klaviyo.com', 'https://a.klaviyo.com'],
    ['https://10.1.2.3', '1.2.3'],
    ['https://10.1.2.3', '11.0.0.0/8'],
    ['https://10.1.2.3', '10.0.0.0/x'],
    ['https://10.1.2.3', '10.0.0.0/33'],
    ['https://10.1.2.3', '::/0'],
    ['https://[fd00::1]', '0.0.0.0/0'],
  ])('is used for %s if NO_PROXY is "%s"', (url, NO_PROXY) => {
    expect(hostOf(url, { ...proxies, NO_PROXY })).toBe('secure:1');
  });
});

describe('the credentials of a proxy', () => {
  it('are decoded from its URL', () => {
    const [, coded = ''] =
      toProxyHeaders(new URL('http://sam%40shop:p%3Aw@proxy'))['proxy-authorization']?.split(' ') ??
      [];
    expect(Buffer.from(coded, 'base64').toString()).toBe('sam@shop:p:w');
  });

  it('may be only a user, or absent', () => {
    const headers = toProxyHeaders(new URL('http://sam@proxy'));
    expect(headers['proxy-authorization']).toBe(`Basic ${Buffer.from('sam:').toString('base64')}`);
    expect(toProxyHeaders(new URL('http://proxy'))).toEqual({});
  });
});
