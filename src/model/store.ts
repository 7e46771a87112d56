import type { DeadLetter, DeadLetterFilter } from './dead-letter.js';
import type { Delivery, DeliveryFilter, UnfinishedImportJob } from './delivery.js';
import type { BatchItem, ClaimableState, ClaimBounds, Draft, Envelope } from './envelope.js';
import type { Fact, FactKind } from './fact.js';
import type { StoreLane } from './lane.js';
import type { Reason, Verdict } from './outcome.js';

/**
 * Where accepted envelopes are kept until they are settled. An envelope is appended, claimed, and
 * settled; a claimed envelope that is settled with `retry` can be claimed again.
 *
 * Every store passes the contract suite in test/store/contract. A promise rejects only if the store
 * itself fails.
 */
export type Store = {
  /** What the store survives: nothing but the process, a crash of this machine, or the loss of it. */
  readonly durability: 'process' | 'disk' | 'server';
  /** True if an accepted envelope survives a crash of this process and, with a server, a crash of that server. */
  readonly durable: boolean;

  /**
   * Stores all of the drafts or none. Once it resolves with `ok`, the envelopes are as safe as the store
   * makes them. Drafts with a dead-letter reason need capacity like the others, and return it before
   * `append` resolves.
   */
  append(drafts: readonly Draft[]): Promise<AppendResult>;
  /** The backpressure that `append` would report now; null if it would accept. */
  backpressure(): Backpressure | null;
  /** Why the store is unavailable, as text for an operator; null while it is available. Absent: the store has no such text. */
  outage?(): string | null;

  /**
   * Keeps facts. Once it resolves with `ok`, they are as safe as an envelope. The newest value of a key
   * wins and counts as new. Each kind is bounded by count and by age: beyond the count the oldest facts
   * of the kind are removed, and a fact beyond the age is unknown.
   *
   * A fact whose value did not change may keep its place in the order until half as many newer facts of
   * its kind as the count exist, and its age until a tenth of the maximum has passed. Backpressure is
   * reported as for `append`, except for a full buffer, which facts do not use.
   */
  putFacts(facts: readonly Fact[]): Promise<PutFactsResult>;
  /** The value of each key, in order; null for an unknown key. */
  getFacts(keys: readonly string[]): Promise<readonly (string | null)[]>;

  claimable(lane: StoreLane): ClaimableState;
  /** Calls the listener whenever a lane may have more to claim. Returns a function that removes the listener. */
  onClaimable(listener: (lane: StoreLane) => void): () => void;
  /**
   * Takes the oldest envelopes within the bounds, retries that are due before fresh ones. Returns an
   * empty list if nothing can be claimed. The envelopes stay claimed until they are settled.
   */
  claim(lane: StoreLane, bounds: ClaimBounds): Promise<readonly BatchItem[]>;
  /** False if another relay may have taken over any of the envelopes. Absent: no other relay shares the store. */
  stillOwned?(envelopes: readonly Envelope[]): boolean;
  /** Applies the verdicts of one delivery in one step, and releases the keys of the settled envelopes. */
  settle(settlement: Settlement): Promise<void>;
  /** Import jobs that still ran when the process ended. Their envelopes stay claimed until they are settled. */
  unfinishedImportJobs(): Promise<readonly UnfinishedImportJob[]>;
  /** Calls the listener when another relay ended and left unfinished import jobs. */
  onUnfinishedImportJobs?(listener: () => void): void;

  /** Ms until other relays consider this one dead; 0 if they may already. Absent: relays do not share the store. */
  leaseLeftMs?(): number;

  depth(lane: StoreLane): Depth;
  /** Counts since the store was created; all 0 if the store does not outlive the process. */
  laneTotals(lane: StoreLane): LaneTotals;
  /** Payload bytes that the store may hold. */
  capacityBytes(): number;

  receipt(id: string): Promise<Receipt | null>;
  deliveries(filter: DeliveryFilter, page: PageQuery): Promise<Page<Delivery>>;
  delivery(id: string): Promise<Delivery | null>;
  deadLetters(filter: DeadLetterFilter, page: PageQuery): Promise<Page<DeadLetter>>;
  deadLetter(id: string): Promise<DeadLetter | null>;
  /** Returns matching dead letters to the buffer, with 0 attempts. Resolves with the number that matched. */
  redrive(filter: DeadLetterFilter, options: { dryRun: boolean }): Promise<number>;
  /** Deletes matching dead letters. Resolves with the number that matched. */
  discard(filter: DeadLetterFilter, options: { dryRun: boolean }): Promise<number>;

  /**
   * Finds what the store holds of a person. With `erasure`, an envelope of the lane `erase`, only what was
   * accepted before it; the unsettled erasures of the person are never included.
   */
  findPerson(person: PersonQuery, erasure?: Envelope): Promise<HeldOfPerson>;
  /**
   * Removes what `findPerson` found, for good: at most `maxErasedPerCall` envelopes. Envelopes in flight stay, except for those of the lane
   * `waiting`, which no request carries. What is no longer there is skipped.
   */
  erase(held: HeldOfPerson): Promise<ErasedCounts>;

  /** Idempotent. The memory store loses what is buffered; the others keep it. */
  close(): Promise<void>;
};

