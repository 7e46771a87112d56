import type { ImportJob } from './delivery.js';
import type { Outcome } from './outcome.js';
import type { RateFeedback } from './rate-window.js';

/** What one request did: a value, whatever happened on the way. */
export type SendResult = {
  /** One per payload, in order. */
  readonly outcomes: readonly Outcome[];
  /** Null when no answer came. */
  readonly status: number | null;
  /** Request body, bytes. */
  readonly bytes: number;
  /** Payloads that are backfilled events. */
  readonly backfilled: number;
  readonly durationMs: number;
  readonly feedback: RateFeedback | null;
};

/** What an import job was given. Few looks need the payloads, and to merge them again takes time. */
export type ImportedPayloads = {
  readonly count: number;
  readonly payloads: () => readonly Uint8Array[];
};

/** One look at an import job. `outcomes` is there once the job ended, one per payload, in order. */
export type PollResult = {
  readonly job: ImportJob;
  readonly outcomes: readonly Outcome[] | null;
  /** True where the look itself failed and is worth repeating. */
  readonly retryable: boolean;
  readonly feedback: RateFeedback | null;
  /** The id in Klaviyo's answer, if it described a job. */
  readonly answeredId?: string;
};

/** What Klaviyo's list of open import jobs says of some of them. */
export type ListedImportJobs = {
  /** Those that the list shows as queued or processing. */
  readonly open: readonly ImportJob[];
  /**
   * - `complete`: each of the others has ended, is gone, or is so new that the list lacks it.
   * - `partial`: the list was not read to its end.
   * - `failed`: an answer was no such list.
   */
  readonly end: 'complete' | 'partial' | 'failed';
  readonly requests: number;
  /** Of the last answer. */
  readonly feedback: RateFeedback | null;
};
