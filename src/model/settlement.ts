import type { Envelope } from './envelope.js';
import type { Verdict } from './outcome.js';
import type { Delivery } from './delivery.js';
import type { StoreLane } from './lane.js';

export type Settlement = {
  readonly lane: StoreLane;
  readonly settled: readonly SettledEnvelope[];
  /** The delivery to write down; absent where envelopes go back without a request. A known id is replaced. */
  readonly delivery?: Delivery;
};

export type SettledEnvelope = { readonly envelope: Envelope; readonly verdict: Verdict };
