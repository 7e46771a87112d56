import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, describe, expect, it } from 'vitest';
import {
  ConfigError,
  findMisspeltVariables,
  loadConfig,
  settingsSchema,
  type Environment,
} from '../../src/config/config.js';

const key = { KLAVIYO_API_KEY: 'pk_secret_value' };

function problemsOf(env: Environment): readonly string[] {
  try {
    loadConfig(env);
  } catch (error) {
    if (error instanceof ConfigError) return error.problems;
    throw error;
  }
  return [];
}

describe('the configuration', () => {
  it('requires only a key; all other settings have the documented default', () => {
    expect(loadConfig(key)).toMatchObject({
      KLAVIYO_BASE_URL: 'https://a.klaviyo.com',
      KLAVIYO_REVISION: 'auto',
      KLAVIYO_TIMEOUT_MS: 30_000,
      HOST: '127.0.0.1',
      PORT: 3000,
      RELAY_API_KEYS: [],
      EVENT_BATCH_MAX_COUNT: 1000,
      PROFILE_BATCH_MAX_COUNT: 10_000,
      BATCH_MAX_BYTES: 5_000_000,
      EVENT_FLUSH_INTERVAL_MS: 1000,
      PROFILE_FLUSH_INTERVAL_MS: 1000,
      RATE_LIMIT_PER_SECOND: 75,
      RATE_LIMIT_BURST: 75,
      EVENT_RATE_WINDOWS: [
        { limit: 10, windowMs: 1000 },
        { limit: 150, windowMs: 60_000 },
      ],
      INGEST_RATE_LIMIT_PER_SECOND: null,
      BODY_LIMIT_BYTES: 5_000_000,
      SHUTDOWN_TIMEOUT_MS: 10_000,
      SYNC_TIMEOUT_MS: 30_000,
      LOG_LEVEL: 'info',
    });
  });

  it('treats empty variables as absent', () => {
    expect(loadConfig({ ...key, PORT: '', DEFAULT_PHONE_COUNTRY: '' })).toMatchObject({
      PORT: 3000,
    });
  });

  it.each([
    ['KLAVIYO_API_KEY', { KLAVIYO_API_KEY: 'sk_1' }],
    ['KLAVIYO_API_KEY', {}],
    ['KLAVIYO_BASE_URL', { ...key, KLAVIYO_BASE_URL: 'ftp://x' }],
    ['KLAVIYO_REVISION', { ...key, KLAVIYO_REVISION: 'latest' }],
    ['PORT', { ...key, PORT: '65536' }],
    ['PORT', { ...key, PORT: 'http' }],
    ['RELAY_API_KEYS', { ...key, RELAY_API_KEYS: 'long-enough-key,short' }],
    ['STORE', { ...key, STORE: 'postgres' }],
    ['EVENT_BATCH_MAX_COUNT', { ...key, EVENT_BATCH_MAX_COUNT: '1001' }],
    ['PROFILE_BATCH_MAX_COUNT', { ...key, PROFILE_BATCH_MAX_COUNT: '10001' }],
    ['BATCH_MAX_BYTES', { ...key, BATCH_MAX_BYTES: '5000001' }],
    ['RATE_LIMIT_PER_SECOND', { ...key, RATE_LIMIT_PER_SECOND: '0' }],
    ['EVENT_RATE_WINDOWS', { ...key, EVENT_RATE_WINDOWS: '10 a second' }],
    ['INGEST_RATE_LIMIT_PER_SECOND', { ...key, INGEST_RATE_LIMIT_PER_SECOND: 'many' }],
    ['DEFAULT_PHONE_COUNTRY', { ...key, DEFAULT_PHONE_COUNTRY: 'Atlantis' }],
    ['LOG_LEVEL', { ...key, LOG_LEVEL: 'loud' }],
    ['RETRY_BASE_MS', { ...key, RETRY_BASE_MS: '5000', RETRY_MAX_DELAY_MS: '1000' }],
    ['HOST', { ...key, HOST: '0.0.0.0' }],
    ['KLAVIYO_API_KEY', { KLAVIYO_API_KEY: 'pk_replace_me' }],
    ['KLAVIYO_BASE_URL', { ...key, KLAVIYO_BASE_URL: 'https://user:hunter2@a.klaviyo.com' }],
    ['KLAVIYO_BASE_URL', { ...key, KLAVIYO_BASE_URL: 'https://a.klaviyo.com/?key=hunter2' }],
    ['KLAVIYO_BASE_URL', { ...key, KLAVIYO_BASE_URL: 'https://a.klaviyo.com/#hunter2' }],
    [
      'RELAY_ADMIN_KEYS',
      { ...key, RELAY_API_KEYS: 'hunter2-1,hunter2-2', RELAY_ADMIN_KEYS: 'hunter2-2' },
    ],
  ])('names %s where it is wrong', (name, env: Environment) => {
    const problems = problemsOf(env);
    expect(problems).toHaveLength(1);
    expect(problems[0]).toMatch(new RegExp(`^${name}: `));
    expect(problems[0]).not.toContain('hunter2');
  });

  it('names every problem at once', () => {
    const problems = problemsOf({ PORT: 'x', LOG_LEVEL: 'y', KLAVIYO_API_KEY: 'z' });
    expect(problems.map((problem) => problem.split(':')[0]).sort()).toEqual([
      'KLAVIYO_API_KEY',
      'LOG_LEVEL',
      'PORT',
    ]);
  });

  it('allows any HOST if keys are configured', () => {
    expect(loadConfig({ ...key, HOST: '0.0.0.0', RELAY_API_KEYS: 'ingest-key-1' }).HOST).toBe(
      '0.0.0.0',
    );
  });

  it('allows rate windows to be switched off', () => {
    expect(loadConfig({ ...key, EVENT_RATE_WINDOWS: 'off' }).EVENT_RATE_WINDOWS).toEqual([]);
  });

  it.each<[string | undefined, number]>([
    [undefined, 86_400_000],
    ['1d', 86_400_000],
    ['12h', 43_200_000],
    [' 30m ', 1_800_000],
    ['90s', 90_000],
    ['off', Infinity],
  ])('events are backfilled after %s', (text, ms) => {
    expect(loadConfig({ ...key, BACKFILL_AFTER: text }).BACKFILL_AFTER).toBe(ms);
  });

  it.each(['0d', '1', '1w', '-1d', '1.5h', 'never', '1d12h', '1234567d'])(
    'rejects %s as an age',
    (text) => {
      expect(problemsOf({ ...key, BACKFILL_AFTER: text })).toEqual([
        'BACKFILL_AFTER: must be a time such as 1d, 12h or 30m, or off',
      ]);
    },
  );

  it('never shows a secret', () => {
    const text = problemsOf({
      KLAVIYO_API_KEY: 'hunter2-klaviyo',
      RELAY_API_KEYS: 'hunter2',
      PORT: 'x',
    }).join('\n');
    expect(text).not.toContain('hunter2');
  });

  it('accepts a placeholder key for a Klaviyo on this machine', () => {
    const sandbox = { KLAVIYO_API_KEY: 'pk_replace_me', KLAVIYO_BASE_URL: 'http://127.0.0.1:4000' };
    expect(problemsOf(sandbox)).toEqual([]);
  });

  it('finds unknown variables whose names are similar to that of a setting', () => {
    const meant = (env: Environment) => findMisspeltVariables(env).map((each) => each.meant);
    expect(meant({ DEAD_LETER_MAX_COUNT: '1', KLAVIYO_API_KEYS_FILE: 'x' })).toEqual([
      'DEAD_LETTER_MAX_COUNT',
      'KLAVIYO_API_KEY_FILE',
    ]);
    expect(meant({ WORKER: '1', STORES: 'x', Port: '1' })).toEqual(['WORKERS', 'STORE', 'PORT']);
  });

  it('ignores variables of other programs', () => {
    const others = {
      ...{ HOME: '/', HOSTNAME: 'a', PATH: '/', LANG: 'C', SHELL: 'sh', TERM: 'x', POST: '1' },
      ...{ RELAY_SERVICE_HOST: '10.0.0.1', RELAY_PORT_3000_TCP: 'tcp://10.0.0.1:3000' },
      ...{ KLAVIYO_RELAY_SERVICE_PORT: '1', RELAY_URL: 'http://127.0.0.1' },
      ...{ RELAY_API_KEYS: 'ingest-key-1', RELAY_API_KEY: 'ingest-key-1', PORTS: '' },
    };
    expect(findMisspeltVariables(others)).toEqual([]);
  });

  it('describes every variable', () => {
    for (const [name, schema] of Object.entries(settingsSchema.shape)) {
      expect(schema.description, name).toBeTypeOf('string');
    }
  });
});

