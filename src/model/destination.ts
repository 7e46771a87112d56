import type { ClaimBounds, Envelope, BatchItem } from './envelope.js';
import type { PollResult, ImportedPayloads, ListedImportJobs, SendResult } from './send-result.js';
import type { Lane } from './lane.js';
import type { Settlement } from './settlement.js';
import type { UnfinishedImportJob } from './delivery.js';

/** Where deliveries go: what the loop needs of Klaviyo, or of a sibling. Nothing here rejects for what the far side does. */
export type Destination = {
  /** Merges payloads of one profile, oldest first; newer wins field by field. */
  merge(payloads: readonly Uint8Array[]): Uint8Array;
  /** `mayGo` is asked until all has left: once it is false, the request must not become whole. */
  send(lane: Lane, payloads: readonly Uint8Array[], mayGo?: () => boolean): Promise<SendResult>;
  /** One look at an import job; `permit` is awaited before each request it takes. */
  pollImportJob(
    ref: string,
    imported: ImportedPayloads,
    permit: () => Promise<void>,
  ): Promise<PollResult>;
  /** Which of these import jobs are open, by the list of all; `permit` is awaited before each request it takes. */
  listImportJobs(refs: ReadonlySet<string>, permit: () => Promise<void>): Promise<ListedImportJobs>;
};

/** What delivery needs of the store. */
export type DeliveryStore = {
  claim(lane: Lane, bounds: ClaimBounds): Promise<readonly BatchItem[]>;
  /** False where whoever shares the buffer may have taken over any of what was claimed here. Absent: never. */
  stillOwned?(envelopes: readonly Envelope[]): boolean;
  settle(settlement: Settlement): Promise<void>;
  unfinishedImportJobs(): Promise<readonly UnfinishedImportJob[]>;
  /** Calls back when there are more: a relay that shares the buffer left them. */
  onUnfinishedImportJobs?(listener: () => void): void;
};

/** What delivery writes to the log; pino fits. */
export type DeliveryLogger = {
  info(fields: object, text: string): void;
  warn(fields: object, text: string): void;
};
