import type { DeadLetter, DeadLetterFilter } from '../../model/dead-letter.js';
import type { DeliveryFilter, UnfinishedImportJob } from '../../model/delivery.js';
import type {
  BatchItem,
  ClaimableState,
  ClaimBounds,
  Draft,
  Envelope,
} from '../../model/envelope.js';
import type { Fact } from '../../model/fact.js';
import { lanes, laneTraits, type StoreLane } from '../../model/lane.js';
import type {
  AppendResult,
  Backpressure,
  Depth,
  ErasedCounts,
  HeldOfPerson,
  LaneTotals,
  PageQuery,
  PersonQuery,
  PutFactsResult,
  Receipt,
  Settlement,
  Store,
} from '../../model/store.js';
import type { RedisReply, Script } from '../../redis/connection.js';
import { toBatchItems } from '../batch-items.js';
import { payloadBytes } from '../claim-builder.js';
import { createDeadLetterFilter } from '../dead-letters.js';
import { toId } from '../ids.js';
import type { StoreOptions } from '../options.js';
import { Appends } from './appends.js';
import { RedisBackpressure, type RedisBackpressureOptions, unavailable } from './backpressure.js';
import { type Claimed, Claims, toClaimed } from './claims.js';
import { parseDeadLetter } from './dead-letter.js';
import { RedisFacts } from './facts.js';
import { RedisQueries } from './redis-queries.js';
import { storeScripts } from './scripts.js';
import type { Session } from './session.js';
import { encodeSettlement, isOfClaim } from './settlement.js';
import { RedisErasure, withServerKey } from './erasure.js';
import { readBytes, readReplyList, readReplyText, type StoreState } from './store-state.js';

export type RedisOptions = Omit<StoreOptions, 'random'> &
  RedisBackpressureOptions & {
    /** Called with the seconds from an append to the server's reply. */
    readonly onSynced: (seconds: number) => void;
    readonly closeConnections: () => Promise<void>;
  };

/**
 * A store in Redis or Valkey that any number of relays share. What is accepted and not settled is in Redis; a relay
 * keeps only what it has claimed. Every change is one Lua script, which Redis runs without interleaving any other.
 *
 * - append.lua stores envelopes in the queue of their lane, unless the store is full or an event is a duplicate.
 * - claim.lua gives envelopes to one relay, in order, and locks their keys.
 * - settle.lua records delivered, retried and dead-lettered envelopes, and unlocks keys.
 * - heartbeat.lua runs every 100 ms: it renews the lease of this relay and releases the claims of relays whose lease
 *   has ended (session.ts).
 * - release-claims.lua gives back a claim whose reply was lost (claims.ts).
 *
 * lua/lib.lua describes the keys.
 */
export class RedisStore implements Store {
  readonly durability = 'server';
  readonly #options: RedisOptions;
  readonly #session: Session;
  readonly #queries: RedisQueries;
  /** Envelopes that this relay has claimed and not settled. */
  readonly #claimed = new Map<string, Claimed>();
  readonly #claims: Claims;
  readonly #appends: Appends;
  readonly #facts: RedisFacts;
  readonly #erasure: RedisErasure;
  readonly #backpressure: RedisBackpressure;
  #closing: Promise<void> | null = null;

