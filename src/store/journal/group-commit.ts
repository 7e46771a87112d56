import { setRunningTimer, type Clock, type Timer } from '../../clock.js';
import { StuckError } from './commit-error.js';
import { DiskReservationError } from './disk-reservation.js';
import type { Write } from './write.js';

/** What a piece of work wants written, decided on the committed state and on the group's draft of the next. */
export type Staged<T> = {
  /** Writes to tables; run within one transaction. */
  readonly writes: readonly Write[];
  /** Once they are on disk: brings memory up to date and gives the answer. */
  readonly committed: () => T;
  /** They are not on disk and will not be. */
  readonly undone?: () => void;
};

/** The same for what may be too much for one go: it is staged, and brings memory up to date, in slices. */
export type StagedInSlices<T> = Omit<Staged<T>, 'committed'> & {
  readonly committed: () => T | Promise<T>;
};

export type GroupCommitOptions<A, R, C, S> = {
  readonly clock: Clock;
  /** A draft of the state that the group may change; it becomes the state once the group is on disk. */
  readonly draft: () => S;
  /** All appends of a group in one; one answer for each. */
  readonly stageAppends: (appends: readonly A[], draft: S) => Promise<StagedInSlices<readonly R[]>>;
  readonly sizeOf: (append: A) => number;
  /** As many of the settlements, from the first on, as one group can have: at least one. How many these are. */
  readonly stageSettlements: (settlements: readonly C[], draft: S) => Staged<number>;
  /** Runs the writes in one transaction and resolves once it is synced. Rejects with NoRoomError where nothing was written. */
  readonly commit: (group: Group<S>) => Promise<void>;
  /** Throws where what is committed would not be found again: before a group is staged, and before it is answered. */
  readonly verify: () => void;
  /** A commit that takes longer has failed: a disk may hang, and those who wait want to know. Time in which the process was stopped does not count. */
  readonly limit: { readonly clock: Clock; readonly ms: number };
  /** The group is on disk. */
  readonly onCommitted: (draft: S, seconds: number) => void;
  /** No transaction can be trusted any more. Called once. */
  readonly onFatal: (error: unknown) => void;
  /** There was no room for a group. */
  readonly onNoRoom: (error: unknown) => void;
};

export type Group<S> = {
  readonly writes: readonly Write[];
  readonly draft: S;
  readonly hasAppends: boolean;
};

type Append<A, R> = { readonly value: A; readonly answer: (result: R | AppendFailure) => void };
/** A settlement, or any other change, which stages itself and is answered by what it staged. */
type Change<C, S> = (
  | { readonly kind: 'settlement'; readonly value: C; readonly answer: () => void }
  | { readonly kind: 'other'; readonly stage: (draft: S) => Staged<void> }
) & { readonly fail: (error: unknown) => void };

/** Why an append is not on disk: there was no room for it, or the journal has failed. */
export type AppendFailure = 'no-room' | 'failed';

/** What waits is written in one go up to this; a request more goes into the next. */
const maxGroupBytes = 16 * 1024 * 1024;
const retryMs = 1000;

/**
 * The journal's one writer. While a group syncs, what comes in gathers for the next one, so that one
 * sync serves many requests.
 *
 * A group is all waiting appends, and the settlements that are next or one other change (a redrive, a
 * discard): a change is staged on committed state, so it need not look for what its own group does.
 * Where there is no room, appends are refused and the changes are tried again, one by one, until
 * there is.
 */
export class GroupCommit<A, R, C, S> {
  readonly #options: GroupCommitOptions<A, R, C, S>;
  #appends: Append<A, R>[] = [];
  #changes: Change<C, S>[] = [];
  #running: Promise<void> | null = null;
  #hasFailed = false;
  #isStuck = false;
  #isClosing = false;
  /** There was no room for the last group with a change: one alone may need less than several. */
  #isTight = false;
  /** Runs while changes wait for room. */
  #pause: Timer | null = null;
  #wake: () => void = () => undefined;

  constructor(options: GroupCommitOptions<A, R, C, S>) {
    this.#options = options;
  }

