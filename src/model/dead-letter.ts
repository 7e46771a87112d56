import type { StoreLane } from './lane.js';
import type { Reason } from './outcome.js';

/** An envelope the relay gave up on, kept until a person decides. */
export type DeadLetter = {
  readonly id: string;
  readonly lane: StoreLane;
  readonly acceptedAt: number;
  readonly deadLetteredAt: number;
  readonly attempts: number;
  readonly reason: Reason;
  readonly deliveryId: string | null;
  readonly payload: Uint8Array;
};

export type DeadLetterFilter = {
  readonly lane?: StoreLane | undefined;
  /** Reason code. */
  readonly reason?: string | undefined;
  readonly ids?: readonly string[] | undefined;
  /** Whether it went there at the door, without an attempt. */
  readonly unsent?: boolean | undefined;
  /** Epoch ms, inclusive, on buriedAt. */
  readonly since?: number | undefined;
  readonly until?: number | undefined;
};