/** Every variable that is a time written with its unit, and its default in ms. */
const durations: Record<string, number> = {
  BACKFILL_AFTER: 86_400_000,
  FACT_MAX_AGE: 400 * 86_400_000,
  ERASURE_RECORD_MAX_AGE: 400 * 86_400_000,
  DELIVERY_FACT_MAX_AGE: 7 * 86_400_000,
};

/** Every variable that is a number: its bounds and its default; null where that depends on the store. */
const numbers: Record<string, readonly [min: number, max: number, byDefault: number | null]> = {
  KLAVIYO_TIMEOUT_MS: [1, 600_000, 30_000],
  PORT: [0, 65_535, 3000],
  EVENT_BATCH_MAX_COUNT: [1, 1000, 1000],
  PROFILE_BATCH_MAX_COUNT: [1, 10_000, 10_000],
  SUBSCRIBE_BATCH_MAX_COUNT: [1, 1000, 1000],
  UNSUBSCRIBE_BATCH_MAX_COUNT: [1, 100, 100],
  SUPPRESS_BATCH_MAX_COUNT: [1, 100, 100],
  UNSUPPRESS_BATCH_MAX_COUNT: [1, 100, 100],
  UPDATE_PROFILE_BATCH_MAX_COUNT: [1, 1, 1],
  ERASE_BATCH_MAX_COUNT: [1, 1, 1],
  ADD_TO_LIST_BATCH_MAX_COUNT: [1, 10_000, 10_000],
  REMOVE_FROM_LIST_BATCH_MAX_COUNT: [1, 100, 100],
  BATCH_MAX_BYTES: [150_000, 5_000_000, 5_000_000],
  EVENT_FLUSH_INTERVAL_MS: [0, 3_600_000, 1000],
  PROFILE_FLUSH_INTERVAL_MS: [0, 3_600_000, 1000],
  SUBSCRIBE_FLUSH_INTERVAL_MS: [0, 3_600_000, 1000],
  UNSUBSCRIBE_FLUSH_INTERVAL_MS: [0, 3_600_000, 1000],
  SUPPRESS_FLUSH_INTERVAL_MS: [0, 3_600_000, 1000],
  UNSUPPRESS_FLUSH_INTERVAL_MS: [0, 3_600_000, 1000],
  UPDATE_PROFILE_FLUSH_INTERVAL_MS: [0, 3_600_000, 1000],
  ERASE_FLUSH_INTERVAL_MS: [0, 3_600_000, 1000],
  ADD_TO_LIST_FLUSH_INTERVAL_MS: [0, 3_600_000, 1000],
  REMOVE_FROM_LIST_FLUSH_INTERVAL_MS: [0, 3_600_000, 1000],
  RATE_LIMIT_PER_SECOND: [1, 100_000, 75],
  RATE_LIMIT_BURST: [1, 100_000, 75],
  WORKERS: [0, 64, 0],
  STRIPE_TOLERANCE_SECONDS: [1, 86_400, 300],
  DELIVERY_CONCURRENCY: [1, 256, 8],
  RETRY_BASE_MS: [1, 60_000, 500],
  RETRY_MAX_DELAY_MS: [1, 3_600_000, 60_000],
  RETRY_MAX_ATTEMPTS: [0, 1_000_000, 0],
  RETRY_MAX_AGE_MS: [0, 365 * 86_400_000, 7 * 86_400_000],
  WORKING_SET_MAX_BYTES: [1_000_000, 2 ** 36, 58_720_256],
  REDIS_TIMEOUT_MS: [50, 600_000, 2000],
  REDIS_LEASE_MS: [1000, 3_600_000, 15_000],
  REDIS_WAIT_REPLICAS: [0, 100, 0],
  DISK_RESERVE_BYTES: [0, 2 ** 50, 268_435_456],
  MAX_BUFFER_COUNT: [1, 1_000_000_000, null],
  MAX_BUFFER_BYTES: [1_000_000, Number.MAX_SAFE_INTEGER, null],
  DEDUPE_MAX_AGE_MS: [0, 30 * 86_400_000, 86_400_000],
  DEDUPE_MAX_COUNT: [0, 100_000_000, 500_000],
  DELIVERY_LOG_MAX_COUNT: [1, 10_000_000, 10_000],
  DELIVERY_LOG_MAX_AGE_MS: [1, 365 * 86_400_000, 7 * 86_400_000],
  DEAD_LETTER_MAX_COUNT: [1, 100_000_000, 100_000],
  WAITING_MAX_COUNT: [0, 100_000, 20_000],
  MEMO_MAX_COUNT: [0, 100_000_000, 100_000],
  BODY_LIMIT_BYTES: [1000, 100_000_000, 5_000_000],
  HEADERS_TIMEOUT_MS: [100, 600_000, 10_000],
  REQUEST_TIMEOUT_MS: [100, 600_000, 30_000],
  SHUTDOWN_TIMEOUT_MS: [0, 600_000, 10_000],
  SYNC_TIMEOUT_MS: [100, 3_600_000, 30_000],
};

