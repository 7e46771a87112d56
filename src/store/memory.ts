import type { Clock } from '../clock.js';
import {
  counterLane,
  dedupedLane,
  mapStoreLanes,
  type StoreLane,
  storeLanes,
} from '../model/lane.js';
import type { ClaimBounds, Draft, BatchItem, Envelope } from '../model/envelope.js';
import type { DeadLetter, DeadLetterFilter } from '../model/dead-letter.js';
import type { DeliveryFilter } from '../model/delivery.js';
import type { Fact } from '../model/fact.js';
import type { PageQuery } from '../model/store.js';
import type { Receipt } from '../model/store.js';
import type { Settlement } from '../model/store.js';
import { forEachInSlices, nextTurn } from '../slices.js';
import { Admission } from './admission.js';
import {
  createDeadLetterFilter,
  DeadLetters,
  deadLettersPerStep,
  type StoredDeadLetter,
} from './dead-letters.js';
import { DedupeWindow } from './dedupe.js';
import { DeliveryLog } from './delivery-log.js';
import { Facts } from './facts.js';
import { fromId, toEpoch, toId } from './ids.js';
import type { Queued } from './lane-queue.js';
import { MemoryLane } from './memory-lane.js';
import { payloadBytes } from './claim-builder.js';
import { createIsBefore, createPersonMatcher, toErasureMark } from './person.js';
import { PersonOrder } from './person-order.js';
import { sortSettlement } from './sort-settled.js';
import type { StoreOptions } from './options.js';
import type {
  AppendResult,
  Depth,
  PutFactsResult,
  LaneTotals,
  Backpressure,
  Store,
  AppendedEnvelope,
  ErasedCounts,
  HeldDeadLetter,
  HeldEnvelope,
  HeldFact,
  HeldOfPerson,
  PersonQuery,
} from '../model/store.js';

/** The store in the memory of this process, bounded by count and bytes. A crash or restart loses its content. */
export class MemoryStore implements Store {
  readonly durability = 'process';
  readonly durable = false;
  readonly #clock: Clock;
  readonly #admission: Admission;
  readonly #dedupe: DedupeWindow;
  readonly #log: DeliveryLog;
  readonly #deadLetters: DeadLetters;
  readonly #facts: Facts;
  readonly #lanes: Readonly<Record<StoreLane, MemoryLane>>;
  readonly #epoch: string;
  readonly #listeners = new Set<(lane: StoreLane) => void>();
  /** The last number of each counter. */
  readonly #lastSeqs: Record<StoreLane, number> = { ...mapStoreLanes(() => 0) };
  #closed = false;

  constructor(options: StoreOptions) {
    const { clock } = options;
    this.#clock = clock;
    this.#epoch = toEpoch(options.random());
    this.#admission = new Admission(options.capacity, clock);
    this.#dedupe = new DedupeWindow(options.dedupe, clock);
    this.#log = new DeliveryLog(options.log, clock);
    this.#deadLetters = new DeadLetters(options.maxDeadLetters, options.onDeadLetterDropped);
    this.#facts = new Facts(options.facts, clock);
    const order = new PersonOrder();
    const lane = (name: StoreLane): MemoryLane =>
      new MemoryLane(name, {
        epoch: this.#epoch,
        clock,
        order,
        nextSeq: () => ++this.#lastSeqs[counterLane(name)],
        onClaimable: () => this.#notify(name),
      });
    this.#lanes = mapStoreLanes(lane);
  }

  backpressure(): Backpressure | null {
    return this.#closed ? closed : this.#admission.backpressure();
  }

