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
  windows,
} from './setting-rules.js';
import { findSourceContradictions, sourceSecrets, sourceSettings } from '../sources/list.js';
import { mappingFile } from '../sources/mapping/file.js';

const day = 86_400_000;

/** Every variable the relay reads: its rule, its default and its one-line description. The README's table is made from this. */
export const settingsSchema = z.object({
  KLAVIYO_API_KEY: z
    .string({ error: 'is required: a private API key, or KLAVIYO_API_KEY_FILE' })
    .trim()
    .regex(/^pk_\S+$/, 'must be a private key: it starts with pk_')
    .describe(
      'Private API key, or `KLAVIYO_API_KEY_FILE`. Scopes: events:write, profiles:write, lists:write, profiles:read, lists:read',
    ),
  KLAVIYO_BASE_URL: url
    .default('https://a.klaviyo.com')
    .describe('Where Klaviyo is; point it at `klaviyo-relay sandbox` to try things out'),
  KLAVIYO_REVISION: z
    .string()
    .regex(/^(auto|\d{4}-\d{2}-\d{2}(\.pre)?)$/, 'must be auto or a date such as 2026-07-15')
    .default('auto')
    .describe(
      'API revision. `auto`: 2024-10-15 while Klaviyo supports it, then the newest that is tested; moves up when Klaviyo retires it. A date is kept',
    ),
  KLAVIYO_TIMEOUT_MS: int(1, 600_000, 30_000).describe('Time limit of one attempt'),
  BACKFILL_AFTER: durationOrOff
    .prefault('1d')
    .describe(
      'Events older than this when they are accepted are sent with `backfill: true`: Klaviyo records them and triggers no flow. A time such as `1d`, `12h` or `30m`, or `off`; `?backfill=` of a request comes first',
    ),
  HTTPS_PROXY: proxyUrl
    .optional()
    .describe(
      'Proxy on the way to Klaviyo: http://user:password@proxy:3128. Also in lower case, as `http_proxy` and `no_proxy`',
    ),
  HTTP_PROXY: proxyUrl
    .optional()
    .describe('Proxy on the way to a `KLAVIYO_BASE_URL` of plain HTTP; never to this machine'),
  NO_PROXY: z
    .string()
    .optional()
    .describe(
      'Hosts that are reached without a proxy: names with all below them, addresses, ranges such as 10.0.0.0/8, or `*`',
    ),
  HOST: z
    .string()
    .default('127.0.0.1')
    .describe('Address to listen on; anything but loopback needs `RELAY_API_KEYS`'),
  PORT: int(0, 65_535, 3000).describe('Port to listen on; 0 picks a free one'),
  RELAY_API_KEYS: keys.describe(
    'Ingest keys, comma-separated (or `RELAY_API_KEYS_FILE`, also one a line); several allow rotation',
  ),
  RELAY_ADMIN_KEYS: keys.describe(
    'Admin keys (or `RELAY_ADMIN_KEYS_FILE`): receipts, deliveries, dead letters, flush, lanes',
  ),
  STORE: z
    .enum(['journal', 'memory', 'redis'], { error: 'must be journal, memory or redis' })
    .default('journal')
    .describe(
      'Where accepted envelopes are kept: on this disk, in this process alone, or in Redis for many relays',
    ),
  DATA_DIR: z.string().default('./data').describe('Directory of the journal, for one relay alone'),
  WORKING_SET_MAX_BYTES: int(1_000_000, 2 ** 36, 58_720_256).describe(
    'Envelopes of the journal held in memory; a larger backlog waits on disk',
  ),
  DISK_RESERVE_BYTES: int(0, 2 ** 50, 268_435_456).describe(
    "Intake answers 503 while the journal's volume has less than this left",
  ),
  SYNC_TIMEOUT_MS: int(100, 3_600_000, 30_000).describe(
    'Time limit of one write to the journal with its sync; a disk that hangs longer ends the relay',
  ),
  REDIS_URL: redisUrl
    .optional()
    .describe(
      'Redis or Valkey for `STORE=redis` (or `REDIS_URL_FILE`): redis://user:password@host:6379/0, rediss:// with TLS, redis+sentinel://a,b/primary/0, redis+cluster://a,b',
    ),
  REDIS_SENTINEL_USERNAME: z
    .string()
    .optional()
    .describe('User of the sentinels, where it is not that of Redis'),
  REDIS_SENTINEL_PASSWORD: z
    .string()
    .optional()
    .describe(
      'Password of the sentinels, where it is not that of Redis (or `REDIS_SENTINEL_PASSWORD_FILE`)',
    ),
  REDIS_KEY_PREFIX: z
    .string()
    .regex(/^[^{}\s]{1,100}$/, 'must be 1 to 100 characters without braces and spaces')
    .default('klaviyo-relay')
    .describe(
      'Begins every name in Redis, as {prefix}: one for each Klaviyo account, so that a cluster spreads them',
    ),
  REDIS_ACCEPT_KEY: z
    .string()
    .optional()
    .describe(
      'Lets a new Klaviyo key use what another key began under the prefix, where Klaviyo does not say that both are of one account: the value is in the error',
    ),
  REDIS_TIMEOUT_MS: int(50, 600_000, 2000).describe(
    'Time limit of one command; a server that is slower is taken to be away',
  ),
  REDIS_LEASE_MS: int(1000, 3_600_000, 15_000).describe(
    'A relay that is not heard of for so long is taken to be dead, and others send what it held',
  ),
  REDIS_DURABLE: z
    .enum(['auto', 'yes', 'no'], { error: 'must be auto, yes or no' })
    .default('auto')
    .describe('Whether Redis keeps what it acknowledges, where it does not let itself be asked'),
  REDIS_WAIT_REPLICAS: int(0, 100, 0).describe(
    'Replicas that have what is accepted before it is answered with 202, so that a failover loses none of it',
  ),
  REDIS_REQUIRE_DURABLE: z
    .stringbool({ error: 'must be true or false' })
    .default(false)
    .describe('Take nothing, and be not ready, while Redis could lose what it acknowledges'),
  EVENT_BATCH_MAX_COUNT: int(1, 1000, 1000).describe('Events a request, at most'),
  PROFILE_BATCH_MAX_COUNT: int(1, 10_000, 10_000).describe('Profiles a request, at most'),
  BATCH_MAX_BYTES: int(150_000, 5_000_000, 5_000_000).describe(
    'Bytes of a serialised request body, at most',
  ),
  EVENT_FLUSH_INTERVAL_MS: int(0, 3_600_000, 1000).describe(
    'Age at which a batch of events leaves, full or not',
  ),
  PROFILE_FLUSH_INTERVAL_MS: int(0, 3_600_000, 1000).describe(
    'Age at which a batch of profiles leaves, full or not',
  ),
  RATE_LIMIT_PER_SECOND: int(1, 100_000, 75).describe(
    'Refill of the token bucket that all lanes share',
  ),
  RATE_LIMIT_BURST: int(1, 100_000, 75).describe('Size of that bucket'),
  EVENT_RATE_WINDOWS: windows
    .prefault('10/1s,150/60s')
    .describe("Klaviyo's windows for bulk events; `off` leaves only the bucket"),
  PROFILE_RATE_WINDOWS: windows
    .prefault('10/1s,150/60s')
    .describe("Klaviyo's windows for bulk profile imports, and for looking at their jobs"),
  RATE_LIMIT_REDIS_URL: redisUrl
    .optional()
    .describe(
      'Redis in which all relays of an account share these limits (or `RATE_LIMIT_REDIS_URL_FILE`). Absent: REDIS_URL with `STORE=redis`, else each relay has them by itself',
    ),
  RATE_LIMIT_STATIC_SHARE: z.coerce
    .number({ error: 'must be a number above 0, at most 1' })
    .gt(0, 'must be above 0')
    .max(1, 'must be at most 1')
    .optional()
    .describe(
      'Part of every limit that this relay may use by itself while that Redis is away: 0.5 with two relays. Absent: it sends nothing meanwhile',
    ),
  WORKERS: int(0, 64, 0).describe(
    'Threads that read and check large batches beside the one that does everything else; 0: none',
  ),
  DELIVERY_CONCURRENCY: int(1, 256, 8).describe('Requests in flight at once, per lane'),
  RETRY_BASE_MS: int(1, 60_000, 500).describe(
    'First retry delay; doubles with each attempt, with full jitter',
  ),
  RETRY_MAX_DELAY_MS: int(1, 3_600_000, 60_000).describe('Longest retry delay'),
  RETRY_MAX_ATTEMPTS: int(0, 1_000_000, 0).describe(
    'Attempts after which an envelope becomes a dead letter; 0 sets no bound',
  ),
  RETRY_MAX_AGE_MS: int(0, 365 * day, 7 * day).describe(
    'Age after which an envelope that keeps failing becomes a dead letter, once this process has seen it fail 5 times over 10 minutes (or over this age, where it is shorter); 0 sets no bound',
  ),
  MAX_BUFFER_COUNT: anyInt(1, 1_000_000_000)
    .optional()
    .describe(
      'Unsettled envelopes held at most; above it intake answers 503. Absent: 10,000,000 in the journal, 1,000,000 in memory and in Redis',
    ),
  MAX_BUFFER_BYTES: anyInt(1_000_000, Number.MAX_SAFE_INTEGER)
    .optional()
    .describe(
      'Their payload bytes, at most. Absent: 8 GiB in the journal, 256 MiB in memory, 1 GiB in Redis',
    ),
  DEDUPE_MAX_AGE_MS: int(0, 30 * day, day).describe("How long an event's unique_id is remembered"),
  DEDUPE_MAX_COUNT: int(0, 100_000_000, 500_000).describe('How many are remembered'),
  DELIVERY_LOG_MAX_COUNT: int(1, 10_000_000, 10_000).describe(
    'Deliveries and settled receipts kept: the newest so many deliveries',
  ),
  DELIVERY_LOG_MAX_AGE_MS: int(1, 365 * day, 7 * day).describe('and for how long'),
  DEAD_LETTER_MAX_COUNT: int(1, 100_000_000, 100_000).describe(
    'Dead letters kept before `DEAD_LETTER_OVERFLOW` applies; an alarm is logged from 80 % on',
  ),
  DEAD_LETTER_OVERFLOW: z
    .enum(['pause', 'drop-oldest'], { error: 'must be pause or drop-oldest' })
    .default('pause')
    .describe(
      'At that bound: `pause` sends nothing more until dead letters are redriven or discarded and drops none; `drop-oldest` goes on and loses the oldest',
    ),
  MEMO_MAX_COUNT: int(0, 100_000_000, 100_000).describe(
    'Facts that sources keep for later requests, such as the buyer of an order: the newest so many of each kind (deliveries seen, orders, payments, charges, customers, users, devices)',
  ),
  FACT_MAX_AGE: durationOrOff
    .prefault('400d')
    .describe(
      'Age at which a fact about an order, payment, charge, customer, user or device is forgotten. A time such as `400d`, or `off`',
    ),
  DELIVERY_FACT_MAX_AGE: durationOrOff
    .prefault('7d')
    .describe(
      'The same of webhook deliveries seen: a repeat that comes later is taken for a new one',
    ),
  WAITING_MAX_AGE: durationOrZero
    .prefault('3d')
    .describe(
      'How long an entry of a source waits that names a person whom no request has told yet, such as a refund before its order; then it becomes a dead letter. One that is found older at a start waits 10 more minutes. `0`: it becomes a dead letter at once',
    ),
  WAITING_MAX_COUNT: int(0, 100_000, 20_000).describe(
    'Entries that may wait so, at most half of `MAX_BUFFER_COUNT`; what comes beyond becomes a dead letter at once',
  ),
  INGEST_RATE_LIMIT_PER_SECOND: z
    .union([z.literal('off').transform(() => null), int(1, 1_000_000, 1)], {
      error: 'must be a whole number or off',
    })
    .prefault('off')
    .describe('Requests per second each caller may send'),
  BODY_LIMIT_BYTES: int(1000, 100_000_000, 5_000_000).describe('Request body, after decompression'),
  HEADERS_TIMEOUT_MS: int(100, 600_000, 10_000).describe(
    'Time a caller has to send its request headers',
  ),
  REQUEST_TIMEOUT_MS: int(100, 600_000, 30_000).describe(
    'Time a caller has to send its whole request; then 408',
  ),
  TRUST_PROXY: trustProxy
    .prefault('false')
    .describe(
      "Whose X-Forwarded-For says a caller's address: a number of proxies in a row before the relay (`1`), or their addresses and networks (`10.0.0.0/8,loopback`). `true` believes every caller",
    ),
  DEFAULT_PHONE_COUNTRY: z
    .string()
    .toUpperCase()
    .refine(isSupportedCountry, 'must be an ISO 3166 country such as US')
    .optional()
    .describe('Country of phone numbers without a + prefix'),
  ...sourceSettings,
  MAPPING_FILE: mappingFile
    .optional()
    .describe(
      'JSON or YAML file that renames metrics, picks properties and turns topics off; `klaviyo-relay check` explains it',
    ),
  SHUTDOWN_TIMEOUT_MS: int(0, 600_000, 10_000).describe('How long a graceful stop may take'),
  LOG_LEVEL: z
    .enum(['fatal', 'error', 'warn', 'info', 'debug', 'trace', 'silent'])
    .default('info')
    .describe('Lowest level logged'),
  LOG_FORMAT: z
    .enum(['auto', 'json', 'pretty'])
    .default('auto')
    .describe('auto: readable in a terminal, JSON otherwise'),
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

/** The secrets in the values of the environment, for the text of an error before there is a configuration. */
export function findSecrets(env: Environment): readonly string[] {
  return [...fromFile, 'RELAY_API_KEY']
    .flatMap((name) => {
      const value = env[name] ?? '';
      return name.endsWith('_URL') ? [toPassword(value)] : value.split(',');
    })
    .map((secret) => secret.trim())
    .filter((secret) => secret !== '');
}

/** As the address has it, which may be none. */
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
  if (parsed.success) problems.push(...contradictions(parsed.data));
  if (!parsed.success || problems.length > 0) throw new ConfigError(problems);
  return parsed.data;
}

/** As curl does: the name in lower case counts before the other, also where it is empty. */
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
    problems.push(
      `${name}_FILE: cannot be read (${error instanceof Error ? error.message : 'unknown error'})`,
    );
  }
}

function contradictions(config: Config): string[] {
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
  if (config.RETRY_BASE_MS > config.RETRY_MAX_DELAY_MS) {
    problems.push('RETRY_BASE_MS: must not be above RETRY_MAX_DELAY_MS');
  }
  problems.push(...findSourceContradictions(config));
  return problems;
}

/** True for what templates and examples have in place of a key. */
export const isPlaceholder = (key: string): boolean =>
  /replace|change[-_]?(?:me|it|this)|your[-_]|placeholder|example|x{4}|\.{3}|…|[<>]/i.test(key);

/** A variable that is not read, and the setting that its name most likely means. */
export type MisspeltVariable = { readonly name: string; readonly meant: string };

/** Short names such as HOST are near to many that other programs read, such as HOME. */
const toMaxEdits = (name: string): number => (name.includes('_') ? 2 : name.length < 5 ? 0 : 1);

/**
 * Variables whose names are near that of a setting, and which nothing reads. Where a setting is meant
 * that is set as well, the other variable is somebody else's.
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
