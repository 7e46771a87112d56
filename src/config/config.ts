import { readFileSync } from 'node:fs';
import { isSupportedCountry } from 'libphonenumber-js/max';
import { z } from 'zod';
import { findNearName } from '../near-name.js';
import {
  anyInt,
  durationOrOff,
  durationOrZero,
  int,
  keys,
  proxyUrl,
  redisUrl,
  trustProxy,
  url,
} from './setting-rules.js';
import { laneSettings } from './lane-settings.js';
import { neededScopes } from '../klaviyo/lanes/list.js';
import { findSourceContradictions, sourceSecrets, sourceSettings } from '../sources/list.js';
import { mappingFile } from '../sources/mapping/file.js';
import { toErrorMessage } from '../error.js';

const day = 86_400_000;

/** Every environment variable that the relay reads, with its rule, its default and its description. `npm run docs` makes docs/reference/configuration.md and .env.example from it. */
export const settingsSchema = z.object({
  KLAVIYO_API_KEY: z
    .string({ error: 'is required: a private API key, or KLAVIYO_API_KEY_FILE' })
    .trim()
    .regex(/^pk_\S+$/, 'must be a private key: it starts with pk_')
    .describe(
      `Private API key, or \`KLAVIYO_API_KEY_FILE\`. Scopes: ${neededScopes.join(', ')}; subscriptions and suppressions also need subscriptions:write, suppressions also subscriptions:read, and erasures data-privacy:write`,
    ),
  KLAVIYO_BASE_URL: url
    .default('https://a.klaviyo.com')
    .describe(
      "Base URL of Klaviyo's API. Use the URL of `klaviyo-relay sandbox` to try things out",
    ),
  KLAVIYO_REVISION: z
    .string()
    .regex(/^(auto|\d{4}-\d{2}-\d{2}(\.pre)?)$/, 'must be auto or a date such as 2026-07-15')
    .default('auto')
    .describe(
      'API revision. `auto`: 2024-10-15 while Klaviyo supports it, then the newest tested one; it moves up when Klaviyo retires a revision. A date is used as it is',
    ),
  KLAVIYO_TIMEOUT_MS: int(1, 600_000, 30_000).describe('Time limit of one request to Klaviyo'),
  BACKFILL_AFTER: durationOrOff
    .prefault('1d')
    .describe(
      'Events that are older than this when they are accepted are sent with `backfill: true`: Klaviyo records them and triggers no flow. A time such as `1d`, `12h` or `30m`, or `off`. `?backfill=` of a request takes precedence',
    ),
  HTTPS_PROXY: proxyUrl
    .optional()
    .describe(
      'Proxy for requests to Klaviyo: http://user:password@proxy:3128. The names in lower case work too, also for `http_proxy` and `no_proxy`',
    ),
  HTTP_PROXY: proxyUrl
    .optional()
    .describe('Proxy for a `KLAVIYO_BASE_URL` with plain HTTP; never used for this machine'),
  NO_PROXY: z
    .string()
    .optional()
    .describe(
      'Hosts that are reached without a proxy: names (with their subdomains), addresses, ranges such as 10.0.0.0/8, or `*`',
    ),
  HOST: z
    .string()
    .default('127.0.0.1')
    .describe('Address to listen on. Any address but loopback requires `RELAY_API_KEYS`'),
  PORT: int(0, 65_535, 3000).describe('Port to listen on; 0 selects a free one'),
  RELAY_API_KEYS: keys.describe(
    'Keys of callers that may post, separated by commas (or `RELAY_API_KEYS_FILE`, also one per line). Several keys allow rotation',
  ),
  RELAY_ADMIN_KEYS: keys.describe(
    'Admin keys (or `RELAY_ADMIN_KEYS_FILE`), for receipts, deliveries, dead letters, flush and lanes',
  ),
  STORE: z
    .enum(['journal', 'memory', 'redis'], { error: 'must be journal, memory or redis' })
    .default('journal')
    .describe(
      'Where accepted envelopes are kept: on this disk, in the memory of this process, or in Redis for several relays',
    ),
  DATA_DIR: z
    .string()
    .default('./data')
    .describe('Directory of the journal; only one relay can use it'),
  WORKING_SET_MAX_BYTES: int(1_000_000, 2 ** 36, 58_720_256).describe(
    "Maximum size of the journal's envelopes in memory. A larger backlog stays on disk",
  ),
  DISK_RESERVE_BYTES: int(0, 2 ** 50, 268_435_456).describe(
    "The relay responds with 503 while the journal's volume has less free space than this",
  ),
  SYNC_TIMEOUT_MS: int(100, 3_600_000, 30_000).describe(
    'Time limit of one write to the journal with its sync. If the disk hangs for longer, the relay ends',
  ),
  REDIS_URL: redisUrl
    .optional()
    .describe(
      'Redis or Valkey for `STORE=redis` (or `REDIS_URL_FILE`): redis://user:password@host:6379/0, rediss:// with TLS, redis+sentinel://a,b/primary/0, redis+cluster://a,b',
    ),
  REDIS_SENTINEL_USERNAME: z
    .string()
    .optional()
    .describe('User name for the sentinels, if it differs from that for Redis'),
  REDIS_SENTINEL_PASSWORD: z
    .string()
    .optional()
    .describe(
      'Password for the sentinels, if it differs from that for Redis (or `REDIS_SENTINEL_PASSWORD_FILE`)',
    ),
  REDIS_KEY_PREFIX: z
    .string()
    .regex(/^[^{}\s]{1,100}$/, 'must be 1 to 100 characters without braces and spaces')
    .default('klaviyo-relay')
    .describe(
      'Starts every key in Redis, as {prefix}. Use one prefix for each Klaviyo account; a cluster then spreads the accounts over its nodes',
    ),
  REDIS_ACCEPT_KEY: z
    .string()
    .optional()
    .describe(
      'Lets a new Klaviyo key use the buffer of another key, if the relay cannot find out that both belong to one account. The error message contains the value',
    ),
  REDIS_TIMEOUT_MS: int(50, 600_000, 2000).describe(
    'Time limit of one Redis command. A slower server counts as down',
  ),
  REDIS_LEASE_MS: int(1000, 3_600_000, 15_000).describe(
    'Lease: a relay that has not renewed it for this long is considered dead, and other relays take over its envelopes',
  ),
  REDIS_DURABLE: z
    .enum(['auto', 'yes', 'no'], { error: 'must be auto, yes or no' })
    .default('auto')
    .describe(
      'States whether Redis keeps what it acknowledges, if the server does not report its settings',
    ),
  REDIS_WAIT_REPLICAS: int(0, 100, 0).describe(
    'Number of replicas that must have an event before the relay responds with 202, so that a failover does not lose it',
  ),
  REDIS_REQUIRE_DURABLE: z
    .stringbool({ error: 'must be true or false' })
    .default(false)
    .describe('Accept nothing, and be not ready, while Redis could lose what it acknowledges'),
  ...laneSettings,
  BATCH_MAX_BYTES: int(150_000, 5_000_000, 5_000_000).describe(
    'Maximum size of a serialised request body',
  ),
  RATE_LIMIT_PER_SECOND: int(1, 100_000, 75).describe(
    'Requests per second that refill the token bucket of all lanes',
  ),
  RATE_LIMIT_BURST: int(1, 100_000, 75).describe('Size of the token bucket'),
  RATE_LIMIT_REDIS_URL: redisUrl
    .optional()
    .describe(
      'Redis in which all relays of an account share these limits (or `RATE_LIMIT_REDIS_URL_FILE`). Absent: `REDIS_URL` with `STORE=redis`; otherwise each relay uses the full limits',
    ),
  RATE_LIMIT_STATIC_SHARE: z.coerce
    .number({ error: 'must be a number above 0, at most 1' })
    .gt(0, 'must be above 0')
    .max(1, 'must be at most 1')
    .optional()
    .describe(
      'Share of every limit that this relay may use while that Redis is down, such as 0.5 with two relays. Absent: it sends nothing meanwhile',
    ),
  WORKERS: int(0, 64, 0).describe(
    'Threads that read, check and map large batches; 0: the main thread does it',
  ),
  DELIVERY_CONCURRENCY: int(1, 256, 8).describe(
    'Maximum number of requests in flight at once, per lane',
  ),
  RETRY_BASE_MS: int(1, 60_000, 500).describe(
    'First retry delay. It doubles with each attempt, with full jitter',
  ),
  RETRY_MAX_DELAY_MS: int(1, 3_600_000, 60_000).describe('Longest retry delay'),
  RETRY_MAX_ATTEMPTS: int(0, 1_000_000, 0).describe(
    'Attempts after which an envelope becomes a dead letter; 0: no bound',
  ),
  RETRY_MAX_AGE_MS: int(0, 365 * day, 7 * day).describe(
    'Age after which an envelope that keeps failing becomes a dead letter. It must also have failed 5 times within this process, over at least 10 minutes (or over this age, if that is shorter). 0: no bound',
  ),
  MAX_BUFFER_COUNT: anyInt(1, 1_000_000_000)
    .optional()
    .describe(
      'Maximum number of unsettled envelopes; at this bound the relay responds with 503. Absent: 10,000,000 in the journal, 1,000,000 in memory and in Redis',
    ),
  MAX_BUFFER_BYTES: anyInt(1_000_000, Number.MAX_SAFE_INTEGER)
    .optional()
    .describe(
      'Maximum payload bytes of unsettled envelopes. Absent: 8 GiB in the journal, 256 MiB in memory, 1 GiB in Redis',
    ),
  DEDUPE_MAX_AGE_MS: int(0, 30 * day, day).describe(
    "How long an event's unique_id is remembered, to detect repeats",
  ),
  DEDUPE_MAX_COUNT: int(0, 100_000_000, 500_000).describe('How many unique_ids are remembered'),
  DELIVERY_LOG_MAX_COUNT: int(1, 10_000_000, 10_000).describe(
    'Number of the newest deliveries that are kept, with the receipts of what they settled',
  ),
  DELIVERY_LOG_MAX_AGE_MS: int(1, 365 * day, 7 * day).describe(
    'How long deliveries and receipts are kept',
  ),
  DEAD_LETTER_MAX_COUNT: int(1, 100_000_000, 100_000).describe(
    'Number of dead letters at which `DEAD_LETTER_OVERFLOW` applies. The log warns from 80 % on',
  ),
  DEAD_LETTER_OVERFLOW: z
    .enum(['pause', 'drop-oldest'], { error: 'must be pause or drop-oldest' })
    .default('pause')
    .describe(
      'What happens at that bound. `pause` drops none, and sends nothing until dead letters are redriven or discarded. `drop-oldest` continues, and loses the oldest',
    ),
  MEMO_MAX_COUNT: int(0, 100_000_000, 100_000).describe(
    'Number of the newest facts that are kept of each kind. Facts are what sources keep for later requests, such as the buyer of an order; kinds are deliveries, orders, payments, charges, customers, users, devices, withdrawn consents, states of consents and erasures. It also bounds what `PROFILE_UNCHANGED_TTL` keeps in memory',
  ),
  FACT_MAX_AGE: durationOrOff
    .prefault('400d')
    .describe(
      'Age at which a fact about an order, payment, charge, customer, user or device, or about a withdrawn consent, is removed. A time such as `400d`, or `off`',
    ),
  ERASURE_RECORD_MAX_AGE: durationOrOff
    .prefault('400d')
    .describe(
      'Age at which the record of an erasure is removed: a hash, the date and counts. Receipts of what was erased end with it. A time such as `400d`, or `off`',
    ),
  PROFILE_UNCHANGED_TTL: durationOrZero
    .prefault('0')
    .describe(
      'A profile that is equal to what this process delivered last for the person within this time is acknowledged without a request. `0`: every profile is sent. Set it only if nothing else writes the same fields to the account',
    ),
  DELIVERY_FACT_MAX_AGE: durationOrOff
    .prefault('7d')
    .describe(
      'Age at which a fact about an accepted webhook delivery is removed. A repeat that arrives later is treated as new',
    ),
  WAITING_MAX_AGE: durationOrZero
    .prefault('3d')
    .describe(
      'How long an entry of a source waits if it names a person the relay has no identifiers for yet, such as a refund before its order. After this time it becomes a dead letter. An entry that is older at the start of the relay waits 10 more minutes. `0`: it becomes a dead letter at once',
    ),
  WAITING_MAX_COUNT: int(0, 100_000, 20_000).describe(
    'Maximum number of such waiting entries, at most half of `MAX_BUFFER_COUNT`. Entries beyond it become dead letters at once',
  ),
  INGEST_RATE_LIMIT_PER_SECOND: z
    .union([z.literal('off').transform(() => null), int(1, 1_000_000, 1)], {
      error: 'must be a whole number or off',
    })
    .prefault('off')
    .describe('Requests per second that each caller may send'),
  BODY_LIMIT_BYTES: int(1000, 100_000_000, 5_000_000).describe(
    'Maximum size of a request body after decompression',
  ),
  HEADERS_TIMEOUT_MS: int(100, 600_000, 10_000).describe(
    'Time within which a caller must send its request headers',
  ),
  REQUEST_TIMEOUT_MS: int(100, 600_000, 30_000).describe(
    'Time within which a caller must send its whole request; after it the relay responds with 408',
  ),
  TRUST_PROXY: trustProxy
    .prefault('false')
    .describe(
      'Proxies whose X-Forwarded-For is trusted: the number of proxies before the relay (`1`), or their addresses and networks (`10.0.0.0/8,loopback`). `true` trusts every caller',
    ),
  DEFAULT_PHONE_COUNTRY: z
    .string()
    .toUpperCase()
    .refine(isSupportedCountry, 'must be an ISO 3166 country such as US')
    .optional()
    .describe('ISO 3166 country of phone numbers without a + prefix'),
  ...sourceSettings,
  MAPPING_FILE: mappingFile
    .optional()
    .describe(
      'JSON or YAML file that renames metrics, selects properties and turns topics off. `klaviyo-relay check` explains what it does',
    ),
  SHUTDOWN_TIMEOUT_MS: int(0, 600_000, 10_000).describe('Time limit of a graceful stop'),
  LOG_LEVEL: z
    .enum(['fatal', 'error', 'warn', 'info', 'debug', 'trace', 'silent'])
    .default('info')
    .describe('Lowest level logged'),
  LOG_FORMAT: z
    .enum(['auto', 'json', 'pretty'])
    .default('auto')
    .describe('Format of the log. `auto`: readable in a terminal, JSON otherwise'),
});