  /** Runs in slices. Space for all drafts is reserved at the start, so all of them are appended. */
  async append(drafts: readonly Draft[]): Promise<AppendResult> {
    const bytes = drafts.reduce((sum, draft) => sum + payloadBytes(draft), 0);
    const backpressure = this.#closed ? closed : this.#admission.backpressure(drafts.length, bytes);
    if (backpressure !== null) return { ok: false, backpressure: backpressure };
    this.#admission.add(drafts.length, bytes);
    const appended: AppendedEnvelope[] = [];
    await forEachInSlices(drafts, this.#clock, (draft) => appended.push(this.#accept(draft)));
    for (const lane of new Set(drafts.map((draft) => draft.lane))) this.#notify(lane);
    return { ok: true, envelopes: appended };
  }

  putFacts(facts: readonly Fact[]): Promise<PutFactsResult> {
    if (facts.length > 0 && this.#closed)
      return Promise.resolve({ ok: false, backpressure: closed });
    this.#facts.put(facts);
    return Promise.resolve({ ok: true });
  }

  getFacts(keys: readonly string[]): Promise<readonly (string | null)[]> {
    return Promise.resolve(keys.map((key) => this.#facts.get(key)));
  }

  claimable(lane: StoreLane): ReturnType<Store['claimable']> {
    return this.#lanes[lane].unsettled.queue.waiting();
  }

  onClaimable(listener: (lane: StoreLane) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  claim(lane: StoreLane, bounds: ClaimBounds): Promise<readonly BatchItem[]> {
    return Promise.resolve(this.#lanes[lane].unsettled.claim(bounds));
  }

  settle({ lane: name, settled, delivery }: Settlement): Promise<void> {
    const lane = this.#lanes[name];
    const deliveryId = delivery?.id ?? null;
    const sorted = sortSettlement(settled, deliveryId, (id) => lane.unsettled.claimed(id));
    const { delivered, merged, deadLettered } = sorted;
    if (delivery !== undefined) {
      lane.settled.add(delivery.id, delivered.map(readSeq), false);
      lane.settled.add(delivery.id, merged.map(readSeq), true);
      const dropped = this.#log.write(delivery);
      for (const each of Object.values(this.#lanes)) each.settled.forget(dropped);
    }
    for (const { queued, reason } of deadLettered) {
      this.#addDeadLetter({ ...queued, attempts: queued.attempts + 1 }, { reason, deliveryId });
      // Its key leaves the dedupe window, so that a corrected event can be posted under the same unique_id.
      if (name === dedupedLane) this.#dedupe.remove(queued.keys, queued.seq);
    }
    this.#remove(lane, [...delivered, ...merged, ...deadLettered.map(({ queued }) => queued)]);
    lane.unsettled.update(sorted.polled);
    for (const [afterMs, queued] of sorted.retries) lane.unsettled.sendBack(queued, afterMs);
    return Promise.resolve();
  }

  unfinishedImportJobs(): Promise<readonly never[]> {
    return Promise.resolve([]);
  }

  depth(lane: StoreLane): Depth {
    const { unsettled } = this.#lanes[lane];
    const { count, bytes } = unsettled;
    return {
      count,
      bytes,
      oldestAgeMs: unsettled.oldestAgeMs(),
      deadLetters: this.#deadLetters.count(lane),
    };
  }

  laneTotals(): LaneTotals {
    return { accepted: 0, delivered: 0, merged: 0, deadLettered: 0, erased: 0 };
  }

  capacityBytes(): number {
    return this.#admission.capacityBytes;
  }

  receipt(id: string): Promise<Receipt | null> {
    return Promise.resolve(this.#receipt(id));
  }

  deliveries(filter: DeliveryFilter, page: PageQuery): ReturnType<Store['deliveries']> {
    return this.#log.list(filter, page);
  }

  delivery(id: string): ReturnType<Store['delivery']> {
    return Promise.resolve(this.#log.find(id));
  }

  deadLetters(filter: DeadLetterFilter, page: PageQuery): ReturnType<Store['deadLetters']> {
    return this.#deadLetters.list(filter, page, this.#clock);
  }

  deadLetter(id: string): Promise<DeadLetter | null> {
    return Promise.resolve(this.#deadLetters.find(id));
  }

  redrive(filter: DeadLetterFilter, { dryRun }: { dryRun: boolean }): Promise<number> {
    return this.#runInSteps(filter, (found) => {
      if (dryRun) return found.length;
      // Another redrive or discard may have removed some since.
      const removed = found.filter((deadLetter) => this.#deadLetters.remove(deadLetter));
      for (const lane of storeLanes) {
        const own = removed.filter((deadLetter) => deadLetter.lane === lane);
        if (own.length > 0) this.#redrive(lane, own);
      }
      return removed.length;
    });
  }

  discard(filter: DeadLetterFilter, { dryRun }: { dryRun: boolean }): Promise<number> {
    return this.#runInSteps(filter, (found) =>
      dryRun
        ? found.length
        : found.reduce(
            (count, deadLetter) => count + (this.#deadLetters.remove(deadLetter) ? 1 : 0),
            0,
          ),
    );
  }

  async findPerson(person: PersonQuery, erasure?: Envelope): Promise<HeldOfPerson> {
    const matcher = createPersonMatcher(person);
    const isBefore = erasure === undefined ? () => true : createIsBefore(erasure);
    const envelopes: HeldEnvelope[] = [];
    const deadLetters: HeldDeadLetter[] = [];
    const facts: HeldFact[] = [];
    for (const lane of storeLanes) {
      if (lane === 'erase' && erasure !== undefined) continue;
      await forEachInSlices([...this.#lanes[lane].unsettled.values()], this.#clock, (queued) => {
        const { id, acceptedAt, inFlight } = queued;
        if (!isBefore(lane, id) || !matcher.isAbout(queued)) return;
        envelopes.push({ id, lane, acceptedAt, state: inFlight ? 'in_flight' : 'buffered' });
      });
    }
    await forEachInSlices(this.#deadLetters.all(), this.#clock, (deadLetter) => {
      const { id, lane, acceptedAt, reason } = deadLetter;
      if (!isBefore(lane, id) || !matcher.isAbout(deadLetter)) return;
      deadLetters.push({ id, lane, acceptedAt, code: reason.code });
    });
    await forEachInSlices([...this.#facts.values()], this.#clock, ({ kind, key, value }) => {
      if (matcher.isInFact(value)) facts.push({ kind, key });
    });
    return { envelopes, deadLetters, facts };
  }

  async erase({ envelopes, deadLetters, facts }: HeldOfPerson): Promise<ErasedCounts> {
    const counts = { ...mapStoreLanes(() => 0) };
    for (const lane of storeLanes) {
      const { unsettled } = this.#lanes[lane];
      const queued = envelopes.flatMap((each) => {
        const found = each.lane === lane ? unsettled.find(each.id) : undefined;
        return found === undefined || (found.inFlight && lane !== 'waiting') ? [] : [found.queued];
      });
      counts[lane] = queued.length;
      this.#admission.remove(
        queued.length,
        queued.reduce((sum, one) => sum + payloadBytes(one), 0),
      );
      unsettled.erase(queued);
    }
    return {
      envelopes: counts,
      deadLetters: await this.discard({ ids: deadLetters.map(({ id }) => id) }, { dryRun: false }),
      facts: this.#facts.remove(facts.map(({ key }) => key)),
    };
  }

  close(): Promise<void> {
    this.#closed = true;
    for (const lane of Object.values(this.#lanes)) lane.unsettled.queue.close();
    return Promise.resolve();
  }

  #accept(draft: Draft): AppendedEnvelope {
    const dedupes = draft.lane === dedupedLane;
    const seq = dedupes ? this.#dedupe.find(draft.keys) : undefined;
    if (seq !== undefined) {
      this.#admission.giveBack(1, payloadBytes(draft));
      return { id: toId({ lane: dedupedLane, epoch: this.#epoch, seq }), duplicate: true };
    }
    const lane = this.#lanes[draft.lane];
    const numbered = lane.number(draft);
    const queued = draft.lane === 'erase' ? this.#markErasure(numbered) : numbered;
    const appended = { id: queued.id, duplicate: false };
    if (draft.deadLetterReason !== undefined) {
      this.#addDeadLetter(queued, { reason: draft.deadLetterReason, deliveryId: null });
      this.#admission.giveBack(1, payloadBytes(draft));
      return appended;
    }
    lane.unsettled.push(queued);
    if (dedupes) this.#dedupe.add(draft.keys, queued.seq);
    return appended;
  }

  #markErasure(queued: Queued): Queued {
    const { events, waiting } = this.#lastSeqs;
    return { ...queued, keys: [...queued.keys, toErasureMark(queued.seq, { events, waiting })] };
  }

  /** Runs `act` on the dead letters that match at the start, one step at a time. Returns the sum of its results. */
  async #runInSteps(
    filter: DeadLetterFilter,
    act: (found: readonly StoredDeadLetter[]) => number,
  ): Promise<number> {
    const isMatch = createDeadLetterFilter(filter);
    const all = this.#deadLetters.all();
    let total = 0;
    for (let from = 0; from < all.length; from += deadLettersPerStep) {
      if (from > 0) await nextTurn();
      total += act(all.slice(from, from + deadLettersPerStep).filter(isMatch));
    }
    return total;
  }

  #remove(lane: MemoryLane, queued: readonly Queued[]): void {
    const bytes = queued.reduce((sum, one) => sum + payloadBytes(one), 0);
    this.#admission.remove(queued.length, bytes);
    lane.unsettled.remove(queued);
  }

  #addDeadLetter(
    { id, lane, keys, acceptedAt, attempts, payload }: Queued,
    why: Pick<DeadLetter, 'reason' | 'deliveryId'>,
  ): void {
    const deadLetteredAt = this.#clock.now();
    this.#deadLetters.add({
      id,
      lane,
      keys,
      acceptedAt,
      payload,
      attempts,
      deadLetteredAt,
      ...why,
    });
  }

  #redrive(lane: StoreLane, deadLetters: readonly StoredDeadLetter[]): void {
    // They get a new time of acceptance. With the old one they would exceed the maximum age at their first
    // failed attempt.
    const acceptedAt = this.#clock.now();
    const restored = deadLetters.flatMap(({ id, keys, payload }) => {
      const seq = fromId(id)?.seq;
      return seq === undefined ? [] : [{ id, lane, keys, acceptedAt, payload, seq }];
    });
    for (const one of restored) {
      this.#admission.add(1, payloadBytes(one));
      if (lane === dedupedLane) this.#dedupe.add(one.keys, one.seq);
    }
    this.#lanes[lane].restore(restored);
  }

  #receipt(id: string): Receipt | null {
    const number = fromId(id);
    if (number?.epoch !== this.#epoch) return null;
    const { lane, seq } = number;
    const unsettled = this.#lanes[lane].unsettled.find(id);
    if (unsettled !== undefined) {
      const state = unsettled.inFlight ? 'in_flight' : 'buffered';
      const { deliveryId, reason } = unsettled.queued.lastTry ?? { deliveryId: null, reason: null };
      return { id, lane, state, deliveryId, reason, merged: false };
    }
    const deadLetter = this.#deadLetters.find(id);
    if (deadLetter !== null) {
      const { deliveryId, reason } = deadLetter;
      return { id, lane, state: 'dead_lettered', deliveryId, reason, merged: false };
    }
    const range = this.#lanes[lane].settled.find(seq);
    if (range === undefined) return null;
    const { deliveryId, merged } = range;
    return { id, lane, state: 'delivered', deliveryId, reason: null, merged };
  }

  #notify(lane: StoreLane): void {
    for (const listener of this.#listeners) listener(lane);
  }
}

const closed: Backpressure = { reason: 'closed', retryAfterMs: 1000 };

const readSeq = (queued: Queued): number => queued.seq;
