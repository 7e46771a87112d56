import type { BatchItem } from './envelope.js';
import type { Lane } from './lane.js';
import type { Reason } from './outcome.js';

/** Why a batch left. */
export type Trigger = 'size' | 'bytes' | 'time' | 'drain';

/** One request to Klaviyo, as the delivery log keeps it. */
export type Delivery = {
  readonly id: string;
  readonly lane: Lane;
  readonly trigger: Trigger;
  /** Epoch ms when the request left. */
  readonly at: number;
  readonly durationMs: number;
  /** Envelopes in the request, merged ones included. */
  readonly count: number;
  readonly bytes: number;
  /** HTTP status; null when no answer came. */
  readonly status: number | null;
  /** The highest attempt number (1-indexed) among its envelopes. */
  readonly attempt: number;
  readonly result: 'delivered' | 'pending' | 'partial' | 'retried' | 'rejected' | 'blocked';
  readonly delivered: number;
  readonly merged: number;
  readonly retried: number;
  readonly deadLettered: number;
  /** Events in the request that trigger no flow at Klaviyo. Absent: none. */
  readonly backfilled?: number;
  readonly reason: Reason | null;
  readonly importJob: ImportJob | null;
  /** The pause that the lane makes after this request, because Klaviyo asked for it. */
  readonly pause?: RequestedPause;
  /** How far the relay has followed the import job; kept for the process that follows it next. */
  readonly following?: PollProgress;
};

/** Klaviyo asked for no request for a while (`Retry-After`). A restart does not shorten the pause. */
export type RequestedPause = {
  /** Epoch ms when Klaviyo asked. */
  readonly at: number;
  readonly forMs: number;
  /** The same moment by the machine's time since its boot, where it names one. */
  readonly uptime?: { readonly boot: string; readonly ms: number };
};

/** What the relay measured of an open import job. */
export type PollProgress = {
  /** Time for which relays have seen the job open, by their monotonic clocks: a lower bound of its age. */
  readonly openMs: number;
  /** True once Klaviyo described the job as running. */
  readonly wasRead: boolean;
  /** The latest pause that Klaviyo asked for in answer to a look at this job; it holds for all looks. */
  readonly pause?: RequestedPause;
};

/**
 * What is known of a Klaviyo bulk import job. `unreadable`: taken, but its result cannot be read.
 * `expired`: Klaviyo keeps it no longer, and it never ended.
 */
export type ImportJob = {
  readonly id: string;
  readonly status: 'queued' | 'processing' | 'complete' | 'cancelled' | 'unreadable' | 'expired';
  readonly completed: number | null;
  readonly failed: number | null;
};

export type DeliveryFilter = {
  readonly lane?: Lane | undefined;
  readonly result?: Delivery['result'] | undefined;
  readonly since?: number | undefined;
  readonly until?: number | undefined;
};

export type UnfinishedImportJob = {
  readonly lane: Lane;
  readonly ref: string;
  readonly delivery: Delivery;
  readonly items: readonly BatchItem[];
};
