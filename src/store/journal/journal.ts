import type { Clock, Timer } from '../../clock.js';
import { storeLanes, type StoreLane } from '../../model/lane.js';
import type { ClaimBounds, Draft, BatchItem } from '../../model/envelope.js';
import type { DeadLetter, DeadLetterFilter } from '../../model/dead-letter.js';
import type { DeliveryFilter, UnfinishedImportJob } from '../../model/delivery.js';
import type { Fact } from '../../model/fact.js';
import type { PageQuery } from '../../model/store.js';
import type { Receipt } from '../../model/store.js';
import type { Settlement } from '../../model/store.js';
import { nextTurn } from '../../slices.js';
import { toMatch } from '../dead-letters.js';
import type { StoreOptions } from '../options.js';
import type {
  AppendResult,
  Depth,
  PutFactsResult,
  LaneTotals,
  Backpressure,
  Store,
  AppendedEnvelope,
} from '../../model/store.js';
import { toCommitError } from './commit-error.js';
import type { Numbered } from './dead-letters.js';
import type { Directory } from './directory.js';
import { diskRetryAfterMs, type DiskSpace } from './disk-space.js';
import type { Opened } from './format.js';
import { toKeyed } from './fact.js';
import { toFactBytes } from './facts.js';
import { toUsedBytes } from './free-pages.js';
import { GroupCommit, type AppendFailure, type Group, type Staged } from './group-commit.js';
import { loadLane, toUnfinishedImports } from './load.js';
import { createParts, type StageParts } from './stage-deps.js';
import { readReceipt } from './receipt.js';
import { sizeOf, stageIntake, toDraftBytes, type Intake } from './stage-intake.js';
import { stageCount, stageDiscard, stageRedrive } from './stage-dead-letters.js';
import { stageSettlements } from './stage-settlements.js';
import { DiskReservationError, toNeededBytes, type DiskReservation } from './disk-reservation.js';
import type { Tables } from './tables.js';
import { toCopy, type Totals } from './totals.js';
import { put } from './write.js';

export type JournalOptions = Omit<StoreOptions, 'random'> & {
  /** Bytes of envelopes in memory, at most; a larger backlog waits on disk. */
  readonly maxHeldBytes: number;
  /** Seconds from the start of a group to the end of its sync. */
  readonly onSynced: (seconds: number) => void;
  /** A write and its sync may take this long, by a clock that runs whatever the relay's does. */
  readonly syncLimit: { readonly clock: Clock; readonly ms: number };
  /** A write or a sync failed: nothing that is accepted from now on would be safe. */
  readonly onFatal: (error: unknown) => void;
};

export type JournalDeps = JournalOptions &
  Opened & {
    readonly tables: Tables;
    readonly disk: DiskSpace;
    readonly room: DiskReservation;
    readonly directory: Directory;
  };

/** Dead letters looked at in one go: a redrive of many must not hold up everything else. */
const lettersPerStep = 250;
const unavailableRetryAfterMs = 1000;
/** How often the files are compared with what their paths name, beside each group. */
const verifyMs = 1000;

/** Everything accepted and not settled is on this machine's disk, synced before `append` resolves. */
export class JournalStore implements Store {
  readonly durability = 'disk';
  readonly durable = true;
  readonly #deps: JournalDeps;
  readonly #parts: StageParts;
  readonly #commits: GroupCommit<Intake, readonly AppendedEnvelope[], Settlement, Totals>;
  readonly #listeners = new Set<(lane: StoreLane) => void>();
  #totals: Totals;
  #state: 'open' | 'closed' | 'failed' = 'open';
  #closing: Promise<void> | null = null;
  #watch: Timer;