export type Config = Readonly<z.output<typeof settingsSchema>>;

/** Thrown with every problem at once, each naming its variable and never its value where that may be secret. */
export class ConfigError extends Error {
  readonly problems: readonly string[];

  constructor(problems: readonly string[]) {
    super(
      `configuration is not usable:\n${problems.map((problem) => `  - ${problem}`).join('\n')}`,
    );
    this.name = 'ConfigError';
    this.problems = problems;
  }
}

export type Environment = Readonly<Record<string, string | undefined>>;

const fromFile = [
  'KLAVIYO_API_KEY',
  'RELAY_API_KEYS',
  'RELAY_ADMIN_KEYS',
  'REDIS_URL',
  'RATE_LIMIT_REDIS_URL',
  'REDIS_SENTINEL_PASSWORD',
  ...sourceSecrets,
] as const;

/** Returns the secrets among the values of the environment. They are removed from errors that occur before the configuration is loaded. */
export function findSecrets(env: Environment): readonly string[] {
  return [...fromFile, 'RELAY_API_KEY']
    .flatMap((name) => {
      const value = env[name] ?? '';
      return name.endsWith('_URL') ? [toPassword(value)] : value.split(',');
    })
    .map((secret) => secret.trim())
    .filter((secret) => secret !== '');
}

