import type { ClaimBounds, Draft, Envelope, BatchItem, ClaimableState } from './envelope.js';
import type { DeadLetter, DeadLetterFilter } from './dead-letter.js';
import type { Delivery, DeliveryFilter, UnfinishedImportJob } from './delivery.js';
import type { Fact } from './fact.js';
import type { StoreLane } from './lane.js';
import type { Page, PageQuery } from './page.js';
import type { Receipt } from './receipt.js';
import type { Settlement } from './settlement.js';

/**
 * The promise of `append`: when it resolves with `ok`, the envelopes are as safe as the store makes
 * them. Every store passes test/store/contract.ts.
 */
export type Store = {
  /** What survives: nothing but the process, this machine's disk, or another server. */
  readonly durability: 'process' | 'disk' | 'server';
  /** True when an accepted envelope survives a crash: of this process, and of the server where it is kept at one. */
  readonly durable: boolean;

  /**
   * All of the drafts or none. One `Taken` per draft, in order. Those to bury ask for room as the others
   * do, and have given it back when it resolves. Rejects only for our own faults.
   */
  append(drafts: readonly Draft[]): Promise<AppendResult>;
  /** Whether `append` would refuse now, before a body is read; null where it would not. */
  backpressure(): Backpressure | null;
  /** Why the store is not available, in words for an operator; null while it is. Absent where it has no such words. */
  outage?(): string | null;

  /**
   * Facts are as safe as an envelope when it resolves with `ok`. The newest value of a key wins and
   * counts as new. Each kind is bounded by count and by age: beyond the count the oldest of the kind
   * go, and one beyond the age is unknown. A fact that had that value before may keep its place in the
   * order until half as many newer ones of its kind as the count are there, and its time until a tenth
   * of the age is over. Refused as an append is, but not for want of room in the buffer, which facts do
   * not use. Rejects only for our own faults.
   */
  putFacts(facts: readonly Fact[]): Promise<PutFactsResult>;
  /** The value of each key, in order; null where none is known. */
  getFacts(keys: readonly string[]): Promise<readonly (string | null)[]>;

  /** What can be claimed now, and when more will be. */
  claimable(lane: StoreLane): ClaimableState;
  /** Calls back whenever `waiting` may have grown. Returns the way to stop. */
  onClaimable(listener: (lane: StoreLane) => void): () => void;
  /** Oldest first, within the bounds, so that retries that are due come before fresh envelopes. Empty when nothing is free. */
  claim(lane: StoreLane, bounds: ClaimBounds): Promise<readonly BatchItem[]>;
  /** False where a relay that shares the store may have taken over any of what was claimed here. Absent: never. */
  stillOwned?(envelopes: readonly Envelope[]): boolean;
  /** Applies one delivery's verdicts in one step. Frees what it settles, and wakes the lane. */
  settle(settlement: Settlement): Promise<void>;
  /** Envelopes whose import job was still running when the process ended; claimed until settled. */
  unfinishedImportJobs(): Promise<readonly UnfinishedImportJob[]>;
  /** Calls back when a relay that shares the store left some behind. */
  onUnfinishedImportJobs?(listener: () => void): void;

  /** Ms until others take this relay for dead, 0 where they may have; of a store that relays share. */
  leaseLeftMs?(): number;

  depth(lane: StoreLane): Depth;
  /** What became of a lane's envelopes before this process; nothing where the store does not outlive it. */
  laneTotals(lane: StoreLane): LaneTotals;
  capacityBytes(): number;

  receipt(id: string): Promise<Receipt | null>;
  deliveries(filter: DeliveryFilter, page: PageQuery): Promise<Page<Delivery>>;
  delivery(id: string): Promise<Delivery | null>;
  deadLetters(filter: DeadLetterFilter, page: PageQuery): Promise<Page<DeadLetter>>;
  deadLetter(id: string): Promise<DeadLetter | null>;
  /** Back into the buffer, attempts at zero. The count of what matched. */
  redrive(filter: DeadLetterFilter, options: { dryRun: boolean }): Promise<number>;
  /** Gone for good. The count of what matched. */
  discard(filter: DeadLetterFilter, options: { dryRun: boolean }): Promise<number>;

  /** Idempotent. What is still buffered is lost with the memory store, kept with the others. */
  close(): Promise<void>;
};

export type AppendedEnvelope = { readonly id: string; readonly duplicate: boolean };

export type Backpressure = {
  /**
   * `disk`: the volume is nearly full. `lossy`: the server would lose what it acknowledges.
   * `dead_letters`: what cannot be sent as it stands has no room among the dead letters.
   */
  readonly reason: 'full' | 'disk' | 'closed' | 'unavailable' | 'lossy' | 'dead_letters';
  readonly retryAfterMs: number;
};

export type AppendResult =
  | { readonly ok: true; readonly envelopes: readonly AppendedEnvelope[] }
  | { readonly ok: false; readonly backpressure: Backpressure };

export type PutFactsResult =
  { readonly ok: true } | { readonly ok: false; readonly backpressure: Backpressure };

/** Everything not settled: waiting, delayed, and in flight. */
export type Depth = {
  readonly count: number;
  readonly bytes: number;
  /** Ms since the oldest was accepted; null where there is none. Never negative, and no jump of the wall clock holds it at 0. */
  readonly oldestAgeMs: number | null;
  readonly deadLetters: number;
};

/** Since the store began, in envelopes: accepted = delivered + merged + deadLettered + what is unsettled. */
export type LaneTotals = {
  /** A redrive counts as an acceptance. */
  readonly accepted: number;
  readonly delivered: number;
  readonly merged: number;
  readonly deadLettered: number;
};
