import { isIP } from 'node:net';
import { z } from 'zod';
import type { RateWindow } from '../model/limiter.js';
import { parseRedisUrl } from '../redis/address.js';
import { toErrorMessage } from '../error.js';

export const flag = z.stringbool({ error: 'must be true or false' });

export const anyInt = (min: number, max: number) =>
  z.coerce
    .number({ error: 'must be a whole number' })
    .int('must be a whole number')
    .min(min, `must be at least ${min}`)
    .max(max, `must be at most ${max}`);

export const int = (min: number, max: number, fallback: number) =>
  anyInt(min, max).default(fallback);

const unitMs: Readonly<Record<string, number>> = {
  s: 1000,
  m: 60_000,
  h: 3_600_000,
  d: 86_400_000,
};

/** A time such as `1d`, `12h` or `30m`, in ms; `off` is Infinity. */
export const durationOrOff = z.string().transform((text, context): number => {
  if (text.trim() === 'off') return Infinity;
  const [, count, unit = ''] = /^\s*(\d{1,6})([smhd])\s*$/.exec(text) ?? [];
  const ms = Number(count) * (unitMs[unit] ?? NaN);
  if (ms > 0) return ms;
  context.addIssue('must be a time such as 1d, 12h or 30m, or off');
  return z.NEVER;
});

/** A time such as `3d`, or `0`, in ms. */
export const durationOrZero = z.string().transform((text, context): number => {
  if (text.trim() === '0') return 0;
  const parsed = durationOrOff.safeParse(text).data ?? Infinity;
  if (parsed !== Infinity) return parsed;
  context.addIssue('must be a time such as 1d, 12h or 30m, or 0');
  return z.NEVER;
});

/** Keys, separated by commas or line breaks. */
export const keys = z
  .string()
  .default('')
  .transform((text) =>
    text
      .split(/[,\n]/)
      .map((key) => key.trim())
      .filter((key) => key !== ''),
  )
  .refine(
    (list) => list.every((key) => key.length >= 8),
    'each key must have at least 8 characters',
  );

/** Rate windows such as `10/1s,150/60s`, or `off` for none. */
export const windows = z.string().transform((text, context): readonly RateWindow[] => {
  if (text.trim() === 'off') return [];
  return text.split(',').map((part) => {
    const [, limit, seconds] = /^\s*(\d+)\/(\d+)s\s*$/.exec(part) ?? [];
    if (!(Number(limit) > 0 && Number(seconds) > 0)) {
      context.addIssue(`must look like 10/1s,150/60s or be off; "${part.trim()}" does not`);
      return z.NEVER;
    }
    return { limit: Number(limit), windowMs: Number(seconds) * 1000 };
  });
});

export const redisUrl = z.string().transform((text, context) => {
  try {
    return parseRedisUrl(text);
  } catch (error) {
    // The message never contains the URL, which can hold a password.
    context.addIssue(toErrorMessage(error));
    return z.NEVER;
  }
});

/** A proxy as curl accepts it: `http://` can be omitted. The error never contains the URL, which can hold a password. */
export const proxyUrl = z.string().transform((text, context) => {
  const full = /^[a-z][a-z0-9+.-]*:\/\//i.test(text) ? text : `http://${text}`;
  const proxy = URL.canParse(full) ? new URL(full) : null;
  if (proxy === null || !/^https?:$/.test(proxy.protocol) || !hasReadableUser(proxy)) {
    context.addIssue('must be an http or https URL, such as http://user:password@proxy:3128');
    return z.NEVER;
  }
  return proxy.href;
});

/** Returns false if the user or password has a percent sign that does not begin an escape. */
function hasReadableUser({ username, password }: URL): boolean {
  try {
    decodeURIComponent(username + password);
    return true;
  } catch {
    return false;
  }
}

/** Network names of proxy-addr, which Fastify uses. */
const namedNetworks = ['loopback', 'linklocal', 'uniquelocal'];

function isNetwork(text: string): boolean {
  if (namedNetworks.includes(text)) return true;
  const [address = '', prefix, ...more] = text.split('/');
  const family = isIP(address);
  if (family === 0 || more.length > 0) return false;
  return prefix === undefined || (/^\d{1,3}$/.test(prefix) && isPrefix(Number(prefix), family));
}

/** A prefix of 0 would trust every caller. `true` is the explicit way to do that. */
const isPrefix = (prefix: number, family: number): boolean =>
  prefix > 0 && prefix <= (family === 4 ? 32 : 128);

/** Proxies in a row, at most. */
const maxHops = 32;

const trustFlags: ReadonlyMap<string, boolean> = new Map([
  ['true', true],
  ['yes', true],
  ['on', true],
  ['false', false],
  ['no', false],
  ['off', false],
] as const);

/** The proxies whose X-Forwarded-For is trusted. `true` trusts all; a number counts the proxies in front of the relay. */
export const trustProxy = z.string().transform((text, context): boolean | number | string[] => {
  const value = text.trim().toLowerCase();
  const flag = trustFlags.get(value);
  if (flag !== undefined) return flag;
  if (/^\d+$/.test(value)) {
    const hops = Number(value);
    if (hops <= maxHops) return hops === 0 ? false : hops;
    context.addIssue(`must be at most ${maxHops} proxies`);
    return z.NEVER;
  }
  const networks = value.split(',').map((part) => part.trim());
  const odd = networks.find((network) => !isNetwork(network));
  if (odd === undefined) return networks;
  context.addIssue(
    `must be true, false, a number of proxies, or addresses and networks such as 10.0.0.0/8; "${odd}" is none`,
  );
  return z.NEVER;
});

/** A base URL, to which paths are appended. It appears in logs, so it must not hold credentials; its errors never contain it. */
export const url = z
  .url({ protocol: /^https?$/, error: 'must be an http or https URL' })
  .refine((text) => {
    const { username, password, search, hash } = new URL(text);
    return username === '' && password === '' && search === '' && hash === '' && !/[?#]/.test(text);
  }, 'must have no user, password, query or fragment');
