import type { Clock } from '../../clock.js';
import {
  blockingLanes,
  lanes,
  laneTraits,
  mapStoreLanes,
  type StoreLane,
} from '../../model/lane.js';
import { Admission } from '../admission.js';
import type { StoreOptions } from '../options.js';
import { Backlog } from './backlog.js';
import { JournalDeadLetters } from './dead-letters.js';
import { JournalDeliveryLog } from './delivery-log.js';
import { JournalFacts } from './facts.js';
import { JournalLane } from './lane.js';
import { BufferPool } from './buffer-pool.js';
import { PersonOrder } from '../person-order.js';
import { DedupeLog } from './dedupe-log.js';
import type { Tables } from './tables.js';

/** The journal's tables and the state in memory that belongs to them. Groups are staged with it. */
export type JournalState = {
  readonly tables: Tables;
  readonly clock: Clock;
  readonly epoch: string;
  readonly lanes: Readonly<Record<StoreLane, JournalLane>>;
  readonly order: PersonOrder;
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
  /** Bytes of envelopes in memory, at most, for all lanes that are sent. */
  readonly maxWorkingSetBytes: number;
  readonly onClaimable: (lane: StoreLane) => void;
};

/** The share of all lanes that are numbered with another: they have few envelopes. */
const smallShare = 1 / 8;

const isSmall = (lane: StoreLane): boolean => laneTraits[lane].numberedWith !== undefined;

const isUnbounded = (lane: StoreLane): boolean =>
  lane === 'waiting' || blockingLanes.some((each) => each === lane);

/** The share of the memory for a lane. All shares together are 1. */
function memoryShare(lane: StoreLane): number {
  const smallCount = lanes.filter(isSmall).length;
  return isSmall(lane) ? smallShare / smallCount : (1 - smallShare) / (lanes.length - smallCount);
}

export function createJournalState(options: JournalStateOptions): JournalState {
  const { tables, clock, epoch } = options;
  const order = new PersonOrder();
  const lane = (name: StoreLane): JournalLane =>
    new JournalLane({
      lane: name,
      epoch,
      clock,
      order,
      backlog: new Backlog(tables, laneTraits[name].number),
      // Each lane has a share, so that a lane that does not send cannot use the memory of the others. Waiting
      // envelopes are bounded when they are accepted. A lane that blocks others is in memory as a whole.
      maxWorkingSetBytes: isUnbounded(name)
        ? Infinity
        : options.maxWorkingSetBytes * memoryShare(name),
      onClaimable: () => options.onClaimable(name),
    });
  return {
    tables,
    clock,
    epoch,
    lanes: mapStoreLanes(lane),
    order,
    dedupe: new DedupeLog(tables, { clock, bounds: options.dedupe }),
    deliveryLog: new JournalDeliveryLog(tables, options.log, clock),
    deadLetters: new JournalDeadLetters(tables, options.maxDeadLetters),
    facts: new JournalFacts(tables, options.facts, clock),
    admission: new Admission(options.capacity, clock),
    bufferPool: new BufferPool(),
    onDeadLetterDropped: options.onDeadLetterDropped,
  };
}
