import type {
  ClaimBounds,
  Envelope,
  Followed,
  Imported,
  Lane,
  ListedImports,
  Parcel,
  Sent,
  Settlement,
  UnfinishedImport,
} from '../envelope.js';

/** Where deliveries go: what the loop needs of Klaviyo, or of a sibling. Nothing here rejects for what the far side does. */
export type Destination = {
  /** Merges payloads of one profile, oldest first; newer wins field by field. */
  merge(payloads: readonly Uint8Array[]): Uint8Array;
  /** `mayGo` is asked until all has left: once it is false, the request must not become whole. */
  send(lane: Lane, payloads: readonly Uint8Array[], mayGo?: () => boolean): Promise<Sent>;
  /** One look at an import job; `permit` is awaited before each request it takes. */
  follow(ref: string, imported: Imported, permit: () => Promise<void>): Promise<Followed>;
  /** Which of these import jobs are open, by the list of all; `permit` is awaited before each request it takes. */
  listImports(refs: ReadonlySet<string>, permit: () => Promise<void>): Promise<ListedImports>;
};

/** What delivery needs of the store. */
export type Buffer = {
  claim(lane: Lane, bounds: ClaimBounds): Promise<readonly Parcel[]>;
  /** False where whoever shares the buffer may have taken over any of what was claimed here. Absent: never. */
  holds?(envelopes: readonly Envelope[]): boolean;
  settle(settlement: Settlement): Promise<void>;
  unfinishedImports(): Promise<readonly UnfinishedImport[]>;
  /** Calls back when there are more: a relay that shares the buffer left them. */
  onUnfinished?(listener: () => void): void;
};

/** What delivery writes to the log; pino fits. */
export type DeliveryLogger = {
  info(fields: object, text: string): void;
  warn(fields: object, text: string): void;
};