/** The password of a URL as it is written there; empty if the URL has none. */
const toPassword = (url: string): string => /:\/\/[^/@]*?:(.+)@/.exec(url)?.[1] ?? '';

const proxySettings = ['HTTPS_PROXY', 'HTTP_PROXY', 'NO_PROXY'] as const;
const loopback = /^(localhost|127\.\d+\.\d+\.\d+|::1|\[::1\])$/;

/** Reads the environment once. Throws ConfigError. Empty variables count as absent. */
export function loadConfig(env: Environment): Config {
  const problems: string[] = [];
  const input = Object.fromEntries(
    Object.entries(env).filter(([, value]) => value !== undefined && value !== ''),
  );
  for (const name of fromFile) readSecretFile(name, input, problems);
  for (const name of proxySettings) readLowerCase(name, env, input);
  const parsed = settingsSchema.safeParse(input);
  for (const issue of parsed.error?.issues ?? []) {
    problems.push(`${issue.path.join('.')}: ${issue.message}`);
  }
  if (parsed.success) problems.push(...findContradictions(parsed.data));
  if (!parsed.success || problems.length > 0) throw new ConfigError(problems);
  return parsed.data;
}

/** The name in lower case has priority, even if its value is empty, as in curl. */
function readLowerCase(
  name: (typeof proxySettings)[number],
  env: Environment,
  input: Record<string, string | undefined>,
): void {
  const value = env[name.toLowerCase()];
  if (value !== undefined) input[name] = value === '' ? undefined : value;
}

