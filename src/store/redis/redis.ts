import { lanes, type StoreLane } from '../../model/lane.js';
import type {
  ClaimBounds,
  Draft,
  Envelope,
  BatchItem,
  ClaimableState,
} from '../../model/envelope.js';
import type { DeadLetter, DeadLetterFilter } from '../../model/dead-letter.js';
import type { DeliveryFilter, UnfinishedImportJob } from '../../model/delivery.js';
import type { Fact } from '../../model/fact.js';
import type { PageQuery } from '../../model/store.js';
import type { Receipt } from '../../model/store.js';
import type { Settlement } from '../../model/store.js';
import type { RedisReply, Script } from '../../redis/connection.js';
import { toMatch } from '../dead-letters.js';
import { toId } from '../ids.js';
import type { StoreOptions } from '../options.js';
import { toBatchItems } from '../batch-items.js';
import { payloadBytes } from '../claim-builder.js';
import type {
  AppendResult,
  Depth,
  PutFactsResult,
  LaneTotals,
  Backpressure,
  Store,
} from '../../model/store.js';
import { storeScripts } from './scripts.js';
import { Appends } from './appends.js';
import { Claims } from './claims.js';
import { toClaimed, type Claimed } from './claimed.js';
import { RedisFacts } from './facts.js';
import { decodeDeadLetter } from './dead-letter.js';
import { RedisBackpressure, unavailable, type RedisBackpressureOptions } from './backpressure.js';
import type { Session } from './session.js';
import { isOfClaim, packSettlement } from './settlement.js';
import { RedisQueries } from './redis-queries.js';
import { readBytes, readList, readText, type StoreState } from './view.js';

export type RedisOptions = Omit<StoreOptions, 'random'> &
  RedisBackpressureOptions & {
    /** Seconds from an append to the server's answer. */
    readonly onSynced: (seconds: number) => void;
    readonly closeConnections: () => Promise<void>;
  };

/**
 * Everything accepted and not settled is in Redis or Valkey, for any number of relays: none of them
 * keeps anything but what it is sending. Decisions are made in scripts, one at a time, by the server.
 */
export class RedisStore implements Store {
  readonly durability = 'server';
  readonly #options: RedisOptions;
  readonly #session: Session;
  readonly #shelf: RedisQueries;
  /** What this relay has claimed and not settled. */
  readonly #claimed = new Map<string, Claimed>();
  readonly #claims: Claims;
  readonly #appends: Appends;
  readonly #facts: RedisFacts;
  readonly #refusals: RedisBackpressure;
  #closing: Promise<void> | null = null;

  constructor(options: RedisOptions) {
    this.#options = options;
    this.#session = options.session;
    this.#shelf = new RedisQueries(options.session, options.clock);
    this.#refusals = new RedisBackpressure(options);
    this.#facts = new RedisFacts(options.session, options.facts);
    this.#claims = new Claims(options.session);
    // Others have it by now, and what is still done here with any of it counts for nothing.
    options.session.onLost(() => this.#claimed.clear());
    const { clock, capacity, dedupe } = options;
    const room = [capacity.maxCount, capacity.maxBytes];
    this.#appends = new Appends(options.session, {
      clock,
      bounds: [...room, dedupe.maxAgeMs, dedupe.maxCount, this.#maxDeadLetters()],
      onDropped: (letters) => this.#tellDropped(letters),
    });
  }

  get durable(): boolean {
    return this.#options.isDurable();
  }

  backpressure(): Backpressure | null {
    return this.#refusals.of({ count: 0, bytes: 0 }, false);
  }

  outage(): string | null {
    return this.#session.trouble;
  }

