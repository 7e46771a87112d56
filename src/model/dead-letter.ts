import type { StoreLane } from './lane.js';
import type { Reason } from './outcome.js';

/** An envelope that the relay gave up on. It is kept until a person redrives or discards it. */
export type DeadLetter = {
  readonly id: string;
  readonly lane: StoreLane;
  /** Epoch ms. */
  readonly acceptedAt: number;
  /** Epoch ms. */
  readonly deadLetteredAt: number;
  /** Attempts that ended before the relay gave up; 0 for an entry that was never sent. */
  readonly attempts: number;
  readonly reason: Reason;
  /** The delivery that failed last; null for an entry that was never sent. */
  readonly deliveryId: string | null;
  readonly payload: Uint8Array;
};

/** Selects the dead letters that match every member that is given. */
export type DeadLetterFilter = {
  readonly lane?: StoreLane | undefined;
  /** Reason code. */
  readonly reason?: string | undefined;
  readonly ids?: readonly string[] | undefined;
  /** True for dead letters that became one when they were accepted, without an attempt. */
  readonly neverSent?: boolean | undefined;
  /** Epoch ms, inclusive, compared with `deadLetteredAt`. */
  readonly since?: number | undefined;
  readonly until?: number | undefined;
};