function readSecretFile(
  name: (typeof fromFile)[number],
  input: Record<string, string | undefined>,
  problems: string[],
): void {
  const path = input[`${name}_FILE`];
  if (path === undefined) return;
  if (input[name] !== undefined) {
    problems.push(`${name}: set it or ${name}_FILE, not both`);
    return;
  }
  try {
    input[name] = readFileSync(path, 'utf8').trim();
  } catch (error) {
    problems.push(`${name}_FILE: cannot be read (${toErrorMessage(error)})`);
  }
}

/** Returns one problem for each pair of settings that exclude each other. */
function findContradictions(config: Config): string[] {
  const problems: string[] = [];
  if (config.RELAY_API_KEYS.length === 0 && !loopback.test(config.HOST)) {
    problems.push(
      `HOST: without RELAY_API_KEYS the relay listens on loopback only, not on ${config.HOST}`,
    );
  }
  if (config.RELAY_ADMIN_KEYS.some((key) => config.RELAY_API_KEYS.includes(key))) {
    problems.push(
      'RELAY_ADMIN_KEYS: a key is in RELAY_API_KEYS as well; a key either ingests or administers',
    );
  }
  if (
    isPlaceholder(config.KLAVIYO_API_KEY) &&
    !loopback.test(new URL(config.KLAVIYO_BASE_URL).hostname)
  ) {
    problems.push('KLAVIYO_API_KEY: is a placeholder; set a private key of your Klaviyo account');
  }
  if (config.STORE === 'redis' && config.REDIS_URL === undefined) {
    problems.push('REDIS_URL: is required where STORE is redis');
  }
  if (config.STORE === 'redis' && config.PROFILE_UNCHANGED_TTL > 0) {
    problems.push(
      'PROFILE_UNCHANGED_TTL: must be 0 where STORE is redis, because a relay does not see what others send',
    );
  }
  if (config.RETRY_BASE_MS > config.RETRY_MAX_DELAY_MS) {
    problems.push('RETRY_BASE_MS: must not be above RETRY_MAX_DELAY_MS');
  }
  problems.push(...findSourceContradictions(config));
  return problems;
}

