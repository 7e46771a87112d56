import type { Clock } from '../../clock.js';
import type { StoreLane } from '../../envelope.js';
import { Admission } from '../admission.js';
import { mapStoreLanes } from '../lanes.js';
import type { StoreOptions } from '../options.js';
import { Backlog } from './backlog.js';
import { JournalDeadLetters } from './dead-letters.js';
import { JournalDeliveryLog } from './delivery-log.js';
import { JournalFacts } from './facts.js';
import { JournalLane } from './lane.js';
import { Scratch } from './scratch.js';
import { SeenLog } from './seen.js';
import type { Tables } from './tables.js';
import { laneNumbers } from './totals.js';

/** What the journal is made of: the tables, and what memory knows of them. */
export type Parts = {
  readonly tables: Tables;
  readonly clock: Clock;
  readonly epoch: string;
  readonly lanes: Readonly<Record<StoreLane, JournalLane>>;
  readonly seen: SeenLog;
  readonly log: JournalDeliveryLog;
  readonly letters: JournalDeadLetters;
  readonly facts: JournalFacts;
  readonly admission: Admission;
  readonly scratch: Scratch;
};

/** What a group is staged with. */
export type StageDeps = Parts & Pick<StoreOptions, 'onDeadLetterDropped'>;

export type PartsOptions = Omit<StoreOptions, 'random' | 'onDeadLetterDropped'> & {
  readonly tables: Tables;
  readonly epoch: string;
  /** Bytes of envelopes in memory, at most, over the lanes that are sent. */
  readonly maxHeldBytes: number;
  readonly onWaiting: (lane: StoreLane) => void;
};

export function createParts(options: PartsOptions): Parts {
  const { tables, clock, epoch } = options;
  const lane = (name: StoreLane): JournalLane =>
    new JournalLane({
      lane: name,
      epoch,
      clock,
      backlog: new Backlog(tables, laneNumbers[name]),
      // Half each: a lane that stands still cannot take the other's. What waits is bounded when it is accepted.
      maxHeldBytes: name === 'waiting' ? Infinity : options.maxHeldBytes / 2,
      onWaiting: () => options.onWaiting(name),
    });
  return {
    tables,
    clock,
    epoch,
    lanes: mapStoreLanes(lane),
    seen: new SeenLog(tables, { clock, bounds: options.dedupe }),
    log: new JournalDeliveryLog(tables, options.log, clock),
    letters: new JournalDeadLetters(tables, options.maxDeadLetters),
    facts: new JournalFacts(tables, options.facts, clock),
    admission: new Admission(options.capacity, clock),
    scratch: new Scratch(),
  };
}