/** Each erased envelope may rewrite a block of the journal, and one transaction does it for all of a call. */
export const maxErasedPerCall = 64;

/** The store cannot be reached now, and the call had no effect that counts. Calling again later is safe. */
export class StoreUnavailableError extends Error {}

/** `duplicate`: an event with the same identity keys was accepted before; `id` is the id of that event. */
export type AppendedEnvelope = { readonly id: string; readonly duplicate: boolean };

/**
 * Why the store accepts nothing now.
 * - `full`: the buffer is at its bound.
 * - `disk`: the volume is nearly full.
 * - `closed`: the store is closing.
 * - `unavailable`: the store does not respond.
 * - `lossy`: the server could lose what it acknowledges, and REDIS_REQUIRE_DURABLE is set.
 * - `dead_letters`: there is no room for a draft that would become a dead letter.
 */
export type Backpressure = {
  readonly reason: 'full' | 'disk' | 'closed' | 'unavailable' | 'lossy' | 'dead_letters';
  readonly retryAfterMs: number;
};

/** One appended envelope for each draft, in order. */
export type AppendResult =
  | { readonly ok: true; readonly envelopes: readonly AppendedEnvelope[] }
  | { readonly ok: false; readonly backpressure: Backpressure };

export type PutFactsResult =
  { readonly ok: true } | { readonly ok: false; readonly backpressure: Backpressure };

export type Settlement = {
  readonly lane: StoreLane;
  readonly settled: readonly SettledEnvelope[];
  /** The delivery to log. It replaces a logged one with the same id. Absent: no request was made. */
  readonly delivery?: Delivery;
};

export type SettledEnvelope = { readonly envelope: Envelope; readonly verdict: Verdict };

/** Everything of a lane that is not settled: waiting, delayed and in flight. */
export type Depth = {
  readonly count: number;
  /** Payload bytes. */
  readonly bytes: number;
  /** Ms since the oldest envelope was accepted; null if there is none. Bounded at 0 when the wall clock was set back. */
  readonly oldestAgeMs: number | null;
  readonly deadLetters: number;
};

/** Envelopes since the store was created: accepted = delivered + merged + deadLettered + erased + unsettled. */
export type LaneTotals = {
  /** A redrive counts as accepted. */
  readonly accepted: number;
  readonly delivered: number;
  readonly merged: number;
  readonly deadLettered: number;
  /** Removed with all data of a person before they were sent. */
  readonly erased: number;
};

/** A person, by one of their identifiers. */
export type PersonQuery = {
  /** The identity key of the identifier (identity-keys.ts). */
  readonly key: string;
  /** The identifier itself. A search without it takes longer. */
  readonly value?: string | undefined;
};

/** What a store holds of a person. */
export type HeldOfPerson = {
  readonly envelopes: readonly HeldEnvelope[];
  readonly deadLetters: readonly HeldDeadLetter[];
  readonly facts: readonly HeldFact[];
};

export type HeldEnvelope = {
  readonly id: string;
  readonly lane: StoreLane;
  readonly state: 'buffered' | 'in_flight';
  /** Epoch ms. */
  readonly acceptedAt: number;
};

export type HeldDeadLetter = {
  readonly id: string;
  readonly lane: StoreLane;
  /** Reason code. */
  readonly code: string;
  /** Epoch ms. */
  readonly acceptedAt: number;
};

export type HeldFact = Pick<Fact, 'key'> & { readonly kind: FactKind };

/** What `erase` removed. */
export type ErasedCounts = {
  readonly envelopes: Readonly<Record<StoreLane, number>>;
  readonly deadLetters: number;
  readonly facts: number;
};

export type ReceiptState = 'buffered' | 'in_flight' | 'delivered' | 'dead_lettered' | 'erased';

/** Where an accepted envelope is now. */
export type Receipt = {
  readonly id: string;
  readonly lane: StoreLane;
  readonly state: ReceiptState;
  /** The delivery that settled the envelope, or the latest that tried; null if there was none. */
  readonly deliveryId: string | null;
  readonly reason: Reason | null;
  /** True if the envelope was sent as part of a newer profile of the same person. */
  readonly merged: boolean;
};

/** A page of a list, newest first. `next` is an opaque cursor; null on the last page. */
export type Page<T> = { readonly data: readonly T[]; readonly next: string | null };

export type PageQuery = { readonly limit: number; readonly cursor?: string | undefined };
