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

/** The journal's tables and the state in memory that belongs to them. Groups are staged with it. */
export type JournalState = {
  readonly tables: Tables;
  readonly clock: Clock;
  readonly epoch: string;
  readonly lanes: Readonly<Record<StoreLane, JournalLane>>;
  readonly dedupe: DedupeLog;
  readonly deliveryLog: JournalDeliveryLog;
  readonly deadLetters: JournalDeadLetters;
  readonly facts: JournalFacts;
  readonly admission: Admission;
  readonly bufferPool: BufferPool;
  readonly onDeadLetterDropped: StoreOptions['onDeadLetterDropped'];
};

export type JournalStateOptions = Omit<StoreOptions, 'random'> & {
  readonly tables: Tables;
  readonly epoch: string;
  /** Bytes of envelopes in memory, at most, for both lanes that are sent. */
  readonly maxWorkingSetBytes: number;
  readonly onClaimable: (lane: StoreLane) => void;
};

export function createJournalState(options: JournalStateOptions): JournalState {
  const { tables, clock, epoch } = options;
  const lane = (name: StoreLane): JournalLane =>
    new JournalLane({
      lane: name,
      epoch,
      clock,
      backlog: new Backlog(tables, laneNumbers[name]),
      // Each lane gets half, so that a lane that does not send cannot use the memory of the other. Waiting
      // envelopes are bounded when they are accepted.
      maxWorkingSetBytes: name === 'waiting' ? Infinity : options.maxWorkingSetBytes / 2,
      onClaimable: () => options.onClaimable(name),
    });
  return {
    tables,
    clock,
    epoch,
    lanes: mapStoreLanes(lane),
    dedupe: new DedupeLog(tables, { clock, bounds: options.dedupe }),
    deliveryLog: new JournalDeliveryLog(tables, options.log, clock),
    deadLetters: new JournalDeadLetters(tables, options.maxDeadLetters),
    facts: new JournalFacts(tables, options.facts, clock),
    admission: new Admission(options.capacity, clock),
    bufferPool: new BufferPool(),
    onDeadLetterDropped: options.onDeadLetterDropped,
  };
}