describe('a time', () => {
  it.each(Object.entries(durations))(
    '%s has a default and is read with its unit',
    (name, byDefault) => {
      expect(loadConfig(key)).toMatchObject({ [name]: byDefault });
      expect(loadConfig({ ...key, [name]: '30m' })).toMatchObject({ [name]: 1_800_000 });
      expect(loadConfig({ ...key, [name]: 'off' })).toMatchObject({ [name]: Infinity });
      expect(problemsOf({ ...key, [name]: '7' })).toEqual([
        `${name}: must be a time such as 1d, 12h or 30m, or off`,
      ]);
    },
  );
});

it('WAITING_MAX_AGE is a time with its unit, or 0', () => {
  expect(loadConfig(key).WAITING_MAX_AGE).toBe(3 * 86_400_000);
  expect(loadConfig({ ...key, WAITING_MAX_AGE: '90s' }).WAITING_MAX_AGE).toBe(90_000);
  expect(loadConfig({ ...key, WAITING_MAX_AGE: '0' }).WAITING_MAX_AGE).toBe(0);
  for (const value of ['off', '3', '-1d']) {
    expect(problemsOf({ ...key, WAITING_MAX_AGE: value })).toEqual([
      'WAITING_MAX_AGE: must be a time such as 1d, 12h or 30m, or 0',
    ]);
  }
});

