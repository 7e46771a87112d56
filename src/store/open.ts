import { systemClock } from '../clock.js';
import type { Config } from '../config/config.js';
import type { FactKind } from '../model/fact.js';
import { openJournal, type OpenJournalOptions } from './journal/open.js';
import { MemoryStore } from './memory.js';
import { toSentinelAuth } from '../redis/address.js';
import type { OpenRedisOptions } from './redis/open.js';
import type { Capacity } from './admission.js';
import { mapKinds } from './facts.js';
import type { StoreOptions } from './options.js';
import type { Store } from '../model/store.js';

export type OpenStoreDeps = Pick<StoreOptions, 'clock' | 'random' | 'onDeadLetterDropped'> &
  Pick<OpenJournalOptions, 'onSynced' | 'onFatal' | 'onDiskSpace' | 'onExposedFile'> &
  Pick<
    OpenRedisOptions,
    'onServer' | 'onDurability' | 'onTakenOver' | 'onLate' | 'onLeaseLost' | 'time'
  > &
  Pick<OpenRedisOptions, 'onBufferLost' | 'account'>;

type Opener = (config: Config, options: StoreOptions & OpenStoreDeps) => Promise<Store>;

const openers: Readonly<Record<Config['STORE'], Opener>> = {
  journal: (config, options) =>
    openJournal({
      ...options,
      directory: config.DATA_DIR,
      maxWorkingSetBytes: config.WORKING_SET_MAX_BYTES,
      reserveBytes: config.DISK_RESERVE_BYTES,
      // A disk hangs in real time, even if the relay runs on another clock.
      syncLimit: { clock: systemClock, ms: config.SYNC_TIMEOUT_MS },
    }),
  memory: (_config, options) => Promise.resolve(new MemoryStore(options)),
  redis: async (config, options) => {
    const { REDIS_URL: address } = config;
    if (address === undefined) throw new Error('REDIS_URL is not set');
    // Loaded only when needed: a relay with a journal saves the time and memory for the Redis client.
    const { openRedis } = await import('./redis/open.js');
    return openRedis({
      ...options,
      address,
      sentinelAuth: toSentinelAuth(config),
      apiKey: config.KLAVIYO_API_KEY,
      acceptedKey: config.REDIS_ACCEPT_KEY,
      keyPrefix: config.REDIS_KEY_PREFIX,
      timeoutMs: config.REDIS_TIMEOUT_MS,
      leaseMs: config.REDIS_LEASE_MS,
      stated: config.REDIS_DURABLE,
      waitReplicas: config.REDIS_WAIT_REPLICAS,
      requiresDurable: config.REDIS_REQUIRE_DURABLE,
    });
  },
};

/** Default capacities. */
const capacities: Readonly<Record<Config['STORE'], Capacity>> = {
  journal: { maxCount: 10_000_000, maxBytes: 8 * 1024 ** 3 },
  memory: { maxCount: 1_000_000, maxBytes: 256 * 1024 ** 2 },
  redis: { maxCount: 1_000_000, maxBytes: 1024 ** 3 },
};

/** Opens the configured store. Rejects if it cannot be used, and leaves it as it is. */
export function openStore(config: Config, deps: OpenStoreDeps): Promise<Store> {
  const fallback = capacities[config.STORE];
  return openers[config.STORE](config, {
    ...deps,
    capacity: {
      maxCount: config.MAX_BUFFER_COUNT ?? fallback.maxCount,
      maxBytes: config.MAX_BUFFER_BYTES ?? fallback.maxBytes,
    },
    dedupe: { maxAgeMs: config.DEDUPE_MAX_AGE_MS, maxCount: config.DEDUPE_MAX_COUNT },
    log: { maxCount: config.DELIVERY_LOG_MAX_COUNT, maxAgeMs: config.DELIVERY_LOG_MAX_AGE_MS },
    maxDeadLetters:
      config.DEAD_LETTER_OVERFLOW === 'pause' ? Infinity : config.DEAD_LETTER_MAX_COUNT,
    facts: {
      maxCount: config.MEMO_MAX_COUNT,
      maxAgeMs: mapKinds((kind) => toMaxAgeMs(kind, config)),
    },
  });
}

/** Facts of the relay itself, such as the revision in use, do not expire. */
function toMaxAgeMs(kind: FactKind, config: Config): number {
  if (kind === 'other') return Infinity;
  if (kind === 'erasure') return config.ERASURE_RECORD_MAX_AGE;
  return kind === 'delivery' ? config.DELIVERY_FACT_MAX_AGE : config.FACT_MAX_AGE;
}
