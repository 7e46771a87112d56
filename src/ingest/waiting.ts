import type { Clock, Timer } from '../clock.js';
import type { ClaimBounds, Envelope, BatchItem } from '../model/envelope.js';
import type { Settlement } from '../model/store.js';
import type { StoreLane } from '../model/lane.js';
import type { Metrics } from '../metrics.js';
import { nextTurn } from '../slices.js';
import type { AcceptFromSource } from './accept-from-source.js';
import { unknownPerson } from './draft-source-entry.js';
import { toFactKey, type GetFacts } from './people.js';
import type { SourcePost } from './source-entry.js';
import { readUnmappable } from './unmappable-entry.js';

/**
 * Entries of sources that name a person the relay does not know yet: a refund whose order has not come,
 * a payment before its charge. Each is an envelope in the store's queue `waiting`, so it is as safe as
 * any other and survives a restart.
 *
 * - The relay claims what waits and holds it, so nothing is written while it waits. An index from the
 *   keys of facts to the held envelopes is in memory.
 * - A fact that this process puts is looked up in the index, and what waits for it is ingested again at
 *   once. A fact that another relay puts, or that was put before the envelope was in the index, is found
 *   by a look into the store: right after the claim, and every `checkEveryMs`.
 * - The relay accepts the entry again like any other entry: it appends the event to its own lane first,
 *   and then settles the envelope that waited. After a crash in between, the store still has both, and the
 *   relay accepts the entry once more; the second event is a duplicate by its unique_id.
 * - After `maxAgeMs` an entry becomes a dead letter of its own lane, which a redrive ingests again.
 */
export type WaitingDeps = {
  readonly store: {
    claim(lane: StoreLane, bounds: ClaimBounds): Promise<readonly BatchItem[]>;
    /** False where a relay that shares the store may have taken over any of what was claimed here. Absent: never. */
    stillOwned?(envelopes: readonly Envelope[]): boolean;
    settle(settlement: Settlement): Promise<void>;
    onClaimable(listener: (lane: StoreLane) => void): () => void;
    readonly getFacts: GetFacts;
  };
  readonly accept: AcceptFromSource;
  readonly clock: Clock;
  /** Age at which an entry becomes a dead letter. */
  readonly maxAgeMs: number;
  /** How often the facts of all that is held are looked up. */
  readonly checkEveryMs: number;
  readonly metrics: Pick<Metrics, 'settled'>;
  readonly log: {
    info(fields: object, text: string): void;
    error(fields: object, text: string): void;
  };
};

export type WaitingEntries = {
  /** Facts under these keys are kept now. */
  onFactsPut(keys: readonly string[]): void;
  start(): void;
  /** Resolves once nothing is under way any more. What waits stays in the store. */
  stop(): Promise<void>;
};

/** What one relay holds, at most; what is beyond it is claimed when there is room. */
const maxHeldCount = 100_000;
const maxHeldBytes = 128 * 1024 * 1024;
const claimBounds: ClaimBounds = {
  maxCount: 500,
  maxBytes: 4 * 1024 * 1024,
  isolateAfterAttempts: Infinity,
};
/** Entries that are ingested at the same time: a store writes them together. */
const perRound = 64;
/** Keys that are looked up in one go. */
const keysPerLookUp = 200;
/**
 * What was accepted long ago by the wall clock waits this long all the same once it is held: the clock
 * may have jumped, and what was sent while no relay ran may come now.
 */
const minHeldMs = 10 * 60_000;
const retryMs = 1000;
const failure = 'an entry that waits for a fact could not be ingested: the relay tries again';

/** Interval of the checks: often enough that an age is met, and a fact of another relay found soon. */
export const toCheckIntervalMs = (maxAgeMs: number): number =>
  Math.min(10_000, Math.max(250, maxAgeMs / 4));

type Held = {
  readonly envelope: Envelope;
  readonly factKeys: readonly string[];
  /** Monotonic ms at which it is given up. */
  readonly endsAt: number;
};