it('PROFILE_UNCHANGED_TTL is a time, off by default, and only for a relay that sees all deliveries', () => {
  expect(loadConfig(key).PROFILE_UNCHANGED_TTL).toBe(0);
  const on = { ...key, PROFILE_UNCHANGED_TTL: '7d' };
  expect(loadConfig(on).PROFILE_UNCHANGED_TTL).toBe(7 * 86_400_000);
  expect(problemsOf({ ...on, STORE: 'redis', REDIS_URL: 'redis://127.0.0.1:6379' })).toEqual([
    expect.stringContaining('PROFILE_UNCHANGED_TTL: must be 0 where STORE is redis'),
  ]);
});

describe('a number', () => {
  it('has a default where it is not set', () => {
    const config: Record<string, unknown> = loadConfig(key);
    for (const [name, [, , byDefault]] of Object.entries(numbers)) {
      expect(config[name] ?? null, name).toBe(byDefault);
    }
  });

  it('is in the table above, with its bounds', () => {
    const absent = { MAX_BUFFER_COUNT: '1', MAX_BUFFER_BYTES: '1000000' };
    const config = Object.entries(loadConfig({ ...key, ...absent }));
    const found = config.filter(([, value]) => typeof value === 'number').map(([name]) => name);
    const orZero = ['WAITING_MAX_AGE', 'PROFILE_UNCHANGED_TTL'];
    const numbersFound = found.filter((name) => !(name in durations) && !orZero.includes(name));
    expect(numbersFound.sort()).toEqual(Object.keys(numbers).sort());
  });

  it.each(Object.entries(numbers))('%s is accepted only within its bounds', (name, [min, max]) => {
    // The other of the two that must not contradict each other gets out of the way.
    const env: Environment = {
      ...key,
      ...(name === 'RETRY_MAX_DELAY_MS' && { RETRY_BASE_MS: '1' }),
    };
    for (const value of [min, max]) {
      expect(loadConfig({ ...env, [name]: String(value) })).toMatchObject({ [name]: value });
    }
    const tooLarge = max === Number.MAX_SAFE_INTEGER ? '1e300' : String(max + 1);
    for (const value of [String(min - 1), tooLarge, '1.5', 'many', 'NaN', 'Infinity']) {
      const problems = problemsOf({ ...env, [name]: value });
      expect(problems.length, value).toBeGreaterThan(0);
      for (const problem of problems) expect(problem).toMatch(new RegExp(`^${name}: must be `));
    }
  });
});

