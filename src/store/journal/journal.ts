import type { Clock, Timer } from '../../clock.js';
import { mapStoreLanes, storeLanes, type StoreLane } from '../../model/lane.js';
import type { ClaimBounds, Draft, BatchItem, Envelope } from '../../model/envelope.js';
import type { DeadLetter, DeadLetterFilter } from '../../model/dead-letter.js';
import type { DeliveryFilter, UnfinishedImportJob } from '../../model/delivery.js';
import type { Fact } from '../../model/fact.js';
import type { PageQuery } from '../../model/store.js';
import type { Receipt } from '../../model/store.js';
import type { Settlement } from '../../model/store.js';
import { forEachInSlices, nextTurn } from '../../slices.js';
import { createIsBefore, createPersonMatcher } from '../person.js';
import { createDeadLetterFilter, deadLettersPerStep } from '../dead-letters.js';
import type { StoreOptions } from '../options.js';
import {
  StoreUnavailableError,
  type AppendResult,
  type Depth,
  type PutFactsResult,
  type LaneTotals,
  type Backpressure,
  type Store,
  type AppendedEnvelope,
  type ErasedCounts,
  type HeldDeadLetter,
  type HeldFact,
  type HeldOfPerson,
  type PersonQuery,
} from '../../model/store.js';
import { toCommitError } from './commit-error.js';
import type { NumberedDeadLetter } from './dead-letters.js';
import type { Directory } from './directory.js';
import { diskRetryAfterMs, type DiskSpace } from './disk-space.js';
import type { Opened } from './format.js';
import { findEnvelopes, stageErasure } from './erasure.js';
import { toFactTableKey, toKeyedFact } from './fact.js';
import { countFactBytes } from './facts.js';
import { readUsedBytes } from './free-pages.js';
import { GroupCommit, type AppendFailure, type Group, type Staged } from './group-commit.js';
import { loadLane, readUnfinishedImports } from './load-lane.js';
import { createJournalState, type JournalState } from './journal-state.js';
import { readReceipt } from './receipt.js';
import { countIntakeBytes, stageIntake, countDraftBytes, type Intake } from './stage-intake.js';
import { stageCount, stageDiscard, stageRedrive } from './stage-dead-letters.js';
import { stageSettlements } from './stage-settlements.js';
import {
  DiskReservationError,
  countNeededBytes,
  type DiskReservation,
} from './disk-reservation.js';
import type { Tables } from './tables.js';
import { copyTotals, type Totals } from './totals.js';
import { put } from './write.js';

export type JournalOptions = Omit<StoreOptions, 'random'> & {
  /** Bytes of envelopes in memory, at most; a larger backlog stays on disk only. */
  readonly maxWorkingSetBytes: number;
  /** Receives the seconds from the start of a group to the end of its sync. */
  readonly onSynced: (seconds: number) => void;
  /** The longest time for a write with its sync. Its clock is real, even if the relay runs on a manual clock. */
  readonly syncLimit: { readonly clock: Clock; readonly ms: number };
  /** Called if a write or a sync failed: later entries would not be stored safely. */
  readonly onFatal: (error: unknown) => void;
};

export type JournalStoreDeps = JournalOptions &
  Opened & {
    readonly tables: Tables;
    readonly disk: DiskSpace;
    readonly reservation: DiskReservation;
    readonly directory: Directory;
  };

const unavailableRetryAfterMs = 1000;
/** Interval at which the open files are compared with their paths, in addition to the check in each group. */
const verifyMs = 1000;

/**
 * The store on local disk, in LMDB. `append` resolves only after its data is synced.
 *
 * Writing: `GroupCommit` combines appends, settlements and changes of dead letters into groups. The `stage…`
 * functions turn each group into writes, and one LMDB transaction runs them. Memory (`JournalState`) changes only
 * after the transaction is synced.
 *
 * Reading: `JournalLane` keeps the oldest unsettled envelopes in memory and the others on disk only. Dead letters,
 * deliveries and facts are read from LMDB.
 *
 * Status: `open` until `close` is called or a write fails; `closed`; or `failed`: after a failed write or sync, or
 * if the file was moved, the store rejects appends, since it cannot promise that they are safe.
 */
