import { BlockList, isIP } from 'node:net';

/** The settings that select a proxy. */
export type ProxySettings = {
  readonly HTTPS_PROXY?: string | undefined;
  readonly HTTP_PROXY?: string | undefined;
  readonly NO_PROXY?: string | undefined;
};

/**
 * Selects the proxy for a URL, or null for a direct connection. Pure. As in curl, the URL's scheme selects
 * the setting, unless NO_PROXY has the host. Plain HTTP to this machine never uses a proxy: that is the
 * sandbox, which a proxy on another machine cannot reach.
 */
export function selectProxy(baseUrl: string, settings: ProxySettings): URL | null {
  const url = new URL(baseUrl);
  const isTls = url.protocol === 'https:';
  const proxy = isTls ? settings.HTTPS_PROXY : settings.HTTP_PROXY;
  const host = url.hostname.replace(/^\[|\]$|\.$/g, '').toLowerCase();
  if (proxy === undefined || (!isTls && isLoopback(host))) return null;
  const port = url.port === '' ? (isTls ? '443' : '80') : url.port;
  const entries = (settings.NO_PROXY ?? '').split(/[\s,]+/).filter((entry) => entry !== '');
  return entries.some((entry) => matchesEntry({ host, port }, entry)) ? null : new URL(proxy);
}

/** The headers of a request to the proxy. Empty if its URL has no user. */
export function toProxyHeaders({ username, password }: URL): Record<string, string> {
  if (username === '' && password === '') return {};
  const credentials = `${decodeURIComponent(username)}:${decodeURIComponent(password)}`;
  return { 'proxy-authorization': `Basic ${Buffer.from(credentials).toString('base64')}` };
}

const isLoopback = (host: string): boolean =>
  /(^|\.)localhost$/.test(host) || /^(127(\.\d+){3}|::1)$/.test(host);

type Target = { readonly host: string; readonly port: string };

/** An entry is `*`, a host with its subdomains, an address, or a range of addresses. A port of the entry must be equal. */
function matchesEntry({ host, port }: Target, entry: string): boolean {
  if (entry === '*') return true;
  const [, bracketed, name = '', wanted] =
    /^(?:\[([^\]]*)\]|([^:]*|.*:.*:.*?))(?::(\d+))?$/.exec(entry) ?? [];
  if (wanted !== undefined && wanted !== port) return false;
  const named = (bracketed ?? name).toLowerCase();
  if (isIP(host) !== 0) return isInRange(host, named);
  const domain = named.replace(/^\*?\./, '').replace(/\.$/, '');
  return domain !== '' && (host === domain || host.endsWith(`.${domain}`));
}

function isInRange(address: string, named: string): boolean {
  const [start = '', bits] = named.split('/');
  const family = isIP(start) === 6 ? 'ipv6' : 'ipv4';
  const width = family === 'ipv6' ? 128 : 32;
  const prefix = bits === undefined ? width : /^\d{1,3}$/.test(bits) ? Number(bits) : NaN;
  if (isIP(start) === 0 || isIP(start) !== isIP(address) || !(prefix <= width)) return false;
  const range = new BlockList();
  range.addSubnet(start, prefix, family);
  return range.check(address, family);
}