/** Returns true for a text that templates and examples have in place of a key. */
export const isPlaceholder = (key: string): boolean =>
  /replace|change[-_]?(?:me|it|this)|your[-_]|placeholder|example|x{4}|\.{3}|…|[<>]/i.test(key);

/** A variable that the relay does not read, and the setting that its name most likely means. */
export type MisspeltVariable = { readonly name: string; readonly meant: string };

/** Short names get fewer edits: HOST resembles variables of other programs, such as HOME. */
const toMaxEdits = (name: string): number => (name.includes('_') ? 2 : name.length < 5 ? 0 : 1);

/**
 * Returns the variables that the relay does not read and whose names resemble a setting. If that setting
 * is set as well, the variable is assumed to belong to another program and is left out.
 */
export function findMisspeltVariables(env: Environment): readonly MisspeltVariable[] {
  const files = fromFile.map((name) => `${name}_FILE`);
  // RELAY_URL is read by `klaviyo-relay import`.
  const known = new Set([...Object.keys(settingsSchema.shape), ...files, 'RELAY_URL']);
  const isSet = (name: string): boolean => (env[name] ?? '') !== '';
  return Object.keys(env).flatMap((name): MisspeltVariable[] => {
    const meant = isSet(name) ? findNearName(name, known, toMaxEdits(name)) : null;
    return meant === null || isSet(meant) || isSet(`${meant}_FILE`) ? [] : [{ name, meant }];
  });
}
