import type { ImportJob, JobAddress, UnfinishedImportJob } from './delivery.js';
import type { BatchItem, ClaimBounds, Envelope } from './envelope.js';
import type { Lane } from './lane.js';
import type { RateFeedback } from './limiter.js';
import type { Outcome } from './outcome.js';
import type { Settlement } from './store.js';

/**
 * What the delivery half needs of Klaviyo's API. Whatever Klaviyo does is a value: a promise rejects
 * only for a bug of the relay.
 */
export type Destination = {
  /** Merges payloads of one person, oldest first. The newer value of a field wins. */
  merge(payloads: readonly Uint8Array[]): Uint8Array;
  /**
   * Sends one batch. `stillOwned` is called until the last byte is written: once it returns false, the
   * request is cut off before it is complete.
   */
  send(
    lane: Lane,
    payloads: readonly Uint8Array[],
    stillOwned?: () => boolean,
  ): Promise<SendResult>;
  /** Polls one import job. `permit` is awaited before each request. */
  pollImportJob(
    job: JobAddress,
    imported: ImportedPayloads,
    permit: () => Promise<void>,
  ): Promise<PollResult>;
  /** Finds out which of these imports of profiles are open, with Klaviyo's list of jobs. `permit` is awaited before each request. */
  listImportJobs(refs: ReadonlySet<string>, permit: () => Promise<void>): Promise<ListedImportJobs>;
};

/** The result of one bulk request. */
export type SendResult = {
  /** One outcome for each payload, in order. */
  readonly outcomes: readonly Outcome[];
  /** HTTP status; null if no response arrived. */
  readonly status: number | null;
  /** Bytes of the request body. */
  readonly bytes: number;
  /** Number of payloads that are backfilled events. */
  readonly backfilled: number;
  readonly durationMs: number;
  readonly feedback: RateFeedback | null;
};

/** The elements of an import job. `payloads` merges them again, which is slow; few polls need it. */
export type ImportedPayloads = {
  readonly count: number;
  readonly payloads: () => readonly Uint8Array[];
};

/** The result of one poll of an import job. */
export type PollResult = {
  readonly job: ImportJob;
  /** One outcome for each payload, in order; null while the job runs. */
  readonly outcomes: readonly Outcome[] | null;
  /** True if the poll itself failed and can be repeated. */
  readonly retryable: boolean;
  readonly feedback: RateFeedback | null;
  /** The job id in Klaviyo's response, if the response described a job. */
  readonly reportedId?: string;
};

/** What Klaviyo's list of import jobs says about the jobs in question. */
export type ListedImportJobs = {
  /** The jobs that the list shows as queued or processing. */
  readonly open: readonly ImportJob[];
  /**
   * - `complete`: each job that is not in `open` has ended, was deleted, or is too new for the list.
   * - `partial`: the list was not read to its end.
   * - `failed`: a response was not such a list.
   */
  readonly end: 'complete' | 'partial' | 'failed';
  readonly requests: number;
  /** From the last response. */
  readonly feedback: RateFeedback | null;
};

/** What the delivery half needs of the store. */
export type DeliveryStore = {
  claim(lane: Lane, bounds: ClaimBounds): Promise<readonly BatchItem[]>;
  stillOwned?(envelopes: readonly Envelope[]): boolean;
  settle(settlement: Settlement): Promise<void>;
  unfinishedImportJobs(): Promise<readonly UnfinishedImportJob[]>;
  onUnfinishedImportJobs?(listener: () => void): void;
};

/** What the delivery half writes to the log. A pino logger fits. */
export type DeliveryLogger = {
  info(fields: object, text: string): void;
  warn(fields: object, text: string): void;
};
