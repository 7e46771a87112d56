import type { Clock } from '../clock.js';
import type { DeadLetter } from '../model/dead-letter.js';
import type { Capacity } from './admission.js';
import type { DedupeBounds } from './dedupe.js';
import type { LogBounds } from './delivery-log.js';
import type { FactBounds } from './facts.js';

/** What every store is told. */
export type StoreOptions = {
  readonly clock: Clock;
  /** In [0, 1). */
  readonly random: () => number;
  readonly capacity: Capacity;
  readonly dedupe: DedupeBounds;
  readonly log: LogBounds;
  /** Above it the oldest are dropped. Infinity: none ever is. */
  readonly maxDeadLetters: number;
  readonly facts: FactBounds;
  /** A dead letter fell out at the bound: it is lost. */
  readonly onDeadLetterDropped: (letter: DeadLetter) => void;
};
