import type { Clock, Timer } from '../clock.js';
import type { Logger } from '../log/logger.js';
import { lanes } from '../model/lane.js';
import type { Reason } from '../model/outcome.js';
import type { Backpressure, Store } from '../model/store.js';

/** What both halves ask of the store while they work. */
type Watched = Pick<
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
>;

/** Where the alarm begins, and where it may begin anew. */
const alarmAt = 0.8;

const calmAt = 0.7;

/** How often the count is read while nothing else says that it changed. */
const readAgainMs = 250;

const fullRetryAfterMs = 10_000;

export type DeadLetterWatchOptions = {
  readonly store: Watched & Pick<Store, 'durability'>;
  readonly maxCount: number;
  /** What happens at `maxCount`: nothing more is sent, or the store drops the oldest. */
  readonly overflow: 'pause' | 'drop-oldest';
  readonly clock: Pick<Clock, 'setTimer'>;
  readonly log: Logger;
  /** There is no room for another dead letter: null where there is again. */
  readonly onFull: (reason: Reason | null) => void;
};

export type DeadLetterWatch = {
  /** For both halves. Refuses what would go to the dead letters at intake while there is no room. */
  readonly store: Watched;
  /** Reads the count now, and from now on whenever it may have changed. */
  start(): void;
  close(): void;
};

/**
 * Keeps dead letters within their bound without dropping any: near the bound the log says so, and at
 * the bound nothing is sent that could be rejected. What is in flight by then may go beyond the bound.
 */
export function watchDeadLetters(options: DeadLetterWatchOptions): DeadLetterWatch {
  const { store, maxCount, overflow, clock, log, onFull } = options;
  let isAlarmed = false;
  let isFull = false;
  let timer: Timer | null = null;
  let isClosed = false;

  const count = (): number => lanes.reduce((sum, lane) => sum + store.depth(lane).deadLetters, 0);
  const hasNoRoom = (): boolean => overflow === 'pause' && count() >= maxCount;

  const raiseAlarm = (deadLetters: number): void => {
    if (deadLetters < calmAt * maxCount) isAlarmed = false;
    if (isAlarmed || deadLetters < alarmAt * maxCount) return;
    isAlarmed = true;
    log.error(
      { deadLetters, maxCount },
      overflow === 'pause'
        ? 'dead letters near their bound: redrive or discard them, or delivery pauses there'
        : 'dead letters near their bound: redrive or discard them, or the oldest will be dropped',
    );
  };

  const read = (): void => {
    raiseAlarm(count());
    const isFullNow = hasNoRoom();
    if (isFullNow !== isFull) onFull(isFullNow ? toFullReason(count(), maxCount) : null);
    isFull = isFullNow;
    timer?.cancel();
    // Where relays share the store, the others fill it and make room.
    const mayChange = isFull || store.durability === 'server';
    timer = mayChange && !isClosed ? clock.setTimer(readAgainMs, read) : null;
  };

  return {
    store: {
      claim: (lane, bounds) => store.claim(lane, bounds),
      // Absent where nobody shares the buffer: then a request need not be watched while it leaves.
      ...(store.stillOwned && { stillOwned: (envelopes) => store.stillOwned?.(envelopes) ?? true }),
      unfinishedImportJobs: () => store.unfinishedImportJobs(),
      onUnfinishedImportJobs: (listener) => store.onUnfinishedImportJobs?.(listener),
      claimable: (lane) => store.claimable(lane),
      onClaimable: (listener) => store.onClaimable(listener),
      depth: (lane) => store.depth(lane),
      putFacts: (facts) => store.putFacts(facts),
      getFacts: (keys) => store.getFacts(keys),
      async append(drafts) {
        const buries = drafts.some(({ deadLetterReason }) => deadLetterReason !== undefined);
        if (buries && hasNoRoom()) return { ok: false, backpressure: noRoom };
        const appended = await store.append(drafts);
        if (buries) read();
        return appended;
      },
      async settle(settlement) {
        await store.settle(settlement);
        read();
      },
    },
    start: read,
    close() {
      isClosed = true;
      timer?.cancel();
    },
  };
}

const noRoom: Backpressure = { reason: 'dead_letters', retryAfterMs: fullRetryAfterMs };

function toFullReason(count: number, maxCount: number): Reason {
  const held = `there are ${String(count)} dead letters, and DEAD_LETTER_MAX_COUNT is ${String(maxCount)}`;
  const advice = 'redrive or discard some, or raise it';
  return { code: 'dead_letters_full', detail: `${held}: ${advice}` };
}
