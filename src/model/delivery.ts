import type { BatchItem } from './envelope.js';
import type { Lane } from './lane.js';
import type { Reason } from './outcome.js';

/** Why a batch was closed: by its count, its bytes, its age, or because the relay drains. */
export type Trigger = 'size' | 'bytes' | 'time' | 'drain';

/**
 * One request to Klaviyo, as the delivery log keeps it. With the result `unchanged` no request was made:
 * the profiles are equal to what was delivered last.
 */
export type Delivery = {
  readonly id: string;
  readonly lane: Lane;
  readonly trigger: Trigger;
  /** Epoch ms when the request was sent. */
  readonly at: number;
  readonly durationMs: number;
  /** Envelopes in the request, merged ones included. */
  readonly count: number;
  /** Bytes of the request body. */
  readonly bytes: number;
  /** HTTP status; null if no response arrived. */
  readonly status: number | null;
  /** The highest attempt number among the envelopes; the first attempt is 1. */
  readonly attempt: number;
  readonly result:
    'delivered' | 'pending' | 'partial' | 'retried' | 'rejected' | 'blocked' | 'unchanged';
  readonly delivered: number;
  readonly merged: number;
  readonly retried: number;
  readonly deadLettered: number;
  /** Events of the request that were sent with `backfill: true`. Absent: none. */
  readonly backfilled?: number;
  readonly reason: Reason | null;
  readonly importJob: ImportJob | null;
  /** The pause that Klaviyo requested in its response. */
  readonly pause?: RequestedPause;
  /** How far the import job was polled. A later process continues from here. */
  readonly following?: PollProgress;
};

/** A pause that Klaviyo requested with `Retry-After`. A restart of the relay does not shorten it. */
export type RequestedPause = {
  /** Epoch ms when Klaviyo requested the pause. */
  readonly at: number;
  readonly forMs: number;
  /** The same moment as time since the machine booted; absent where the system cannot tell one boot from another. */
  readonly uptime?: { readonly boot: string; readonly ms: number };
};

/** What the relay measured of an open import job. */
export type PollProgress = {
  /**
   * How long relays have observed the job as open, in ms of their monotonic clocks. The job is at least
   * this old.
   */
  readonly openMs: number;
  /** True once Klaviyo described the job as running. */
  readonly wasRead: boolean;
  /** The latest pause that Klaviyo requested in response to a poll of this job. It applies to all polls. */
  readonly pause?: RequestedPause;
};

/**
 * An asynchronous job at Klaviyo that the relay polls, as it last saw it: a bulk import of profiles, or a
 * change of suppressions. Two states are the relay's own:
 * - `unreadable`: Klaviyo accepted the import, but the relay cannot read its result.
 * - `expired`: Klaviyo deleted the job before the relay saw it end.
 */
export type ImportJob = {
  readonly id: string;
  readonly status: 'queued' | 'processing' | 'complete' | 'cancelled' | 'unreadable' | 'expired';
  readonly completed: number | null;
  /** Null if Klaviyo does not say. */
  readonly failed: number | null;
};

/** Selects the deliveries that match every member that is given. `since` and `until` are epoch ms, inclusive. */
export type DeliveryFilter = {
  readonly lane?: Lane | undefined;
  readonly result?: Delivery['result'] | undefined;
  readonly since?: number | undefined;
  readonly until?: number | undefined;
};

/** Where to find a job at Klaviyo: the lane has its path, and `ref` is Klaviyo's id. */
export type JobAddress = { readonly lane: Lane; readonly ref: string };

/** An import job that still runs, with the envelopes it was created for. They stay claimed until it ends. */
export type UnfinishedImportJob = JobAddress & {
  readonly delivery: Delivery;
  readonly items: readonly BatchItem[];
};
