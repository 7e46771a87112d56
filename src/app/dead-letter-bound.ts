import type { Clock, Timer } from '../clock.js';
import type { Logger } from '../log/logger.js';
import { lanes } from '../model/lane.js';
import type { Reason } from '../model/outcome.js';
import type { Backpressure, Store } from '../model/store.js';

/** What the two halves use of the store while they run. */
type BoundedStore = Pick<
  Store,
  | 'append'
  | 'putFacts'
  | 'getFacts'
  | 'claim'
  | 'stillOwned'
  | 'settle'
  | 'unfinishedImportJobs'
  | 'onUnfinishedImportJobs'
  | 'claimable'
  | 'onClaimable'
  | 'depth'
  | 'capacityBytes'
>;

/** The share of the bound at which an alarm is logged, and the share below which it can be logged again. */
const alarmShare = 0.8;
const rearmShare = 0.7;
/** How often the count is read while it can change without a call of this relay. */
const checkAgainMs = 250;
const retryAfterMs = 10_000;

export type DeadLetterBoundOptions = {
  readonly store: BoundedStore & Pick<Store, 'durability'>;
  readonly maxCount: number;
  /** What happens at `maxCount`: delivery pauses, or the store drops the oldest dead letter. */
  readonly overflow: 'pause' | 'drop-oldest';
  readonly clock: Pick<Clock, 'setTimer'>;
  readonly log: Logger;
  /** Called with a reason when there is no room for another dead letter, and with null when there is room again. */
  readonly onFull: (reason: Reason | null) => void;
};

export type DeadLetterBound = {
  /** The store with the bound: `append` reports backpressure for drafts that would become dead letters. */
  readonly store: BoundedStore;
  /** Reads the count now and, from now on, whenever it may have changed. */
  start(): void;
  close(): void;
};

/**
 * Bounds the number of dead letters without dropping any: near the bound an alarm is logged, and at the
 * bound nothing is sent that Klaviyo could reject. Requests in flight at that moment may exceed it.
 */
export function boundDeadLetters(options: DeadLetterBoundOptions): DeadLetterBound {
  const { store, maxCount, overflow, clock, log, onFull } = options;
  let isAlarmed = false;
  let isFull = false;
  let timer: Timer | null = null;
  let isClosed = false;

  const count = (): number => lanes.reduce((sum, lane) => sum + store.depth(lane).deadLetters, 0);
  const hasNoRoom = (): boolean => overflow === 'pause' && count() >= maxCount;

  const raiseAlarm = (deadLetters: number): void => {
    if (deadLetters < rearmShare * maxCount) isAlarmed = false;
    if (isAlarmed || deadLetters < alarmShare * maxCount) return;
    isAlarmed = true;
    log.error(
      { deadLetters, maxCount },
      overflow === 'pause'
        ? 'dead letters near their bound: redrive or discard them, or delivery pauses there'
        : 'dead letters near their bound: redrive or discard them, or the oldest will be dropped',
    );
  };

  const check = (): void => {
    raiseAlarm(count());
    const isFullNow = hasNoRoom();
    if (isFullNow !== isFull) onFull(isFullNow ? toFullReason(count(), maxCount) : null);
    isFull = isFullNow;
    timer?.cancel();
    // Operators make room through other calls, and other relays change the count of a shared store.
    const mayChange = isFull || store.durability === 'server';
    timer = mayChange && !isClosed ? clock.setTimer(checkAgainMs, check) : null;
  };

  return {
    store: {
      claim: (lane, bounds) => store.claim(lane, bounds),
      // Absent if no relay shares the store: a request then needs no check while it is sent.
      ...(store.stillOwned && { stillOwned: (envelopes) => store.stillOwned?.(envelopes) ?? true }),
      unfinishedImportJobs: () => store.unfinishedImportJobs(),
      onUnfinishedImportJobs: (listener) => store.onUnfinishedImportJobs?.(listener),
      claimable: (lane) => store.claimable(lane),
      onClaimable: (listener) => store.onClaimable(listener),
      depth: (lane) => store.depth(lane),
      capacityBytes: () => store.capacityBytes(),
      putFacts: (facts) => store.putFacts(facts),
      getFacts: (keys) => store.getFacts(keys),
      async append(drafts) {
        const hasDeadLetters = drafts.some(
          ({ deadLetterReason }) => deadLetterReason !== undefined,
        );
        if (hasDeadLetters && hasNoRoom()) return { ok: false, backpressure: noRoom };
        const appended = await store.append(drafts);
        if (hasDeadLetters) check();
        return appended;
      },
      async settle(settlement) {
        await store.settle(settlement);
        check();
      },
    },
    start: check,
    close() {
      isClosed = true;
      timer?.cancel();
    },
  };
}

const noRoom: Backpressure = { reason: 'dead_letters', retryAfterMs };

function toFullReason(count: number, maxCount: number): Reason {
  const held = `there are ${String(count)} dead letters, and DEAD_LETTER_MAX_COUNT is ${String(maxCount)}`;
  const advice = 'redrive or discard some, or raise it';
  return { code: 'dead_letters_full', detail: `${held}: ${advice}` };
}