  constructor(options: RedisOptions) {
    this.#options = options;
    this.#session = options.session;
    this.#queries = new RedisQueries(options.session, options.clock);
    this.#erasure = new RedisErasure({
      session: options.session,
      queries: this.#queries,
      epoch: () => this.#readState().epoch,
    });
    this.#backpressure = new RedisBackpressure(options);
    this.#facts = new RedisFacts(options.session, options.facts);
    this.#claims = new Claims(options.session);
    // Other relays have these envelopes by now; a settlement of this relay would have no effect.
    options.session.onLost(() => this.#claimed.clear());
    const { clock, capacity, dedupe } = options;
    const size = [capacity.maxCount, capacity.maxBytes];
    this.#appends = new Appends(options.session, {
      clock,
      bounds: [...size, dedupe.maxAgeMs, dedupe.maxCount, this.#maxDeadLetters()],
      onDropped: (deadLetters) => this.#reportDropped(deadLetters),
    });
  }

  get durable(): boolean {
    return this.#options.isDurable();
  }

  backpressure(): Backpressure | null {
    return this.#backpressure.of({ count: 0, bytes: 0 }, false);
  }

  outage(): string | null {
    return this.#session.outage;
  }

  async append(drafts: readonly Draft[]): Promise<AppendResult> {
    const { clock, onSynced } = this.#options;
    const wanted = {
      count: drafts.length,
      bytes: drafts.reduce((sum, one) => sum + payloadBytes(one), 0),
    };
    const backpressure = this.#backpressure.of(wanted, false);
    if (backpressure !== null) return { ok: false, backpressure };
    const from = clock.monotonic();
    const numbers = await this.#appends.append(drafts.map(withServerKey));
    if (numbers === 'unavailable') return { ok: false, backpressure: unavailable };
    if (numbers === 'full') {
      return { ok: false, backpressure: this.#backpressure.of(wanted, true) ?? unavailable };
    }
    onSynced((clock.monotonic() - from) / 1000);
    const { epoch } = this.#readState();
    const taken = drafts.map(({ lane }, index) => {
      const seq = numbers[index] ?? 0;
      return { id: toId({ lane, epoch, seq: Math.abs(seq) }), duplicate: seq < 0 };
    });
    return { ok: true, envelopes: taken };
  }

  async putFacts(facts: readonly Fact[]): Promise<PutFactsResult> {
    if (facts.length === 0) return { ok: true };
    const backpressure = this.#backpressure.outage();
    if (backpressure !== null) return { ok: false, backpressure };
    const isKept = await this.#facts.put(facts);
    return isKept ? { ok: true } : { ok: false, backpressure: unavailable };
  }

  getFacts(keys: readonly string[]): Promise<readonly (string | null)[]> {
    return this.#facts.get(keys);
  }

  claimable(lane: StoreLane): ClaimableState {
    const waiting = this.#session.cachedState.waiting(lane);
    // Nothing can be claimed while the server is unavailable; the next heartbeat notifies the listeners.
    return this.#session.isUp ? waiting : { ...waiting, count: 0, bytes: 0, oldestAgeMs: null };
  }

  onClaimable(listener: (lane: StoreLane) => void): () => void {
    return this.#session.cachedState.onClaimable(listener);
  }

  onUnfinishedImportJobs(listener: () => void): void {
    this.#session.onHeartbeat(() => {
      if (lanes.some((lane) => (this.#session.cachedState.state?.lanes[lane].orphans ?? 0) > 0))
        listener();
    });
  }

  async claim(lane: StoreLane, bounds: ClaimBounds): Promise<readonly BatchItem[]> {
    const { maxCount, maxBytes, isolateAfterAttempts } = bounds;
    const merges = laneTraits[lane].merges ? 1 : 0;
    const limits = [maxCount, maxBytes, isolateAfterAttempts, merges];
    const { claim, claimed } = await this.#claims.run(storeScripts.claim, [lane, ...limits]);
    if (claimed.length === 0) return [];
    const items: [Claimed, ...Claimed[]][] = [];
    for (const [place, one] of toClaimed(claimed, {
      lane,
      claim,
      epoch: this.#readState().epoch,
    })) {
      this.#claimed.set(one.id, one);
      const item = items[place - 1];
      if (item === undefined) items.push([one]);
      else item.push(one);
    }
    return items;
  }

  /** Returns false if other relays may have claimed the envelopes: sent now, they would follow newer ones. */
  stillOwned(envelopes: readonly Envelope[]): boolean {
    return (
      this.#session.hasLease() &&
      envelopes.every((one) => isOfClaim(one, this.#claimed.get(one.id)))
    );
  }

  /** Waits until the server is available, so that no delivery is forgotten. */
  async settle(settlement: Settlement): Promise<void> {
    const { clock, capacity, log } = this.#options;
    const { lane } = settlement;
    const { relay } = this.#session;
    const encoded = encodeSettlement(settlement, (id) => this.#claimed.get(id), clock.now());
    const bounds = [capacity.maxCount, capacity.maxBytes, log.maxCount, log.maxAgeMs];
    const [dropped] = await this.#session.retryUntilAcknowledged(storeScripts.settle, [
      ...[clock.now(), relay, lane, ...bounds, this.#maxDeadLetters()],
      encoded.json,
    ]);
    // During the wait, other relays may have taken over the envelopes, and this relay may have claimed them again.
    for (const one of encoded.released) if (this.#isCurrent(one)) this.#claimed.delete(one.id);
    for (const one of encoded.polled) if (this.#isCurrent(one)) this.#claimed.set(one.id, one);
    this.#reportDropped(readReplyList(dropped));
  }

  async unfinishedImportJobs(): Promise<readonly UnfinishedImportJob[]> {
    const found: UnfinishedImportJob[] = [];
    for (const lane of lanes) {
      const { claim, claimed } = await this.#claims.run(storeScripts.adoptImportJobs, [lane]);
      for (const each of claimed) {
        const [ref, text, flat] = readReplyList(each);
        const { delivery } = JSON.parse(readReplyText(text)) as Pick<
          UnfinishedImportJob,
          'delivery'
        >;
        const held = toClaimed(readReplyList(flat), {
          lane,
          claim,
          epoch: this.#readState().epoch,
        });
        for (const [, one] of held) this.#claimed.set(one.id, one);
        const items = toBatchItems(
          lane,
          held.map(([, one]) => one),
        );
        found.push({ lane, ref: readReplyText(ref), delivery, items: items });
      }
    }
    return found;
  }

  leaseLeftMs(): number {
    return this.#session.leaseLeftMs();
  }

  depth(lane: StoreLane): Depth {
    return this.#session.cachedState.depth(lane);
  }

  laneTotals(lane: StoreLane): LaneTotals {
    return this.#session.cachedState.laneTotals(lane);
  }

  capacityBytes(): number {
    return this.#options.capacity.maxBytes;
  }

  receipt(id: string): Promise<Receipt | null> {
    return this.#queries.receipt(id);
  }

  deliveries(filter: DeliveryFilter, page: PageQuery): ReturnType<Store['deliveries']> {
    return this.#queries.deliveries(filter, page);
  }

  delivery(id: string): ReturnType<Store['delivery']> {
    return this.#queries.delivery(id);
  }

  deadLetters(filter: DeadLetterFilter, page: PageQuery): ReturnType<Store['deadLetters']> {
    return this.#queries.deadLetters(filter, page);
  }

  deadLetter(id: string): Promise<DeadLetter | null> {
    return this.#queries.deadLetter(id);
  }

  redrive(filter: DeadLetterFilter, { dryRun }: { dryRun: boolean }): Promise<number> {
    const { clock, dedupe } = this.#options;
    const args = () => [clock.now(), dedupe.maxAgeMs, dedupe.maxCount];
    return this.#eachMatch(filter, dryRun ? null : storeScripts.redrive, args);
  }

  discard(filter: DeadLetterFilter, { dryRun }: { dryRun: boolean }): Promise<number> {
    return this.#eachMatch(filter, dryRun ? null : storeScripts.discard, () => []);
  }

  /** Rejects with StoreUnavailableError. */
  findPerson(person: PersonQuery, erasure?: Envelope): Promise<HeldOfPerson> {
    return this.#erasure.find(person, erasure);
  }

  /** Rejects with StoreUnavailableError. */
  async erase({ envelopes, deadLetters, facts }: HeldOfPerson): Promise<ErasedCounts> {
    const counts = await this.#erasure.removeEnvelopes(envelopes);
    // An envelope of the lane `waiting` may be one that this relay has claimed.
    for (const { id, lane } of envelopes) if (lane === 'waiting') this.#claimed.delete(id);
    const ids = deadLetters.map(({ id }) => id);
    return {
      envelopes: counts,
      deadLetters: ids.length === 0 ? 0 : await this.discard({ ids }, { dryRun: false }),
      facts: await this.#erasure.removeFacts(facts),
    };
  }

  close(): Promise<void> {
    this.#backpressure.close();
    this.#closing ??= this.#session.close().then(() => this.#options.closeConnections());
    return this.#closing;
  }

  /** Lua cannot parse Infinity. */
  #maxDeadLetters(): number {
    return Math.min(this.#options.maxDeadLetters, Number.MAX_SAFE_INTEGER);
  }

  #reportDropped(deadLetters: readonly RedisReply[]): void {
    for (const blob of deadLetters) {
      this.#options.onDeadLetterDropped(parseDeadLetter(readBytes(blob), this.#readState().epoch));
    }
  }

  /** Returns true if this relay holds the envelope by that claim and not by a later one. */
  #isCurrent(one: Claimed): boolean {
    return isOfClaim(one, this.#claimed.get(one.id));
  }

  /** Runs a script for all dead deadLetters that match at the beginning, in steps. Returns their count. */
  async #eachMatch(
    filter: DeadLetterFilter,
    script: Script | null,
    args: () => readonly number[],
  ): Promise<number> {
    const isMatch = createDeadLetterFilter(filter);
    let total = 0;
    for await (const step of this.#queries.iterateDeadLetters(Infinity)) {
      const orders = step.flatMap(({ order, value }) => (isMatch(value) ? [order] : []));
      if (script === null || orders.length === 0) {
        total += orders.length;
        continue;
      }
      // Oldest first: of events that share a unique_id, duplicates refer to the newest.
      const [count] = await this.#session.run(
        script,
        [...args(), ...orders.reverse()],
        'replicated',
      );
      total += Number(count);
    }
    return total;
  }

  #readState(): StoreState {
    const { state } = this.#session.cachedState;
    if (state === null) throw new Error('Redis was never asked');
    return state;
  }
}