export function createWaitingEntries(deps: WaitingDeps): WaitingEntries {
  const entries = new HeldEntries(deps);
  return {
    onFactsPut: (keys) => entries.noteFacts(keys),
    start: () => entries.start(),
    stop: () => entries.stop(),
  };
}

/** One loop does everything, a step after the other: only `noteFacts` and the store's signal come in between. */
class HeldEntries {
  readonly #deps: WaitingDeps;
  /** By envelope id, in the order of their claims. */
  readonly #held = new Map<string, Held>();
  readonly #byFact = new Map<string, Set<string>>();
  #heldBytes = 0;
  /** Ids of what is to be ingested now. */
  readonly #ready = new Set<string>();
  #hasMore = true;
  #checkAt = Infinity;
  #isFailing = false;
  /** Monotonic ms before which nothing is tried: a step failed. */
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

  noteFacts(keys: readonly string[]): void {
    const before = this.#ready.size;
    for (const key of keys) for (const id of this.#byFact.get(key) ?? []) this.#ready.add(id);
    if (this.#ready.size > before) this.#wake();
  }

  async #run(): Promise<void> {
    while (!this.#isStopped()) {
      try {
        const hasWorked = await this.#step();
        if (hasWorked) this.#isFailing = false;
      } catch (error) {
        if (this.#isStopped()) return;
        // A store that is away says so itself, and each step fails until it is back.
        if (!this.#isFailing) this.#deps.log.error({ err: error }, failure);
        this.#isFailing = true;
        this.#pausedUntil = this.#deps.clock.monotonic() + retryMs;
      }
    }
  }

  /** Does what is most urgent, or waits for something to do and returns false. */
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

  #hasRoom(): boolean {
    return this.#held.size < maxHeldCount && this.#heldBytes < maxHeldBytes;
  }

  async #claim(): Promise<void> {
    this.#hasMore = false;
    const envelopes = (await this.#deps.store.claim('waiting', claimBounds)).flat();
    if (envelopes.length === 0) return;
    // There may be more than one claim takes.
    this.#hasMore = true;
    for (const envelope of envelopes) this.#hold(envelope);
    await this.#lookUp(envelopes.map(({ id }) => id));
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

  /** Looks for facts that nobody told this process of, and for what has waited too long. */
  async #check(): Promise<void> {
    const { clock, store, checkEveryMs } = this.#deps;
    for (const [id, { envelope }] of this.#held) {
      if (store.stillOwned?.([envelope]) === false) this.#forget(id);
    }
    await this.#lookUp([...this.#held.keys()]);
    const now = clock.monotonic();
    for (const [id, { endsAt }] of this.#held) if (endsAt <= now) this.#ready.add(id);
    this.#checkAt = this.#held.size === 0 ? Infinity : now + checkEveryMs;
  }

  async #lookUp(ids: readonly string[]): Promise<void> {
    const keys = [...new Set(ids.flatMap((id) => this.#held.get(id)?.factKeys ?? []))];
    for (let from = 0; from < keys.length && !this.#isStopped(); from += keysPerLookUp) {
      if (from > 0) await nextTurn();
      const some = keys.slice(from, from + keysPerLookUp);
      const found = await this.#deps.store.getFacts(some);
      this.noteFacts(some.filter((_key, index) => (found[index] ?? null) !== null));
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
    // What was accepted is settled whatever became of the others, so that it is not ingested again.
    await this.#settle(held.filter(isIngested));
    for (const outcome of outcomes) if (outcome.status === 'rejected') throw outcome.reason;
  }

  /** False where it goes on waiting: for a person, or since the store refused it. The next check comes back to it. */
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

  /** Until there is something to do, or the time is over. */
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
      // It may have come while the step before was under way.
      if (!ignoresWake && (this.#isStopped() || this.#ready.size > 0 || this.#canClaim())) end();
    });
  }

  #canClaim(): boolean {
    return this.#hasMore && this.#hasRoom();
  }
}

function toFactKeys({ source, entries }: SourcePost): readonly string[] {
  return entries.flatMap(({ personKeys = [] }) =>
    personKeys.map((key) => toFactKey(source, 'person', key)),
  );
}
