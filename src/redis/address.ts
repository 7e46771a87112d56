export type RedisHost = { readonly host: string; readonly port: number };

/** Where Redis or Valkey is: one server, a primary that Sentinels name, or a cluster. */
export type RedisAddress = {
  readonly kind: 'single' | 'sentinel' | 'cluster';
  readonly hosts: readonly RedisHost[];
  readonly isTls: boolean;
  readonly username?: string;
  readonly password?: string;
  /** Sentinel's name for the primary. */
  readonly primary?: string;
  readonly database: number;
};

/** User and password of the sentinels if they differ from those of the server. */
export type SentinelAuth = { readonly username?: string; readonly password?: string };

/** Reads the settings; undefined if neither is set. */
export function toSentinelAuth(config: {
  readonly REDIS_SENTINEL_USERNAME?: string | undefined;
  readonly REDIS_SENTINEL_PASSWORD?: string | undefined;
}): SentinelAuth | undefined {
  const { REDIS_SENTINEL_USERNAME: username, REDIS_SENTINEL_PASSWORD: password } = config;
  if (username === undefined && password === undefined) return undefined;
  return {
    ...(username !== undefined && { username }),
    ...(password !== undefined && { password }),
  };
}

const form = /^(rediss?)(?:\+(sentinel|cluster))?:$/;
const defaultPorts = { single: 6379, sentinel: 26379, cluster: 6379 } as const;

/**
 * `redis://user:password@host:6379/0`, `rediss://…` with TLS, `redis+sentinel://…@a:26379,b:26379/primary/0`,
 * `redis+cluster://…@a:6379,b:6379`. Throws an Error that says what is wrong and shows no password.
 */
export function parseRedisUrl(url: string): RedisAddress {
  // A query or fragment would be ignored, and a password may contain such a character unencoded.
  if (/[?#]/.test(url)) {
    throw new Error(
      'must not have a ? or a #: name the database as /2, and percent-encode a password',
    );
  }
  const [, scheme = '', credentials, authority = '', path = ''] =
    /^([a-z+]+:)\/\/(?:([^@/]*)@)?([^/@]+)\/?([^@]*)$/.exec(url.trim()) ?? [];
  const [, protocol, variant] = form.exec(scheme) ?? [];
  if (protocol === undefined) {
    const hint = url.includes('@') ? '; a user and a password are percent-encoded' : '';
    throw new Error(`must look like redis://host:6379/0${hint}`);
  }
  const kind = variant === 'sentinel' || variant === 'cluster' ? variant : 'single';
  const hosts = authority.split(',').map((each) => toHost(each, defaultPorts[kind]));
  if (kind === 'single' && hosts.length > 1)
    throw new Error('names several hosts: use redis+sentinel:// or redis+cluster://');
  return {
    kind,
    hosts,
    isTls: protocol === 'rediss',
    ...toCredentials(credentials),
    ...readPathParts(
      kind,
      path.split('/').filter((part) => part !== ''),
    ),
  };
}

/** Reads what follows the hosts: Sentinel's name for the primary, and a database. */
function readPathParts(
  kind: RedisAddress['kind'],
  parts: readonly string[],
): Pick<RedisAddress, 'primary' | 'database'> {
  const [primary, ...rest] = kind === 'sentinel' ? parts : [undefined, ...parts];
  if (kind === 'sentinel' && primary === undefined)
    throw new Error("must name Sentinel's primary: redis+sentinel://host:26379/primary/0");
  const [name = '0', ...others] = rest;
  if (!/^\d{1,9}$/.test(name) || others.length > 0)
    throw new Error('must end with the number of a database, such as /0');
  const database = Number(name);
  if (kind === 'cluster' && database !== 0) throw new Error('names a database; a cluster has none');
  return { ...(primary !== undefined && { primary }), database };
}

function toHost(text: string, defaultPort: number): RedisHost {
  const [, bracketed, plain, port] = /^(?:\[([^\]]+)\]|([^:]+))(?::(\d+))?$/.exec(text) ?? [];
  const host = bracketed ?? plain;
  if (host === undefined) throw new Error('must name a host and may name a port');
  const number = port === undefined ? defaultPort : Number(port);
  if (number < 1 || number > 65_535) throw new Error('must name a port from 1 to 65535');
  return { host, port: number };
}

function toCredentials(text: string | undefined): { username?: string; password?: string } {
  if (text === undefined || text === '') return {};
  const [username = '', ...rest] = text.split(':');
  const password = rest.join(':');
  if (username !== '' && rest.length === 0)
    throw new Error(
      'names a user without a password: redis://user:password@host or redis://:password@host',
    );
  return {
    ...(username !== '' && { username: decodeUrlPart(username) }),
    ...(password !== '' && { password: decodeUrlPart(password) }),
  };
}

function decodeUrlPart(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    throw new Error('has a % in its user or password that is not percent-encoded as %25');
  }
}
