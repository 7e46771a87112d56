import type { StoreLane } from './lane.js';
import type { Reason } from './outcome.js';

export type ReceiptState = 'buffered' | 'in_flight' | 'delivered' | 'dead_lettered';

/** Where an accepted envelope is now. */
export type Receipt = {
  readonly id: string;
  readonly lane: StoreLane;
  readonly state: ReceiptState;
  /** The delivery that settled it, or the latest that tried. */
  readonly deliveryId: string | null;
  readonly reason: Reason | null;
  /** True where it left as part of a newer profile of the same identity. */
  readonly merged: boolean;
};
