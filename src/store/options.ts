import type { Clock } from '../clock.js';
import type { DeadLetter } from '../model/dead-letter.js';
import type { Capacity } from './admission.js';
import type { DedupeBounds } from './dedupe.js';
import type { LogBounds } from './delivery-log.js';
import type { FactBounds } from './facts.js';

/** Options that all stores have. */
export type StoreOptions = {
  readonly clock: Clock;
  /** In [0, 1). */
  readonly random: () => number;
  readonly capacity: Capacity;
  readonly dedupe: DedupeBounds;
  readonly log: LogBounds;
  /** Above this the oldest are dropped. Infinity: none is dropped. */
  readonly maxDeadLetters: number;
  readonly facts: FactBounds;
  /** Called with each dead letter that is dropped at the bound and thereby lost. */
  readonly onDeadLetterDropped: (letter: DeadLetter) => void;
};
