import type { Clock } from '../../clock.js';
import type { ClaimBounds, ClaimableState } from '../../model/envelope.js';
import type { StoreLane } from '../../model/lane.js';
import type { Amount } from '../admission.js';
import { toId } from '../ids.js';
import type { Queued } from '../lane-queue.js';
import type { PersonOrder } from '../person-order.js';
import { WorkingSet } from '../working-set.js';
import { AcceptTimes } from './accept-times.js';
import { measureEntries, type Backlog, type Block, type LoadedBlock } from './backlog.js';
import type { Entry } from './block.js';
import { remainingMs, type EnvelopeState, type RetryState } from './envelope-state.js';

/** An unsettled envelope in memory, with its place on disk. */
export type JournalEnvelope = Queued & {
  readonly block: Block;
  /** Index of the envelope in its block. */
  readonly index: number;
};

export type JournalLaneOptions = {
  readonly lane: StoreLane;
  readonly epoch: string;
  readonly clock: Clock;
  readonly order: PersonOrder;
  readonly backlog: Backlog;
  /** Bytes of envelopes in memory, at most; further envelopes stay on disk only. */
  readonly maxWorkingSetBytes: number;
  readonly onClaimable: () => void;
};

/**
 * Memory for an envelope in addition to its payload: the object, its id and its keys. Measured: 520 to 640 bytes,
 * and 120 more in flight.
 */
const envelopeOverheadBytes = 600;

/**
 * One lane of the journal. The oldest unsettled envelopes are in memory (`workingSet`), and the newer ones are on
 * disk only (`backlog`).
 *
 * A fresh envelope goes to memory if the backlog is empty and memory is free; normally nothing is read back from
 * disk. Otherwise it joins the backlog, and a claim loads the next blocks as soon as memory is free. So envelopes
 * always leave in the order of their numbers, and none overtakes an older one of the same identity.
 */
export class JournalLane {
  readonly workingSet: WorkingSet<JournalEnvelope>;
  readonly backlog: Backlog;
  readonly #options: JournalLaneOptions;
  readonly #times: AcceptTimes;
  /** Redriven envelopes that must not overtake older ones in the backlog: they wait until these are loaded. */
  readonly #laterRedriven: JournalEnvelope[] = [];

  constructor(options: JournalLaneOptions) {
    this.#options = options;
    this.backlog = options.backlog;
    this.#times = new AcceptTimes(options.clock);
    this.workingSet = new WorkingSet<JournalEnvelope>(options);
    options.order.addLane(options.lane, {
      firstOnDisk: () => (this.backlog.count === 0 ? Infinity : this.backlog.firstSeq()),
      wake: (name) => this.workingSet.queue.wake(name),
    });
  }