  async append(drafts: readonly Draft[]): Promise<AppendResult> {
    const { clock, onSynced } = this.#options;
    const wanted = {
      count: drafts.length,
      bytes: drafts.reduce((sum, one) => sum + payloadBytes(one), 0),
    };
    const backpressure = this.#refusals.of(wanted, false);
    if (backpressure !== null) return { ok: false, backpressure: backpressure };
    const from = clock.monotonic();
    const numbers = await this.#appends.append(drafts);
    if (numbers === 'unavailable') return { ok: false, backpressure: unavailable };
    if (numbers === 'full') {
      return { ok: false, backpressure: this.#refusals.of(wanted, true) ?? unavailable };
    }
    onSynced((clock.monotonic() - from) / 1000);
    const { epoch } = this.#view();
    const taken = drafts.map(({ lane }, index) => {
      const seq = numbers[index] ?? 0;
      return { id: toId({ lane, epoch, seq: Math.abs(seq) }), duplicate: seq < 0 };
    });
    return { ok: true, envelopes: taken };
  }

  async putFacts(facts: readonly Fact[]): Promise<PutFactsResult> {
    if (facts.length === 0) return { ok: true };
    const backpressure = this.#refusals.outage();
    if (backpressure !== null) return { ok: false, backpressure: backpressure };
    const isKept = await this.#facts.put(facts);
    return isKept ? { ok: true } : { ok: false, backpressure: unavailable };
  }

  getFacts(keys: readonly string[]): Promise<readonly (string | null)[]> {
    return this.#facts.get(keys);
  }

  claimable(lane: StoreLane): ClaimableState {
    const waiting = this.#session.mirror.waiting(lane);
    // Nothing can be claimed from a server that is away; when it is back, a look tells.
    return this.#session.isUp ? waiting : { ...waiting, count: 0, bytes: 0, oldestAgeMs: null };
  }

  onClaimable(listener: (lane: StoreLane) => void): () => void {
    return this.#session.mirror.onClaimable(listener);
  }

  onUnfinishedImportJobs(listener: () => void): void {
    this.#session.onLook(() => {
      if (lanes.some((lane) => (this.#session.mirror.view?.lanes[lane].orphans ?? 0) > 0))
        listener();
    });
  }

  async claim(lane: StoreLane, bounds: ClaimBounds): Promise<readonly BatchItem[]> {
    const { maxCount, maxBytes, isolateAfterAttempts } = bounds;
    const merges = lane === 'profiles' ? 1 : 0;
    const limits = [maxCount, maxBytes, isolateAfterAttempts, merges];
    const { claim, claimed } = await this.#claims.run(storeScripts.claim, [lane, ...limits]);
    if (claimed.length === 0) return [];
    const items: [Claimed, ...Claimed[]][] = [];
    for (const [place, one] of toClaimed(claimed, { lane, claim, epoch: this.#view().epoch })) {
      this.#claimed.set(one.id, one);
      const item = items[place - 1];
      if (item === undefined) items.push([one]);
      else item.push(one);
    }
    return items;
  }

  /** False where others may have taken them over: sent now, they would come after what is newer. */
  stillOwned(envelopes: readonly Envelope[]): boolean {
    return (
      this.#session.hasLease() &&
      envelopes.every((one) => isOfClaim(one, this.#claimed.get(one.id)))
    );
  }

  /** Where the server is away it waits until it is back: what was delivered must not be forgotten. */
  async settle(settlement: Settlement): Promise<void> {
    const { clock, capacity, log } = this.#options;
    const { lane } = settlement;
    const { relay } = this.#session;
    const packed = packSettlement(settlement, (id) => this.#claimed.get(id), clock.now());
    const bounds = [capacity.maxCount, capacity.maxBytes, log.maxCount, log.maxAgeMs];
    const [dropped] = await this.#session.insist(storeScripts.settle, [
      ...[clock.now(), relay, lane, ...bounds, this.#maxDeadLetters()],
      packed.json,
    ]);
    // While it waited for the server others may have taken them over, and this relay claimed them anew.
    for (const one of packed.gone) if (this.#isCurrent(one)) this.#claimed.delete(one.id);
    for (const one of packed.followed) if (this.#isCurrent(one)) this.#claimed.set(one.id, one);
    this.#tellDropped(readList(dropped));
  }

  async unfinishedImportJobs(): Promise<readonly UnfinishedImportJob[]> {
    const found: UnfinishedImportJob[] = [];
    for (const lane of lanes) {
      const { claim, claimed } = await this.#claims.run(storeScripts.adoptImportJobs, [lane]);
      for (const each of claimed) {
        const [ref, text, flat] = readList(each);
        const { delivery } = JSON.parse(readText(text)) as Pick<UnfinishedImportJob, 'delivery'>;
        const held = toClaimed(readList(flat), { lane, claim, epoch: this.#view().epoch });
        for (const [, one] of held) this.#claimed.set(one.id, one);
        const items = toBatchItems(
          lane,
          held.map(([, one]) => one),
        );
        found.push({ lane, ref: readText(ref), delivery, items: items });
      }
    }
    return found;
  }

  leaseLeftMs(): number {
    return this.#session.leaseLeftMs();
  }

  depth(lane: StoreLane): Depth {
    return this.#session.mirror.depth(lane);
  }

  laneTotals(lane: StoreLane): LaneTotals {
    return this.#session.mirror.laneTotals(lane);
  }

  capacityBytes(): number {
    return this.#options.capacity.maxBytes;
  }

  receipt(id: string): Promise<Receipt | null> {
    return this.#shelf.receipt(id);
  }

  deliveries(filter: DeliveryFilter, page: PageQuery): ReturnType<Store['deliveries']> {
    return this.#shelf.deliveries(filter, page);
  }

  delivery(id: string): ReturnType<Store['delivery']> {
    return this.#shelf.delivery(id);
  }

  deadLetters(filter: DeadLetterFilter, page: PageQuery): ReturnType<Store['deadLetters']> {
    return this.#shelf.deadLetters(filter, page);
  }

  deadLetter(id: string): Promise<DeadLetter | null> {
    return this.#shelf.deadLetter(id);
  }

  redrive(filter: DeadLetterFilter, { dryRun }: { dryRun: boolean }): Promise<number> {
    const { clock, dedupe } = this.#options;
    const args = () => [clock.now(), dedupe.maxAgeMs, dedupe.maxCount];
    return this.#eachMatch(filter, dryRun ? null : storeScripts.redrive, args);
  }

  discard(filter: DeadLetterFilter, { dryRun }: { dryRun: boolean }): Promise<number> {
    return this.#eachMatch(filter, dryRun ? null : storeScripts.discard, () => []);
  }

  close(): Promise<void> {
    this.#refusals.close();
    this.#closing ??= this.#session.close().then(() => this.#options.closeConnections());
    return this.#closing;
  }

  /** Lua reads no Infinity. */
  #maxDeadLetters(): number {
    return Math.min(this.#options.maxDeadLetters, Number.MAX_SAFE_INTEGER);
  }

  #tellDropped(letters: readonly RedisReply[]): void {
    for (const blob of letters) {
      this.#options.onDeadLetterDropped(decodeDeadLetter(readBytes(blob), this.#view().epoch));
    }
  }

  /** By that claim, not by a later one. */
  #isCurrent(one: Claimed): boolean {
    return isOfClaim(one, this.#claimed.get(one.id));
  }

  /** Everything that matched when it began, some at a time. */
  async #eachMatch(
    filter: DeadLetterFilter,
    script: Script | null,
    args: () => readonly number[],
  ): Promise<number> {
    const isMatch = toMatch(filter);
    let total = 0;
    for await (const step of this.#shelf.letters(Infinity)) {
      const orders = step.flatMap(({ order, value }) => (isMatch(value) ? [order] : []));
      if (script === null || orders.length === 0) {
        total += orders.length;
        continue;
      }
      // Oldest first: of events that share a unique_id the newest is the one that repeats are of.
      const [count] = await this.#session.run(
        script,
        [...args(), ...orders.reverse()],
        'replicated',
      );
      total += Number(count);
    }
    return total;
  }

  #view(): StoreState {
    const { view } = this.#session.mirror;
    if (view === null) throw new Error('Redis was never asked');
    return view;
  }
}
