import type { Clock } from '../clock.js';
import type { Config } from '../config.js';
import type { DeadLetter } from '../envelope.js';
import { MemoryStore, type MemoryStoreOptions } from './memory.js';
import type { Store } from './store.js';

export type OpenStoreDeps = {
  readonly clock: Clock;
  readonly random: () => number;
  /** A dead letter fell out at the bound: it is lost. */
  readonly onDeadLetterDropped: (letter: DeadLetter) => void;
};

const openers: Record<Config['STORE'], (options: MemoryStoreOptions) => Promise<Store>> = {
  memory: (options) => Promise.resolve(new MemoryStore(options)),
};

/** The store that the configuration names. */
export function openStore(config: Config, deps: OpenStoreDeps): Promise<Store> {
  return openers[config.STORE]({
    ...deps,
    capacity: { maxCount: config.MAX_BUFFER_COUNT, maxBytes: config.MAX_BUFFER_BYTES },
    dedupe: { maxAgeMs: config.DEDUPE_MAX_AGE_MS, maxCount: config.DEDUPE_MAX_COUNT },
    log: { maxCount: config.DELIVERY_LOG_MAX_COUNT, maxAgeMs: config.DELIVERY_LOG_MAX_AGE_MS },
    maxDeadLetters: config.DEAD_LETTER_MAX_COUNT,
  });
}
