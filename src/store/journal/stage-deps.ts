import type { Clock } from '../../clock.js';
import type { StoreLane } from '../../model/lane.js';
import { Admission } from '../admission.js';
import { mapStoreLanes } from '../../model/lane.js';
import type { StoreOptions } from '../options.js';
import { Backlog } from './backlog.js';
import { JournalDeadLetters } from './dead-letters.js';
import { JournalDeliveryLog } from './delivery-log.js';
import { JournalFacts } from './facts.js';
import { JournalLane } from './lane.js';
import { BufferPool } from './buffer-pool.js';
import { DedupeLog } from './dedupe-log.js';
import type { Tables } from './tables.js';
import { laneNumbers } from './totals.js';

/** What the journal is made of: the tables, and what memory knows of them. */
export type StageParts = {
  readonly tables: Tables;
  readonly clock: Clock;
  readonly epoch: string;
  readonly lanes: Readonly<Record<StoreLane, JournalLane>>;
  readonly seen: DedupeLog;
  readonly log: JournalDeliveryLog;
  readonly letters: JournalDeadLetters;
  readonly facts: JournalFacts;
  readonly admission: Admission;
  readonly scratch: BufferPool;
};

/** What a group is staged with. */
export type StageDeps = StageParts & Pick<StoreOptions, 'onDeadLetterDropped'>;

export type PartsOptions = Omit<StoreOptions, 'random' | 'onDeadLetterDropped'> & {
  readonly tables: Tables;
  readonly epoch: string;
  /** Bytes of envelopes in memory, at most, over the lanes that are sent. */
  readonly maxHeldBytes: number;
  readonly onClaimable: (lane: StoreLane) => void;
};

export function createParts(options: PartsOptions): StageParts {
  const { tables, clock, epoch } = options;
  const lane = (name: StoreLane): JournalLane =>
    new JournalLane({
      lane: name,
      epoch,
      clock,
      backlog: new Backlog(tables, laneNumbers[name]),
      // Half each: a lane that stands still cannot take the other's. What waits is bounded when it is accepted.
      maxHeldBytes: name === 'waiting' ? Infinity : options.maxHeldBytes / 2,
      onClaimable: () => options.onClaimable(name),
    });
  return {
    tables,
    clock,
    epoch,
    lanes: mapStoreLanes(lane),
    seen: new DedupeLog(tables, { clock, bounds: options.dedupe }),
    log: new JournalDeliveryLog(tables, options.log, clock),
    letters: new JournalDeadLetters(tables, options.maxDeadLetters),
    facts: new JournalFacts(tables, options.facts, clock),
    admission: new Admission(options.capacity, clock),
    scratch: new BufferPool(),
  };
}
