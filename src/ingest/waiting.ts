import type { Clock, Timer } from '../clock.js';
import type { Metrics } from '../metrics.js';
import type { ClaimBounds, Envelope } from '../model/envelope.js';
import type { Store } from '../model/store.js';
import { nextTurn } from '../slices.js';
import type { AcceptFromSource } from './accept-from-source.js';
import { readUnmappable, unknownPerson } from './draft-source-entry.js';
import { toFactKey } from './facts.js';
import type { SourcePost } from './source-entry.js';

/**
 * Entries of sources that wait for a person: a refund whose order has not arrived yet, a payment before
 * its charge. Each is an envelope in the store's lane `waiting`, so it is as safe as any other and
 * survives a restart.
 *
 * - The relay claims waiting envelopes and holds them in memory, so that nothing is written while they
 *   wait. An index maps the keys of facts to the held envelopes.
 * - When this process stores a fact, the index gives the entries that waited for it, and they are
 *   ingested again at once. A fact that another relay stores, or that was stored before the envelope was
 *   in the index, is found by a lookup in the store: right after the claim, and every `checkEveryMs`.
 * - Ingesting again appends the event to its own lane first, and then settles the waiting envelope. After
 *   a crash in between, the store has both, and the entry is ingested once more: the second event is a
 *   duplicate by its unique_id.
 * - After `maxAgeMs` an entry becomes a dead letter of its own lane, which a redrive ingests again.
 */
export type WaitingDeps = {
  readonly store: Pick<Store, 'claim' | 'stillOwned' | 'settle' | 'onClaimable' | 'getFacts'>;
  readonly accept: AcceptFromSource;
  readonly clock: Clock;
  /** Age at which an entry becomes a dead letter. */
  readonly maxAgeMs: number;
  /** Interval at which the facts of all held entries are looked up. */
  readonly checkEveryMs: number;
  readonly metrics: Pick<Metrics, 'settled'>;
  readonly log: {
    info(fields: object, text: string): void;
    error(fields: object, text: string): void;
  };
};

export type WaitingEntries = {
  /** Facts with these keys were stored. */
  onFactsPut(keys: readonly string[]): void;
  /** These envelopes were removed from the store. */
  forget(ids: readonly string[]): void;
  start(): void;
  /** Resolves once no step is running. Waiting entries stay in the store. */
  stop(): Promise<void>;
};

/** Bounds of the envelopes that one relay holds. Further envelopes are claimed when there is capacity. */
const maxHeldCount = 100_000;
const maxHeldBytes = 128 * 1024 * 1024;
const claimBounds: ClaimBounds = {
  maxCount: 500,
  maxBytes: 4 * 1024 * 1024,
  isolateAfterAttempts: Infinity,
};
/** Entries that are ingested concurrently, so that the store writes them together. */
const perRound = 64;
/** Keys that are looked up in one step. */
const keysPerLookup = 200;
/**
 * Minimum time that an entry waits after it was claimed, even if the wall clock says that it was accepted
 * long ago: the clock may have jumped, and requests that arrived while no relay ran may come now.
 */
const minHeldMs = 10 * 60_000;
/** Pause after a step that failed. */
const retryPauseMs = 1000;
const failureText = 'an entry that waits for a fact could not be ingested: the relay tries again';

/** Interval of the checks, short enough to end a wait in time and to find the facts of other relays soon. */
export const toCheckIntervalMs = (maxAgeMs: number): number =>
  Math.min(10_000, Math.max(250, maxAgeMs / 4));

type Held = {
  readonly envelope: Envelope;
  readonly factKeys: readonly string[];
  /** Monotonic ms at which the entry becomes a dead letter. */
  readonly endsAt: number;
};

export function createWaitingEntries(deps: WaitingDeps): WaitingEntries {
  return new HeldEntries(deps);
}

/** One loop runs one step after the other. Only `onFactsPut` and the store's signal run in between. */
class HeldEntries implements WaitingEntries {
  readonly #deps: WaitingDeps;
  /** By envelope id, in the order of their claims. */
  readonly #held = new Map<string, Held>();
  readonly #byFact = new Map<string, Set<string>>();
  #heldBytes = 0;
  /** Ids of the envelopes to ingest now. */
  readonly #ready = new Set<string>();
  #hasMore = true;
  #checkAt = Infinity;
  #isFailing = false;
  /** Monotonic ms before which no step runs, because one failed. */
  #pausedUntil = -Infinity;
  readonly #stopping = new AbortController();
  #running: Promise<void> | null = null;
  #wake: () => void = () => undefined;
  #stopListening: () => void = () => undefined;

  constructor(deps: WaitingDeps) {
    this.#deps = deps;
  }