  /** Number and bytes of the envelopes in memory. */
  inMemory(): Amount {
    const later = measureEntries(this.#laterRedriven);
    return {
      count: this.workingSet.count + later.count,
      bytes: this.workingSet.bytes + later.bytes,
    };
  }

  find(id: string): { readonly queued: JournalEnvelope; readonly inFlight: boolean } | undefined {
    const later = this.#laterRedriven.find((envelope) => envelope.id === id);
    return later === undefined ? this.workingSet.find(id) : { queued: later, inFlight: false };
  }

  /** Removes envelopes in memory that were not settled. */
  erase(envelopes: readonly JournalEnvelope[]): void {
    const ids = new Set(envelopes.map(({ id }) => id));
    const isErased = ({ id }: JournalEnvelope): boolean => ids.has(id);
    const later = this.#laterRedriven.filter(isErased);
    for (const each of later) this.#laterRedriven.splice(this.#laterRedriven.indexOf(each), 1);
    this.workingSet.erase(envelopes.filter((each) => !later.includes(each)));
  }

  /** What can be claimed now. The backlog counts while memory is free to load it. */
  waiting(): ClaimableState {
    const inMemory = this.workingSet.queue.waiting();
    if (this.backlog.count === 0 || !this.#hasMemory()) return inMemory;
    // These can be claimed as soon as the older backlog is loaded.
    const later = measureEntries(this.#laterRedriven);
    return {
      ...inMemory,
      count: inMemory.count + this.backlog.count + later.count,
      bytes: inMemory.bytes + this.backlog.bytes + later.bytes,
      oldestAgeMs: inMemory.oldestAgeMs ?? this.#backlogAgeMs(),
    };
  }

  /** Ms since the oldest unsettled envelope was accepted; null if there is none. */
  oldestAgeMs(): number | null {
    const [inMemory, onDisk] = [this.workingSet.oldestAgeMs(), this.#backlogAgeMs()];
    if (inMemory === null || onDisk === null) return inMemory ?? onDisk;
    return Math.max(inMemory, onDisk);
  }

  claim(bounds: ClaimBounds): readonly (readonly [JournalEnvelope, ...JournalEnvelope[]])[] {
    this.#loadFor(bounds);
    return this.workingSet.claim(bounds);
  }

  /** Adds envelopes that were just accepted and are on disk. */
  add({ block, entries }: LoadedBlock): void {
    const [first] = entries;
    if (first !== undefined && (this.backlog.count > 0 || !this.#hasMemory())) {
      this.#times.record({ ...first, isFirst: this.backlog.count === 0 });
      this.backlog.add(measureEntries(entries));
      return;
    }
    this.backlog.setLoaded(block);
    for (const envelope of this.#toEnvelopes(block, entries, () => 0))
      this.workingSet.push(envelope);
  }

  /**
   * Adds envelopes that were just redriven. They stay in memory regardless of the bound and leave by their numbers:
   * nearly always before fresh ones, and never before an older one of the same identity.
   */
  addRedriven({ block, entries }: LoadedBlock): void {
    this.#restore(this.#toEnvelopes(block, entries, () => 0));
  }

  /** Loads the next block of the backlog. Returns false if there is none. Throws DamagedError. */
  loadNext(): boolean {
    const next = this.backlog.next();
    if (next === null) return false;
    this.load(next);
    if (this.#laterRedriven.length > 0) this.#restore(this.#laterRedriven.splice(0));
    this.#options.order.noteLoaded(this.#options.lane);
    return true;
  }

  /** Adds envelopes that were read from disk, each with its stored state. */
  load({ block, entries }: LoadedBlock): void {
    const now = this.#options.clock.now();
    const loaded = this.#toEnvelopes(block, entries, (entry) => this.#times.ageMs(entry));
    const later = new Map<RetryState, JournalEnvelope[]>();
    const due: JournalEnvelope[] = [];
    for (const envelope of loaded) {
      const retryState = toRetryState(block.states[envelope.index]);
      if (retryState === null && !block.isRedriven) this.workingSet.push(envelope);
      else if (retryState === null || isDue(retryState, now)) due.push(envelope);
      else if (!later.get(retryState)?.push(envelope)) later.set(retryState, [envelope]);
    }
    for (const [retryState, envelopes] of later) {
      this.workingSet.adopt(envelopes);
      if (retryState.ref === null)
        this.workingSet.sendBack(envelopes, remainingMs(retryState, now));
    }
    // Retries that were due before the restart keep their order by number.
    this.#restore(due);
  }

  /** Signals that the backlog may be claimable, after envelopes in memory were settled. */
  notifyIfClaimable(): void {
    if (this.backlog.count > 0 && this.#hasMemory()) this.#options.onClaimable();
  }

  #restore(envelopes: readonly JournalEnvelope[]): void {
    const first = envelopes.length === 0 ? Infinity : this.backlog.firstSeq();
    // `<=`: the first envelope of the next block may itself have been redriven.
    this.workingSet.restore(envelopes.filter(({ seq }) => seq <= first));
    for (const one of envelopes) if (one.seq > first) this.#laterRedriven.push(one);
  }

  #hasMemory(): boolean {
    const { count, bytes } = this.workingSet;
    return count === 0 || bytes + count * envelopeOverheadBytes < this.#options.maxWorkingSetBytes;
  }

  #loadFor(bounds: ClaimBounds): void {
    for (;;) {
      const { count, bytes } = this.workingSet.queue.waiting();
      if (count >= bounds.maxCount || bytes >= bounds.maxBytes || !this.#hasMemory()) return;
      if (!this.loadNext()) return;
    }
  }

  #backlogAgeMs(): number | null {
    const oldest = this.backlog.oldest();
    return oldest === null ? null : this.#times.ageMs(oldest);
  }

  /** `toAgeMs` returns the time since an envelope was accepted. */
  #toEnvelopes(
    block: Block,
    entries: readonly Entry[],
    toAgeMs: (entry: Entry) => number,
  ): JournalEnvelope[] {
    const { lane, epoch, clock } = this.#options;
    const now = clock.monotonic();
    const envelopes: JournalEnvelope[] = [];
    entries.forEach((entry, index) => {
      const state = block.states[index] ?? null;
      if (state === 'settled') return;
      const { seq, acceptedAt, keys, payload } = entry;
      envelopes.push({
        id: toId({ lane, epoch, seq }),
        lane,
        keys,
        acceptedAt,
        payload,
        seq,
        attempts: state?.attempts ?? 0,
        alone: state?.alone ?? false,
        lastTry: state?.lastTry ?? null,
        ref: state?.ref ?? null,
        inFlight: false,
        readyAt: now - toAgeMs(entry),
        block,
        index,
      });
    });
    return envelopes;
  }
}

const isDue = (retryState: RetryState, now: number): boolean =>
  retryState.ref === null && remainingMs(retryState, now) === 0;

function toRetryState(state: EnvelopeState | undefined): RetryState | null {
  return state === undefined || state === 'settled' ? null : state;
}
