import type { Clock } from '../../clock.js';
import type { ClaimBounds, ClaimableState } from '../../model/envelope.js';
import type { StoreLane } from '../../model/lane.js';
import { toId } from '../ids.js';
import type { Queued } from '../lane-queue.js';
import { WorkingSet } from '../working-set.js';
import { AcceptTimes } from './accept-times.js';
import { toSpan, type Backlog, type Block, type Loaded, type Span } from './backlog.js';
import type { Entry } from './block.js';
import { remainingMs, type EnvelopeState, type RetryState } from './marks.js';

/** An unsettled envelope in memory, and where it lies on disk. */
export type JournalEnvelope = Queued & {
  readonly block: Block;
  /** Its place in the block. */
  readonly index: number;
};

export type JournalLaneOptions = {
  readonly lane: StoreLane;
  readonly epoch: string;
  readonly clock: Clock;
  readonly backlog: Backlog;
  /** Bytes of envelopes to hold in memory, at most; what is above it stays on disk. */
  readonly maxHeldBytes: number;
  readonly onClaimable: () => void;
};

/** What an envelope in memory costs beside its payload: the object, its id and its keys. Measured: 520 to 640 bytes, 120 more in flight. */
const heldOverheadBytes = 600;

/**
 * One lane of the journal: the oldest unsettled envelopes in memory, the newer ones on disk alone.
 * New ones go straight to memory while nothing is on disk alone and there is room, so that in the
 * ordinary case nothing is ever read back.
 */
export class JournalLane {
  readonly held: WorkingSet<JournalEnvelope>;
  readonly backlog: Backlog;
  readonly #options: JournalLaneOptions;
  readonly #times: AcceptTimes;
  /** Redriven, and younger than what is on disk alone, which they must not overtake. */
  readonly #late: JournalEnvelope[] = [];

  constructor(options: JournalLaneOptions) {
    this.#options = options;
    this.backlog = options.backlog;
    this.#times = new AcceptTimes(options.clock);
    this.held = new WorkingSet<JournalEnvelope>({
      ...options,
      merges: options.lane === 'profiles',
    });
  }