  start(): void {
    this.#stopListening = this.#deps.store.onClaimable((lane) => {
      if (lane !== 'waiting') return;
      this.#hasMore = true;
      this.#wake();
    });
    this.#running = this.#run();
  }

  async stop(): Promise<void> {
    this.#stopping.abort();
    this.#stopListening();
    this.#wake();
    await this.#running;
  }

  onFactsPut(keys: readonly string[]): void {
    const before = this.#ready.size;
    for (const key of keys) for (const id of this.#byFact.get(key) ?? []) this.#ready.add(id);
    if (this.#ready.size > before) this.#wake();
  }

  forget(ids: readonly string[]): void {
    for (const id of ids) this.#forget(id);
  }

  async #run(): Promise<void> {
    while (!this.#isStopped()) {
      try {
        const hasWorked = await this.#step();
        if (hasWorked) this.#isFailing = false;
      } catch (error) {
        if (this.#isStopped()) return;
        // Each step fails until the store is available again: only the first failure is logged.
        if (!this.#isFailing) this.#deps.log.error({ err: error }, failureText);
        this.#isFailing = true;
        this.#pausedUntil = this.#deps.clock.monotonic() + retryPauseMs;
      }
    }
  }

  /** Runs the most urgent step and returns true, or waits until there is one and returns false. */
  async #step(): Promise<boolean> {
    const now = this.#deps.clock.monotonic();
    if (now < this.#pausedUntil) {
      await this.#wait(this.#pausedUntil - now, { ignoresWake: true });
      return false;
    }
    if (this.#ready.size > 0) await this.#ingest([...this.#ready].slice(0, perRound));
    else if (this.#canClaim()) await this.#claim();
    else if (now >= this.#checkAt) await this.#check();
    else {
      await this.#wait(this.#checkAt - now, { ignoresWake: false });
      return false;
    }
    return true;
  }

  #isStopped(): boolean {
    return this.#stopping.signal.aborted;
  }

  #hasCapacity(): boolean {
    return this.#held.size < maxHeldCount && this.#heldBytes < maxHeldBytes;
  }

  async #claim(): Promise<void> {
    this.#hasMore = false;
    const envelopes = (await this.#deps.store.claim('waiting', claimBounds)).flat();
    if (envelopes.length === 0) return;
    // The lane may have more than one claim returns.
    this.#hasMore = true;
    for (const envelope of envelopes) this.#hold(envelope);
    await this.#lookUpFacts(envelopes.map(({ id }) => id));
    if (this.#checkAt === Infinity) {
      this.#checkAt = this.#deps.clock.monotonic() + this.#deps.checkEveryMs;
    }
  }

  #hold(envelope: Envelope): void {
    const { clock, maxAgeMs } = this.#deps;
    const { id, acceptedAt } = envelope;
    const post = readUnmappable(envelope);
    if (post === null) {
      this.#deps.log.error(
        { id },
        'what waits for a fact has an unknown form: it stays in the store',
      );
    }
    const ageMs = Math.max(0, clock.now() - acceptedAt);
    const leftMs = Math.max(maxAgeMs - ageMs, Math.min(maxAgeMs, minHeldMs));
    this.#forget(id);
    const held: Held = {
      envelope,
      factKeys: post === null ? [] : toFactKeys(post),
      endsAt: post === null ? Infinity : clock.monotonic() + leftMs,
    };
    this.#held.set(id, held);
    this.#heldBytes += envelope.payload.byteLength;
    for (const key of held.factKeys) {
      const ids = this.#byFact.get(key);
      if (ids === undefined) this.#byFact.set(key, new Set([id]));
      else ids.add(id);
    }
  }

  #forget(id: string): void {
    const held = this.#held.get(id);
    this.#ready.delete(id);
    if (held === undefined) return;
    this.#held.delete(id);
    this.#heldBytes -= held.envelope.payload.byteLength;
    for (const key of held.factKeys) {
      const ids = this.#byFact.get(key);
      ids?.delete(id);
      if (ids?.size === 0) this.#byFact.delete(key);
    }
  }

  /** Looks up facts that other relays may have stored, and finds entries whose time is over. */
  async #check(): Promise<void> {
    const { clock, store, checkEveryMs } = this.#deps;
    for (const [id, { envelope }] of this.#held) {
      if (store.stillOwned?.([envelope]) === false) this.#forget(id);
    }
    await this.#lookUpFacts([...this.#held.keys()]);
    const now = clock.monotonic();
    for (const [id, { endsAt }] of this.#held) if (endsAt <= now) this.#ready.add(id);
    this.#checkAt = this.#held.size === 0 ? Infinity : now + checkEveryMs;
  }

  async #lookUpFacts(ids: readonly string[]): Promise<void> {
    const keys = [...new Set(ids.flatMap((id) => this.#held.get(id)?.factKeys ?? []))];
    for (let from = 0; from < keys.length && !this.#isStopped(); from += keysPerLookup) {
      if (from > 0) await nextTurn();
      const some = keys.slice(from, from + keysPerLookup);
      const found = await this.#deps.store.getFacts(some);
      this.onFactsPut(some.filter((_key, index) => (found[index] ?? null) !== null));
    }
  }

  async #ingest(ids: readonly string[]): Promise<void> {
    for (const id of ids) this.#ready.delete(id);
    const held = ids.flatMap((id) => this.#held.get(id) ?? []);
    const outcomes = await Promise.allSettled(held.map((one) => this.#ingestOne(one)));
    const isIngested = (_one: Held, index: number): boolean => {
      const outcome = outcomes[index];
      return outcome?.status === 'fulfilled' && outcome.value;
    };
    // Accepted entries are settled even if others failed, so that they are not ingested again.
    await this.#settle(held.filter(isIngested));
    for (const outcome of outcomes) if (outcome.status === 'rejected') throw outcome.reason;
  }

  /** Returns false if the entry still waits: its person is unknown, or the store reported backpressure. The next check tries again. */
  async #ingestOne({ envelope, endsAt }: Held): Promise<boolean> {
    const { accept, store, clock } = this.#deps;
    const post = readUnmappable(envelope);
    if (post === null || store.stillOwned?.([envelope]) === false) return false;
    const again = await accept(post, { strict: true, isReingest: true });
    if (again.kind !== 'invalid') return again.kind === 'accepted';
    const isUnknown = again.rejected.every(({ code }) => code === unknownPerson);
    if (isUnknown && clock.monotonic() < endsAt) return false;
    return (await accept(post, { strict: false, isReingest: true })).kind === 'accepted';
  }

  async #settle(settled: readonly Held[]): Promise<void> {
    if (settled.length === 0) return;
    const { store, metrics } = this.#deps;
    await store.settle({
      lane: 'waiting',
      settled: settled.map(({ envelope }) => ({
        envelope,
        verdict: { kind: 'ack', as: 'delivered' },
      })),
    });
    metrics.settled.inc({ lane: 'waiting', outcome: 'resolved' }, settled.length);
    for (const { envelope } of settled) this.#forget(envelope.id);
  }

  /** Resolves when there is a step to run, or after `ms`. */
  #wait(ms: number, { ignoresWake }: { ignoresWake: boolean }): Promise<void> {
    return new Promise((resolve) => {
      let timer: Timer | null = null;
      const end = (): void => {
        timer?.cancel();
        this.#wake = () => undefined;
        resolve();
      };
      if (ms !== Infinity) timer = this.#deps.clock.setTimer(ms, end);
      this.#wake = () => {
        if (!ignoresWake || this.#isStopped()) end();
      };
      // A signal may have come during the previous step.
      if (!ignoresWake && (this.#isStopped() || this.#ready.size > 0 || this.#canClaim())) end();
    });
  }

  #canClaim(): boolean {
    return this.#hasMore && this.#hasCapacity();
  }
}

function toFactKeys({ source, entries }: SourcePost): readonly string[] {
  return entries.flatMap(({ personKeys = [] }) =>
    personKeys.map((key) => toFactKey(source, 'person', key)),
  );
}

/** A number of envelopes and their payload bytes. */
type Amount = { readonly count: number; readonly bytes: number };

export type WaitingBoundsOptions = {
  readonly maxCount: number;
  readonly maxBytes: number;
  /** The waiting envelopes in the store. */
  readonly depth: () => Amount;
};

/** Bounds the entries that wait, so that they never fill the buffer and block what is sent. */
export class WaitingBounds {
  readonly #options: WaitingBoundsOptions;
  /** Reserved by requests that are not in the store yet. */
  #reserved: Amount = { count: 0, bytes: 0 };

  constructor(options: WaitingBoundsOptions) {
    this.#options = options;
  }

  /** Reserves capacity for one entry. Returns false if there is none. The caller releases it once the entry is in the store or rejected. */
  reserve(bytes: number): boolean {
    const { maxCount, maxBytes, depth } = this.#options;
    const stored = depth();
    const count = stored.count + this.#reserved.count;
    if (count >= maxCount || stored.bytes + this.#reserved.bytes + bytes > maxBytes) return false;
    this.#reserved = { count: this.#reserved.count + 1, bytes: this.#reserved.bytes + bytes };
    return true;
  }

  release({ count, bytes }: Amount): void {
    this.#reserved = {
      count: this.#reserved.count - count,
      bytes: this.#reserved.bytes - bytes,
    };
  }
}