describe('TRUST_PROXY', () => {
  it.each<[string, unknown]>([
    ['false', false],
    ['off', false],
    ['0', false],
    ['TRUE', true],
    ['1', 1],
    [' 2 ', 2],
    ['10.0.0.1', ['10.0.0.1']],
    ['10.0.0.0/8, loopback,fd00::/8', ['10.0.0.0/8', 'loopback', 'fd00::/8']],
    ['::1', ['::1']],
  ])('%j is read as %j', (text, value) => {
    expect(loadConfig({ ...key, TRUST_PROXY: text }).TRUST_PROXY).toEqual(value);
  });

  it.each([
    'perhaps',
    '-1',
    '1.5',
    '33',
    '10.0.0.0/33',
    '10.0.0.0/0',
    '::/0',
    '10.0.0.0/8/8',
    '10.0.0.0/',
    '10.0.0',
    'proxy.example.com',
    '10.0.0.1,',
    'true,10.0.0.1',
  ])('%j is refused', (text) => {
    expect(problemsOf({ ...key, TRUST_PROXY: text })).toEqual([
      expect.stringMatching(/^TRUST_PROXY: must be /) as string,
    ]);
  });
});

describe('a proxy', () => {
  it('is read as curl reads it', () => {
    expect(loadConfig({ ...key, HTTPS_PROXY: 'proxy:3128' }).HTTPS_PROXY).toBe(
      'http://proxy:3128/',
    );
    expect(loadConfig({ ...key, HTTP_PROXY: 'https://proxy' }).HTTP_PROXY).toBe('https://proxy/');
    const { HTTPS_PROXY, NO_PROXY } = loadConfig({
      ...key,
      HTTPS_PROXY: 'http://upper:1',
      https_proxy: 'http://lower:2',
      no_proxy: 'localhost',
    });
    expect([HTTPS_PROXY, NO_PROXY]).toEqual(['http://lower:2/', 'localhost']);
    const none = loadConfig({ ...key, HTTPS_PROXY: 'http://upper:1', https_proxy: '' });
    expect(none.HTTPS_PROXY).toBeUndefined();
  });

  it.each(['socks5://sam:s3cret@proxy', 'http://sam:s3cret%@proxy', 'http://', 'ht tp://s3cret'])(
    'that cannot be used is rejected with an error without its password: %s',
    (HTTPS_PROXY) => {
      const expected = [
        'HTTPS_PROXY: must be an http or https URL, such as http://user:password@proxy:3128',
      ];
      expect(problemsOf({ ...key, HTTPS_PROXY })).toEqual(expected);
      expect(problemsOf({ ...key, https_proxy: HTTPS_PROXY })).toEqual(expected);
    },
  );
});

describe('secrets in files', () => {
  let folder: string | undefined;
  afterEach(() => {
    if (folder !== undefined) rmSync(folder, { recursive: true });
    folder = undefined;
  });

  function aFile(text: string): string {
    folder = mkdtempSync(join(tmpdir(), 'relay-config-'));
    const path = join(folder, 'secret');
    writeFileSync(path, text);
    return path;
  }

  it('are read, without their line ends', () => {
    expect(loadConfig({ KLAVIYO_API_KEY_FILE: aFile('pk_from_file\n') }).KLAVIYO_API_KEY).toBe(
      'pk_from_file',
    );
  });

  it('may contain one key per line', () => {
    const { RELAY_API_KEYS } = loadConfig({
      ...key,
      RELAY_API_KEYS_FILE: aFile('first-key\nsecond-key\n'),
    });
    expect(RELAY_API_KEYS).toEqual(['first-key', 'second-key']);
  });

  it('that cannot be read are named', () => {
    expect(problemsOf({ ...key, RELAY_ADMIN_KEYS_FILE: '/nowhere/at/all' })).toEqual([
      expect.stringMatching(/^RELAY_ADMIN_KEYS_FILE: cannot be read/),
    ]);
  });

  it('are rejected if the same secret is also in a variable', () => {
    expect(problemsOf({ ...key, KLAVIYO_API_KEY_FILE: aFile('pk_other') })).toEqual([
      'KLAVIYO_API_KEY: set it or KLAVIYO_API_KEY_FILE, not both',
    ]);
  });
});
