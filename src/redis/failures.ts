import type { RedisAddress } from './address.js';
import { toErrorMessage } from '../error.js';

/** Why a connection to Redis cannot be used, as a text for operators without a password. */
export type RedisFailure = {
  readonly why: string;
  /** True if waiting does not help, because the setting is wrong. */
  readonly isCertain: boolean;
};

export type RedisFailureContext = {
  readonly address: RedisAddress;
  /** The variable that names the server, such as `REDIS_URL`. */
  readonly setting: string;
  readonly timeoutMs: number;
};

const passing = (why: string): RedisFailure => ({ why, isCertain: false });

/** Describes an error of ioredis, or an error reply during the setup of a connection. */
export function toRedisFailure(error: unknown, context: RedisFailureContext): RedisFailure {
  const message = toErrorMessage(error);
  const code = error instanceof Error && 'code' in error ? String(error.code) : '';
  if (error instanceof Error && error.name === 'ReplyError') return toRefusal(message, context);
  // ioredis reports one error for all nodes of a cluster, and one for all sentinels.
  if (error instanceof Error && 'lastNodeError' in error && error.lastNodeError !== undefined) {
    const { why } = toRedisFailure(error.lastNodeError, context);
    return passing(`no node of the cluster can be used: ${why}`);
  }
  if (message.startsWith('All sentinels are unreachable')) {
    const [, words] = /Last error: (.*)$/s.exec(message) ?? [];
    return passing(toSentinelWords(words, context));
  }
  return passing(
    toConnectionWords(message, code, context) ?? toUnnamed(message, context.timeoutMs),
  );
}

/** The server's error without the command that it repeats, which may contain a password or an event. */
export function describeFailure(message: string): string {
  const [first = ''] = message
    .replace(/^ERR Error running script \(call to f_[0-9a-f]+\): @user_script:\d+: /, '')
    .replace(/,? with args beginning with.*$/s, '')
    .replace(/\s*(?:&c )?script: [0-9a-f]{40}.*$/s, '')
    .split(/[\r\n]/);
  return first.slice(0, 200).trim();
}

/**
 * Describes the error of SELECT if the server does not have the database; null for an error that may pass,
 * such as that of a provider's quota.
 */
export function toDatabaseFailure(
  error: unknown,
  { address, setting }: RedisFailureContext,
): RedisFailure | null {
  const message = toErrorMessage(error);
  if (!databaseRefused.test(message)) return null;
  const words = `${address.database} of ${setting} ("${describeFailure(message)}")`;
  return { why: `the server does not have database ${words}`, isCertain: true };
}

const databaseRefused =
  /^ERR .*(DB index|database|SELECT is not allowed|unknown command|unsupported|not supported)/i;

/** Describes the error reply to a connection that the server rejects. */
function toRefusal(message: string, { address, setting }: RedisFailureContext): RedisFailure {
  if (/^WRONGPASS|^ERR invalid password/.test(message)) {
    const what = address.username === undefined ? 'the password' : 'the user or the password';
    return passing(`Redis refuses ${what} in ${setting}`);
  }
  if (/^NOAUTH|^ERR operation not permitted/.test(message)) {
    return passing(
      address.password === undefined
        ? `Redis requires a password, and ${setting} has none`
        : `Redis refuses the password in ${setting}`,
    );
  }
  if (message.includes('cluster support disabled')) {
    return passing(`the server is not part of a cluster: use redis:// in ${setting}`);
  }
  return passing(`Redis answers "${describeFailure(message)}"`);
}

/** Without `words`, all sentinels replied and none named a primary. */
function toSentinelWords(
  words: string | undefined,
  { address, setting }: RedisFailureContext,
): string {
  if (words === undefined || words.includes('No such master'))
    return `the sentinels in ${setting} have no primary of the name ${address.primary ?? ''}`;
  if (words.startsWith('WRONGPASS') || words.startsWith('NOAUTH'))
    return `the sentinels refuse the user or the password in ${setting}`;
  if (words.startsWith('ERR unknown command'))
    return `what answers at ${listAddresses(address)} are no sentinels: use redis:// in ${setting}`;
  return `no sentinel at ${listAddresses(address)} can be reached: ${describeFailure(words)}`;
}

const listAddresses = ({ hosts }: RedisAddress): string =>
  hosts.map(({ host, port }) => `${host}:${port}`).join(', ');

/** Describes the known errors of sockets and TLS; null for any other. */
function toConnectionWords(
  message: string,
  code: string,
  { address, setting, timeoutMs }: RedisFailureContext,
): string | null {
  const place = listAddresses(address);
  if (message.startsWith('Unknown RESP type 21 ')) {
    return `the server at ${place} speaks TLS: use rediss:// in ${setting}`;
  }
  if (/^Unknown RESP type |^Protocol error/.test(message)) {
    return `what answers at ${place} is not Redis: correct ${setting}`;
  }
  if (code === 'ERR_SSL_WRONG_VERSION_NUMBER' || code === 'EPROTO') {
    return `the server at ${place} does not speak TLS: use redis:// in ${setting}`;
  }
  if (isCertificateError(code)) {
    return `the certificate of the server at ${place} is not accepted (${code})`;
  }
  if (message.startsWith('Command timed out'))
    return `Redis does not answer within ${timeoutMs} ms`;
  switch (code) {
    case 'ECONNREFUSED':
      return `the connection to ${place} is refused: no server listens there`;
    case 'ENOTFOUND':
    case 'EAI_AGAIN':
      return `the name in ${setting} is not found (${message})`;
    case 'ETIMEDOUT': {
      const hint = address.isTls ? '; a server without TLS looks like this, too' : '';
      return `the connection to ${place} is not made within ${timeoutMs} ms${hint}`;
    }
    case 'EHOSTUNREACH':
    case 'ENETUNREACH':
      return `the network has no way to ${place} (${code})`;
    default:
      return null;
  }
}

const isCertificateError = (code: string): boolean =>
  /^(ERR_TLS_|CERT_|UNABLE_TO_|DEPTH_ZERO_|SELF_SIGNED_|HOSTNAME_MISMATCH|INVALID_CA)/.test(code);

function toUnnamed(message: string, timeoutMs: number): string {
  if (
    /^(Connection is closed|Stream isn't writeable|Cluster isn't ready|Reached the max)/.test(
      message,
    )
  )
    return 'the connection was closed';
  if (message.startsWith('connect ETIMEDOUT'))
    return `the connection is not made in ${timeoutMs} ms`;
  return describeFailure(message);
}

/** Describes a connection that ends before it is ready; `words` is the error reply of the server, if any. */
export function toEarlyEnd(words: string | null, context: RedisFailureContext): RedisFailure {
  if (words !== null) return toRefusal(words, context);
  const { address, setting } = context;
  const hint = address.isTls
    ? 'it may not speak TLS'
    : `it may expect TLS (rediss:// in ${setting})`;
  return passing(`the server closes the connection before it answers: ${hint}`);
}