export class JournalStore implements Store {
  readonly durability = 'disk';
  readonly durable = true;
  readonly #deps: JournalStoreDeps;
  readonly #state: JournalState;
  readonly #commits: GroupCommit<Intake, readonly AppendedEnvelope[], Settlement, Totals>;
  readonly #listeners = new Set<(lane: StoreLane) => void>();
  #totals: Totals;
  #status: 'open' | 'closed' | 'failed' = 'open';
  #closing: Promise<void> | null = null;
  #verifyTimer: Timer;

  /** Throws DamagedError. */
  constructor(deps: JournalStoreDeps) {
    this.#deps = deps;
    this.#totals = deps.totals;
    this.#state = createJournalState({
      ...deps,
      epoch: deps.format.epoch,
      onClaimable: (lane) => this.#notify(lane),
    });
    this.#commits = new GroupCommit({
      clock: deps.clock,
      copyState: () => {
        this.#state.deadLetters.beginGroup();
        this.#state.bufferPool.beginGroup();
        return copyTotals(this.#totals);
      },
      stageAppends: (appends, nextTotals) => stageIntake(appends, nextTotals, this.#state),
      sizeOf: countIntakeBytes,
      stageSettlements: (settlements, nextTotals) =>
        stageSettlements(settlements, nextTotals, this.#state),
      commit: (group) => this.#commit(group),
      verify: () => deps.directory.verify(deps.reservation.endBytes),
      limit: deps.syncLimit,
      onCommitted: (nextTotals, seconds) => {
        this.#totals = nextTotals;
        deps.onSynced(seconds);
      },
      onFatal: (error) => {
        this.#status = 'failed';
        this.#verifyTimer.cancel();
        deps.onFatal(error);
      },
      onDiskFull: () => deps.disk.recordFailure(),
    });
    this.#state.dedupe.load();
    for (const lane of storeLanes) {
      const totals = this.#totals.lanes[lane];
      loadLane(lane, totals, this.#state);
      this.#state.admission.add(totals.count, totals.bytes);
    }
    this.#verifyTimer = this.#scheduleVerify();
  }

  backpressure(): Backpressure | null {
    return this.#backpressure(0, 0);
  }

  async append(drafts: readonly Draft[]): Promise<AppendResult> {
    const bytes = countDraftBytes(drafts);
    const backpressure = this.#backpressure(drafts.length, bytes);
    if (backpressure !== null) return { ok: false, backpressure: backpressure };
    const { admission } = this.#state;
    admission.add(drafts.length, bytes);
    this.#deps.disk.recordWrite(bytes);
    const result = await this.#commits.append({ drafts, facts: [] });
    if (typeof result !== 'string') {
      for (const lane of new Set(drafts.map((draft) => draft.lane))) this.#notify(lane);
      return { ok: true, envelopes: result };
    }
    admission.giveBack(drafts.length, bytes);
    return { ok: false, backpressure: failureBackpressure[result] };
  }

  /** Rejects with RangeError if a key cannot be stored; then none of the facts is stored. */
  async putFacts(facts: readonly Fact[]): Promise<PutFactsResult> {
    if (facts.length === 0) return { ok: true };
    const keyed = facts.map(toKeyedFact);
    const backpressure = this.#outage();
    if (backpressure !== null) return { ok: false, backpressure: backpressure };
    this.#deps.disk.recordWrite(countFactBytes(keyed));
    const result = await this.#commits.append({ drafts: [], facts: keyed });
    return typeof result === 'string'
      ? { ok: false, backpressure: failureBackpressure[result] }
      : { ok: true };
  }

  /** Rejects with DamagedError where what is on disk is not what was written. */
  // eslint-disable-next-line @typescript-eslint/require-await -- so that it rejects, and never throws
  async getFacts(keys: readonly string[]): Promise<readonly (string | null)[]> {
    return keys.map((key) => this.#state.facts.get(key));
  }

  claimable(lane: StoreLane): ReturnType<Store['claimable']> {
    return this.#state.lanes[lane].waiting();
  }

  onClaimable(listener: (lane: StoreLane) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** Rejects with DamagedError where what is on disk is not what was written. */
  // eslint-disable-next-line @typescript-eslint/require-await -- so that it rejects, and never throws
  async claim(lane: StoreLane, bounds: ClaimBounds): Promise<readonly BatchItem[]> {
    return this.#state.lanes[lane].claim(bounds);
  }

  settle(settlement: Settlement): Promise<void> {
    return this.#commits.settle(settlement);
  }

  unfinishedImportJobs(): Promise<readonly UnfinishedImportJob[]> {
    return Promise.resolve(readUnfinishedImports(this.#state));
  }

  depth(lane: StoreLane): Depth {
    const { count, bytes, deadLetters } = this.#totals.lanes[lane];
    const oldestAgeMs = this.#state.lanes[lane].oldestAgeMs();
    return { count, bytes, oldestAgeMs, deadLetters };
  }

  laneTotals(lane: StoreLane): LaneTotals {
    const { accepted, delivered, merged, deadLettered, erased } = this.#totals.lanes[lane];
    return { accepted, delivered, merged, deadLettered, erased };
  }

  capacityBytes(): number {
    return this.#state.admission.capacityBytes;
  }

  receipt(id: string): Promise<Receipt | null> {
    return Promise.resolve(readReceipt(id, this.#state, this.#totals));
  }

  deliveries(filter: DeliveryFilter, page: PageQuery): ReturnType<Store['deliveries']> {
    return this.#state.deliveryLog.list(filter, page, this.#totals);
  }

  delivery(id: string): ReturnType<Store['delivery']> {
    return Promise.resolve(this.#state.deliveryLog.find(id, this.#totals));
  }

  deadLetters(filter: DeadLetterFilter, page: PageQuery): ReturnType<Store['deadLetters']> {
    return this.#state.deadLetters.list(filter, page, this.#deps.clock);
  }

  deadLetter(id: string): Promise<DeadLetter | null> {
    return Promise.resolve(this.#state.deadLetters.find(id));
  }

  redrive(filter: DeadLetterFilter, { dryRun }: { dryRun: boolean }): Promise<number> {
    return this.#eachStep(filter, (found, nextTotals) =>
      dryRun ? stageCount(found) : stageRedrive(found, nextTotals, this.#state),
    );
  }

  discard(filter: DeadLetterFilter, { dryRun }: { dryRun: boolean }): Promise<number> {
    return this.#eachStep(filter, (found, nextTotals) =>
      dryRun ? stageCount(found) : stageDiscard(found, nextTotals, this.#state),
    );
  }

  /** Rejects with DamagedError where what is on disk is not what was written. */
  async findPerson(person: PersonQuery, erasure?: Envelope): Promise<HeldOfPerson> {
    const { clock } = this.#deps;
    const matcher = createPersonMatcher(person);
    const isBefore = erasure === undefined ? () => true : createIsBefore(erasure);
    const lanes = storeLanes.filter((lane) => lane !== 'erase' || erasure === undefined);
    const envelopes = await findEnvelopes(
      lanes,
      ({ id, ...stored }) => isBefore(stored.lane, id) && matcher.isAbout(stored),
      this.#state,
    );
    const deadLetters: HeldDeadLetter[] = [];
    await forEachInSlices(this.#state.deadLetters.values(), clock, (deadLetter) => {
      const { id, lane, acceptedAt, reason } = deadLetter;
      if (!isBefore(lane, id) || !matcher.isAbout(deadLetter)) return;
      deadLetters.push({ id, lane, acceptedAt, code: reason.code });
    });
    const facts: HeldFact[] = [];
    await forEachInSlices(this.#state.facts.values(), clock, ({ kind, key, value }) => {
      if (matcher.isInFact(value)) facts.push({ kind, key });
    });
    return { envelopes, deadLetters, facts };
  }

  async erase({ envelopes, deadLetters, facts }: HeldOfPerson): Promise<ErasedCounts> {
    const counts = { ...mapStoreLanes(() => 0) };
    if (envelopes.length > 0) {
      const erased = await this.#commits.change((nextTotals) =>
        stageErasure(envelopes, nextTotals, this.#state),
      );
      for (const lane of erased) counts[lane]++;
    }
    const ids = deadLetters.map(({ id }) => id);
    const forgotten = facts.map(({ key }) => toFactTableKey(key));
    if (forgotten.length > 0) {
      const result = await this.#commits.append({ drafts: [], facts: [], forgotten });
      if (typeof result === 'string') throw new StoreUnavailableError(`facts: ${result}`);
    }
    return {
      envelopes: counts,
      deadLetters: ids.length === 0 ? 0 : await this.discard({ ids }, { dryRun: false }),
      facts: forgotten.length,
    };
  }

  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close(): Promise<void> {
    if (this.#status === 'open') this.#status = 'closed';
    const { disk, reservation, tables, directory } = this.#deps;
    disk.close();
    this.#verifyTimer.cancel();
    for (const { workingSet } of Object.values(this.#state.lanes)) workingSet.queue.close();
    await this.#commits.close();
    if (!this.#commits.isStuck) {
      await tables.environment.close();
      await reservation.close();
    }
    directory.release();
  }

  #scheduleVerify(): Timer {
    return this.#deps.clock.setTimer(verifyMs, () => void this.#verifyFiles());
  }

  async #verifyFiles(): Promise<void> {
    const { directory } = this.#deps;
    await directory.lookUpPath();
    if (this.#status !== 'open') return;
    this.#verifyTimer = this.#scheduleVerify();
    if (this.#commits.verify()) directory.restoreLock();
  }

  /** Runs the writes in one transaction, which is synced when the promise resolves. */
  async #commit({ writes, nextState: nextTotals, hasAppends }: Group<Totals>): Promise<void> {
    const { reservation, tables } = this.#deps;
    const { environment, meta } = tables;
    const all = [...writes, put(meta, 'totals', nextTotals)];
    try {
      await reservation.reserve({
        usedBytes: readUsedBytes(tables),
        bytes: countNeededBytes(all, hasAppends),
      });
      await environment.batch(() => {
        for (const { run } of all) run();
      });
    } catch (error) {
      throw error instanceof DiskReservationError ? error : await toCommitError(error);
    }
  }

  #backpressure(count: number, bytes: number): Backpressure | null {
    return this.#outage() ?? this.#state.admission.backpressure(count, bytes);
  }

  /** Returns the reason if the store accepts nothing at all. */
  #outage(): Backpressure | null {
    if (this.#status === 'closed')
      return { reason: 'closed', retryAfterMs: unavailableRetryAfterMs };
    if (this.#status === 'failed') return unavailable;
    return this.#deps.disk.isLow() ? diskFull : null;
  }

  /**
   * Stages the dead letters that match at the start, one step a transaction. Returns the sum of the steps' results.
   */
  async #eachStep(
    filter: DeadLetterFilter,
    stage: (found: readonly NumberedDeadLetter[], nextTotals: Totals) => Staged<number>,
  ): Promise<number> {
    const below = this.#totals.nextLetter;
    const isMatch = createDeadLetterFilter(filter);
    let total = 0;
    for (let from: number | null = 0; from !== null;) {
      const start: number = from;
      const step = await this.#commits.change((nextTotals) => {
        const range = { from: start, below, limit: deadLettersPerStep };
        const { found, next } = this.#state.deadLetters.scan(isMatch, range);
        const staged = stage(found, nextTotals);
        return { ...staged, committed: () => ({ count: staged.committed(), next }) };
      });
      total += step.count;
      from = step.next;
      // A step without writes ends without an await on the disk, so other work gets its turn here.
      if (from !== null) await nextTurn();
    }
    return total;
  }

  #notify(lane: StoreLane): void {
    for (const listener of this.#listeners) listener(lane);
  }
}

const unavailable: Backpressure = { reason: 'unavailable', retryAfterMs: unavailableRetryAfterMs };
const diskFull: Backpressure = { reason: 'disk', retryAfterMs: diskRetryAfterMs };
const failureBackpressure: Readonly<Record<AppendFailure, Backpressure>> = {
  'disk-full': diskFull,
  failed: unavailable,
};