  /** Throws DamagedError. */
  constructor(deps: JournalDeps) {
    const { onDeadLetterDropped } = deps;
    this.#deps = deps;
    this.#totals = deps.totals;
    this.#parts = createParts({
      ...deps,
      epoch: deps.format.epoch,
      onClaimable: (lane) => this.#notify(lane),
    });
    const stageDeps = { ...this.#parts, onDeadLetterDropped };
    this.#commits = new GroupCommit({
      clock: deps.clock,
      draft: () => {
        this.#parts.letters.beginGroup();
        this.#parts.scratch.beginGroup();
        return toCopy(this.#totals);
      },
      stageAppends: (appends, draft) => stageIntake(appends, draft, stageDeps),
      sizeOf,
      stageSettlements: (settlements, draft) => stageSettlements(settlements, draft, stageDeps),
      commit: (group) => this.#commit(group),
      verify: () => deps.directory.verify(deps.room.endBytes),
      limit: deps.syncLimit,
      onCommitted: (draft, seconds) => {
        this.#totals = draft;
        deps.onSynced(seconds);
      },
      onFatal: (error) => {
        this.#state = 'failed';
        this.#watch.cancel();
        deps.onFatal(error);
      },
      onNoRoom: () => deps.disk.ranOut(),
    });
    this.#parts.seen.load();
    for (const lane of storeLanes) {
      const totals = this.#totals.lanes[lane];
      loadLane(lane, totals, this.#parts);
      this.#parts.admission.add(totals.count, totals.bytes);
    }
    this.#watch = this.#watchFiles();
  }

  backpressure(): Backpressure | null {
    return this.#backpressure(0, 0);
  }

  async append(drafts: readonly Draft[]): Promise<AppendResult> {
    const bytes = toDraftBytes(drafts);
    const backpressure = this.#backpressure(drafts.length, bytes);
    if (backpressure !== null) return { ok: false, backpressure: backpressure };
    const { admission } = this.#parts;
    admission.add(drafts.length, bytes);
    this.#deps.disk.wrote(bytes);
    const result = await this.#commits.append({ drafts, facts: [] });
    if (typeof result !== 'string') {
      for (const lane of new Set(drafts.map((draft) => draft.lane))) this.#notify(lane);
      return { ok: true, envelopes: result };
    }
    admission.giveBack(drafts.length, bytes);
    return { ok: false, backpressure: refusals[result] };
  }

  /** Rejects with RangeError where a key cannot be kept, and with nothing of the others kept. */
  async putFacts(facts: readonly Fact[]): Promise<PutFactsResult> {
    if (facts.length === 0) return { ok: true };
    const keyed = facts.map(toKeyed);
    const backpressure = this.#outage();
    if (backpressure !== null) return { ok: false, backpressure: backpressure };
    this.#deps.disk.wrote(toFactBytes(keyed));
    const result = await this.#commits.append({ drafts: [], facts: keyed });
    return typeof result === 'string'
      ? { ok: false, backpressure: refusals[result] }
      : { ok: true };
  }

  /** Rejects with DamagedError where what is on disk is not what was written. */
  // eslint-disable-next-line @typescript-eslint/require-await -- so that it rejects, and never throws
  async getFacts(keys: readonly string[]): Promise<readonly (string | null)[]> {
    return keys.map((key) => this.#parts.facts.get(key));
  }

  claimable(lane: StoreLane): ReturnType<Store['claimable']> {
    return this.#parts.lanes[lane].waiting();
  }

  onClaimable(listener: (lane: StoreLane) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** Rejects with DamagedError where what is on disk is not what was written. */
  // eslint-disable-next-line @typescript-eslint/require-await -- so that it rejects, and never throws
  async claim(lane: StoreLane, bounds: ClaimBounds): Promise<readonly BatchItem[]> {
    return this.#parts.lanes[lane].claim(bounds);
  }

  settle(settlement: Settlement): Promise<void> {
    return this.#commits.settle(settlement);
  }

  unfinishedImportJobs(): Promise<readonly UnfinishedImportJob[]> {
    return Promise.resolve(toUnfinishedImports(this.#parts));
  }

  depth(lane: StoreLane): Depth {
    const { count, bytes, deadLetters } = this.#totals.lanes[lane];
    const oldestAgeMs = this.#parts.lanes[lane].oldestAgeMs();
    return { count, bytes, oldestAgeMs, deadLetters };
  }

  laneTotals(lane: StoreLane): LaneTotals {
    const { accepted, delivered, merged, deadLettered } = this.#totals.lanes[lane];
    return { accepted, delivered, merged, deadLettered };
  }

  capacityBytes(): number {
    return this.#parts.admission.capacityBytes;
  }

  receipt(id: string): Promise<Receipt | null> {
    return Promise.resolve(readReceipt(id, this.#parts, this.#totals));
  }

  deliveries(filter: DeliveryFilter, page: PageQuery): ReturnType<Store['deliveries']> {
    return this.#parts.log.list(filter, page, this.#totals);
  }

  delivery(id: string): ReturnType<Store['delivery']> {
    return Promise.resolve(this.#parts.log.find(id, this.#totals));
  }

  deadLetters(filter: DeadLetterFilter, page: PageQuery): ReturnType<Store['deadLetters']> {
    return this.#parts.letters.list(filter, page, this.#deps.clock);
  }

  deadLetter(id: string): Promise<DeadLetter | null> {
    return Promise.resolve(this.#parts.letters.find(id));
  }

  redrive(filter: DeadLetterFilter, { dryRun }: { dryRun: boolean }): Promise<number> {
    return this.#eachStep(filter, (found, draft) =>
      dryRun ? stageCount(found) : stageRedrive(found, draft, this.#parts),
    );
  }

  discard(filter: DeadLetterFilter, { dryRun }: { dryRun: boolean }): Promise<number> {
    return this.#eachStep(filter, (found, draft) =>
      dryRun ? stageCount(found) : stageDiscard(found, draft, this.#parts),
    );
  }

  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close(): Promise<void> {
    if (this.#state === 'open') this.#state = 'closed';
    const { disk, room, tables, directory } = this.#deps;
    disk.close();
    this.#watch.cancel();
    for (const { held } of Object.values(this.#parts.lanes)) held.queue.close();
    await this.#commits.close();
    if (!this.#commits.isStuck) {
      await tables.environment.close();
      await room.close();
    }
    directory.release();
  }

  #watchFiles(): Timer {
    return this.#deps.clock.setTimer(verifyMs, () => void this.#look());
  }

  async #look(): Promise<void> {
    const { directory } = this.#deps;
    await directory.touch();
    if (this.#state !== 'open') return;
    this.#watch = this.#watchFiles();
    if (this.#commits.verify()) directory.restoreLock();
  }

  /** One transaction, synced when it resolves. */
  async #commit({ writes, draft, hasAppends }: Group<Totals>): Promise<void> {
    const { room, tables } = this.#deps;
    const { environment, meta } = tables;
    const all = [...writes, put(meta, 'totals', draft)];
    try {
      await room.make({ usedBytes: toUsedBytes(tables), bytes: toNeededBytes(all, hasAppends) });
      await environment.batch(() => {
        for (const { run } of all) run();
      });
    } catch (error) {
      throw error instanceof DiskReservationError ? error : await toCommitError(error);
    }
  }

  #backpressure(count: number, bytes: number): Backpressure | null {
    return this.#outage() ?? this.#parts.admission.backpressure(count, bytes);
  }

  /** Why nothing is kept at all. */
  #outage(): Backpressure | null {
    if (this.#state === 'closed')
      return { reason: 'closed', retryAfterMs: unavailableRetryAfterMs };
    if (this.#state === 'failed') return unavailable;
    return this.#deps.disk.isLow() ? noRoom : null;
  }

  /** Everything that matched when it began, a step a transaction. */
  async #eachStep(
    filter: DeadLetterFilter,
    stage: (found: readonly Numbered[], draft: Totals) => Staged<number>,
  ): Promise<number> {
    const below = this.#totals.nextLetter;
    const isMatch = toMatch(filter);
    let total = 0;
    for (let from: number | null = 0; from !== null;) {
      const start: number = from;
      const step = await this.#commits.change((draft) => {
        const range = { from: start, below, limit: lettersPerStep };
        const { found, next } = this.#parts.letters.scan(isMatch, range);
        const staged = stage(found, draft);
        return { ...staged, committed: () => ({ count: staged.committed(), next }) };
      });
      total += step.count;
      from = step.next;
      // A step that writes nothing, as where none matches, waits for no disk.
      if (from !== null) await nextTurn();
    }
    return total;
  }

  #notify(lane: StoreLane): void {
    for (const listener of this.#listeners) listener(lane);
  }
}

const unavailable: Backpressure = { reason: 'unavailable', retryAfterMs: unavailableRetryAfterMs };
const noRoom: Backpressure = { reason: 'disk', retryAfterMs: diskRetryAfterMs };
const refusals: Readonly<Record<AppendFailure, Backpressure>> = {
  'no-room': noRoom,
  failed: unavailable,
};