  /** What is in memory. */
  span(): Span {
    const late = toSpan(this.#late);
    return { count: this.held.count + late.count, bytes: this.held.bytes + late.bytes };
  }

  find(id: string): { readonly queued: JournalEnvelope; readonly inFlight: boolean } | undefined {
    const late = this.#late.find((held) => held.id === id);
    return late === undefined ? this.held.find(id) : { queued: late, inFlight: false };
  }

  /** Claimable now. What is on disk alone counts where there is room to bring it in. */
  waiting(): ClaimableState {
    const inMemory = this.held.queue.waiting();
    if (this.backlog.count === 0 || !this.#hasRoom()) return inMemory;
    // They leave as soon as what they must not overtake is in memory.
    const late = toSpan(this.#late);
    return {
      ...inMemory,
      count: inMemory.count + this.backlog.count + late.count,
      bytes: inMemory.bytes + this.backlog.bytes + late.bytes,
      oldestAgeMs: inMemory.oldestAgeMs ?? this.#backlogAgeMs(),
    };
  }

  /** Ms since the oldest unsettled envelope was accepted; null where there is none. */
  oldestAgeMs(): number | null {
    const [inMemory, onDisk] = [this.held.oldestAgeMs(), this.#backlogAgeMs()];
    if (inMemory === null || onDisk === null) return inMemory ?? onDisk;
    return Math.max(inMemory, onDisk);
  }

  claim(bounds: ClaimBounds): readonly (readonly [JournalEnvelope, ...JournalEnvelope[]])[] {
    this.#bringIn(bounds);
    return this.held.claim(bounds);
  }

  /** Accepted just now; they are on disk. */
  take({ block, entries }: Loaded): void {
    const [first] = entries;
    if (first !== undefined && (this.backlog.count > 0 || !this.#hasRoom())) {
      this.#times.note({ ...first, isFirst: this.backlog.count === 0 });
      this.backlog.add(toSpan(entries));
      return;
    }
    this.backlog.pass(block);
    for (const held of this.#toHeld(block, entries, () => 0)) this.held.push(held);
  }

  /**
   * Redriven just now. They are in memory whatever the room, and leave by their numbers: nearly always
   * before fresh ones, and never before an older one of the same identity.
   */
  takeRedriven({ block, entries }: Loaded): void {
    this.#restore(this.#toHeld(block, entries, () => 0));
  }

  /** The next block of what is on disk alone; false where there is none. Throws DamagedError. */
  bringInNext(): boolean {
    const next = this.backlog.next();
    if (next === null) return false;
    this.load(next);
    if (this.#late.length > 0) this.#restore(this.#late.splice(0));
    return true;
  }

  /** From disk: envelopes of an earlier process or of the backlog, each as its mark says. */
  load({ block, entries }: Loaded): void {
    const now = this.#options.clock.now();
    const loaded = this.#toHeld(block, entries, (entry) => this.#times.ageMs(entry));
    const later = new Map<RetryState, JournalEnvelope[]>();
    const due: JournalEnvelope[] = [];
    for (const held of loaded) {
      const trial = toTrial(block.marks[held.index]);
      if (trial === null && !block.isRedriven) this.held.push(held);
      else if (trial === null || isDue(trial, now)) due.push(held);
      else if (!later.get(trial)?.push(held)) later.set(trial, [held]);
    }
    for (const [trial, held] of later) {
      this.held.adopt(held);
      if (trial.ref === null) this.held.sendBack(held, remainingMs(trial, now));
    }
    // What came back before the restart leaves by its number after it, too.
    this.#restore(due);
  }

  /** Room was made in memory: what is on disk alone may be claimable now. */
  announce(): void {
    if (this.backlog.count > 0 && this.#hasRoom()) this.#options.onClaimable();
  }

  #restore(held: readonly JournalEnvelope[]): void {
    const first = held.length === 0 ? Infinity : this.backlog.firstSeq();
    // The first of a block may itself be one that was redriven since.
    this.held.restore(held.filter(({ seq }) => seq <= first));
    for (const one of held) if (one.seq > first) this.#late.push(one);
  }

  #hasRoom(): boolean {
    const { count, bytes } = this.held;
    return count === 0 || bytes + count * heldOverheadBytes < this.#options.maxHeldBytes;
  }

  #bringIn(bounds: ClaimBounds): void {
    for (;;) {
      const { count, bytes } = this.held.queue.waiting();
      if (count >= bounds.maxCount || bytes >= bounds.maxBytes || !this.#hasRoom()) return;
      if (!this.bringInNext()) return;
    }
  }

  #backlogAgeMs(): number | null {
    const oldest = this.backlog.oldest();
    return oldest === null ? null : this.#times.ageMs(oldest);
  }

  /** `toAgeMs`: how long ago an envelope was accepted. */
  #toHeld(
    block: Block,
    entries: readonly Entry[],
    toAgeMs: (entry: Entry) => number,
  ): JournalEnvelope[] {
    const { lane, epoch, clock } = this.#options;
    const now = clock.monotonic();
    const held: JournalEnvelope[] = [];
    entries.forEach((entry, index) => {
      const mark = block.marks[index] ?? null;
      if (mark === 'gone') return;
      const { seq, acceptedAt, keys, payload } = entry;
      held.push({
        id: toId({ lane, epoch, seq }),
        lane,
        keys,
        acceptedAt,
        payload,
        seq,
        attempts: mark?.attempts ?? 0,
        alone: mark?.alone ?? false,
        lastTry: mark?.lastTry ?? null,
        ref: mark?.ref ?? null,
        inFlight: false,
        readyAt: now - toAgeMs(entry),
        block,
        index,
      });
    });
    return held;
  }
}

const isDue = (trial: RetryState, now: number): boolean =>
  trial.ref === null && remainingMs(trial, now) === 0;

function toTrial(mark: EnvelopeState | undefined): RetryState | null {
  return mark === undefined || mark === 'gone' ? null : mark;
}