  append(value: A): Promise<R | AppendFailure> {
    if (this.#hasFailed || this.#isClosing) return Promise.resolve('failed');
    return new Promise((answer) => {
      this.#appends.push({ value, answer });
      this.#start();
      this.#wake();
    });
  }

  /** Rejects where the journal fails, or is closed before there is room for it. */
  settle(value: C): Promise<void> {
    return new Promise((answer, fail) => {
      this.#enqueue({ kind: 'settlement', value, answer, fail });
    });
  }

  /** Rejects like `settle`. */
  change<T>(stage: (draft: S) => Staged<T>): Promise<T> {
    return new Promise((resolve, fail) => {
      const answered = (draft: S): Staged<void> => {
        const { writes, committed, undone } = stage(draft);
        return { writes, committed: () => resolve(committed()), ...(undone && { undone }) };
      };
      this.#enqueue({ kind: 'other', stage: answered, fail });
    });
  }

  /** A commit has not ended, and may never. */
  get isStuck(): boolean {
    return this.#isStuck;
  }

  /** Fails where what is committed would not be found again, and returns false then. */
  verify(): boolean {
    if (this.#hasFailed || this.#isClosing) return false;
    try {
      this.#options.verify();
      return true;
    } catch (error) {
      this.#fail([], error);
      return false;
    }
  }

  /** Resolves when everything that waited has its answer. */
  async close(): Promise<void> {
    this.#isClosing = true;
    this.#endPause();
    while (this.#running !== null) await this.#running;
  }

  #enqueue(change: Change<C, S>): void {
    if (this.#hasFailed || this.#isClosing) {
      change.fail(new Error(`the journal ${this.#hasFailed ? 'has failed' : 'is closed'}`));
      return;
    }
    this.#changes.push(change);
    this.#start();
  }

  #start(): void {
    this.#running ??= this.#run();
  }

  async #run(): Promise<void> {
    // Requests of the same turn of the event loop share a sync.
    await new Promise<void>((resolve) => setImmediate(resolve));
    while (!this.#hasFailed && this.#appends.length + this.#changes.length > 0) {
      if (this.#appends.length === 0 && this.#pause !== null) await this.#woken();
      else await this.#writeGroup(this.#takeAppends());
    }
    // In the same turn as the last look: what comes next starts anew.
    this.#running = null;
  }

  #takeAppends(): readonly Append<A, R>[] {
    let bytes = 0;
    const fits = this.#appends.findIndex(({ value }) => {
      bytes += this.#options.sizeOf(value);
      return bytes > maxGroupBytes;
    });
    return this.#appends.splice(0, fits === -1 ? this.#appends.length : Math.max(1, fits));
  }

  async #writeGroup(appends: readonly Append<A, R>[]): Promise<void> {
    const { clock, draft: toDraft, onCommitted } = this.#options;
    const from = clock.monotonic();
    const draft = toDraft();
    const undo: (() => void)[] = [];
    let hasChange = false;
    try {
      this.#options.verify();
      const appended = await this.#options.stageAppends(
        appends.map(({ value }) => value),
        draft,
      );
      undo.push(() => appended.undone?.());
      const changed = this.#pause === null ? this.#stageChanges(draft) : undefined;
      hasChange = changed !== undefined;
      undo.push(() => changed?.undone?.());
      const writes = [...appended.writes, ...(changed?.writes ?? [])];
      const hasAppends = appended.writes.length > 0;
      if (writes.length > 0) {
        await this.#commit({ writes, draft, hasAppends });
        this.#options.verify();
        if (hasAppends) this.#isTight = false;
        this.#endPause();
        onCommitted(draft, (clock.monotonic() - from) / 1000);
      }
      this.#endChanges(changed?.committed() ?? 0);
      const results = await appended.committed();
      results.forEach((result, index) => appends[index]?.answer(result));
    } catch (error) {
      undo.reverse().forEach((each) => each());
      if (error instanceof DiskReservationError) this.#foundNoRoom(appends, hasChange, error);
      else this.#fail(appends, error);
    }
  }

  /** What the next changes want, and how many these are; undefined where none waits. */
  #stageChanges(draft: S): Staged<number> | undefined {
    const [first] = this.#changes;
    if (first?.kind !== 'other') return this.#stageSettlements(draft);
    const { committed, ...staged } = first.stage(draft);
    return {
      ...staged,
      committed() {
        committed();
        return 1;
      },
    };
  }

  #stageSettlements(draft: S): Staged<number> | undefined {
    const next: C[] = [];
    for (const change of this.#changes) {
      if (change.kind !== 'settlement' || (this.#isTight && next.length === 1)) break;
      next.push(change.value);
    }
    return next.length === 0 ? undefined : this.#options.stageSettlements(next, draft);
  }

  #endChanges(count: number): void {
    for (const change of this.#changes.splice(0, count)) {
      if (change.kind === 'settlement') change.answer();
    }
  }

  async #commit(group: Group<S>): Promise<void> {
    const { commit, limit } = this.#options;
    let timer: Timer | undefined;
    const overdue = new Promise<never>((_resolve, reject) => {
      timer = setRunningTimer(limit.clock, limit.ms, () => {
        this.#isStuck = true;
        reject(new StuckError(`a write has not ended after ${limit.ms} ms`));
      });
    });
    try {
      await Promise.race([commit(group), overdue]);
    } finally {
      timer?.cancel();
    }
  }

  #foundNoRoom(appends: readonly Append<A, R>[], hasChange: boolean, error: unknown): void {
    this.#options.onNoRoom(error);
    for (const { answer } of appends) answer('no-room');
    this.#isTight = hasChange || this.#isTight;
    // The changes may have fitted without the appends.
    if (!hasChange || appends.length > 0) return;
    if (this.#isClosing) {
      for (const { fail } of this.#changes.splice(0)) fail(error);
      return;
    }
    this.#pause = this.#options.clock.setTimer(retryMs, () => this.#endPause());
  }

  #endPause(): void {
    this.#pause?.cancel();
    this.#pause = null;
    this.#wake();
  }

  /** By appends, which tell whether there is room again, or by the end of the pause. */
  #woken(): Promise<void> {
    return new Promise((resolve) => (this.#wake = resolve));
  }

  #fail(appends: readonly Append<A, R>[], error: unknown): void {
    const isFirst = !this.#hasFailed;
    this.#hasFailed = true;
    for (const { answer } of [...appends, ...this.#appends.splice(0)]) answer('failed');
    for (const { fail } of this.#changes.splice(0)) fail(error);
    if (isFirst) this.#options.onFatal(error);
  }
}
