import { setRunningTimer, type Clock, type Timer } from '../../clock.js';
import { StuckError } from './commit-error.js';
import { DiskReservationError } from './disk-reservation.js';
import type { Write } from './write.js';

/**
 * What one append or change adds to a group: decided from the committed state and from the group's copy of the next
 * state.
 */
export type Staged<T> = {
  /** Run within one transaction. */
  readonly writes: readonly Write[];
  /** Called once the writes are on disk. Updates memory and returns the result. */
  readonly committed: () => T;
  /** Called if the writes failed and will not be tried again. */
  readonly rolledBack?: () => void;
};

/**
 * Like `Staged`, for work that may be too large for one turn of the event loop: staging and `committed` run in
 * slices.
 */
export type StagedInSlices<T> = Omit<Staged<T>, 'committed'> & {
  readonly committed: () => T | Promise<T>;
};

export type GroupCommitOptions<A, R, C, S> = {
  readonly clock: Clock;
  /** Returns a copy of the state that the group may change. It becomes the state once the group is on disk. */
  readonly copyState: () => S;
  /** Stages all appends of a group together; the result has one element for each append. */
  readonly stageAppends: (
    appends: readonly A[],
    nextState: S,
  ) => Promise<StagedInSlices<readonly R[]>>;
  readonly sizeOf: (append: A) => number;
  /**
   * Stages the first settlements, as many as fit into one group and at least one. `committed` returns their number.
   */
  readonly stageSettlements: (settlements: readonly C[], nextState: S) => Staged<number>;
  /**
   * Runs the writes in one transaction; resolves once it is synced. Rejects with DiskReservationError if the disk
   * was full and nothing was written.
   */
  readonly commit: (group: Group<S>) => Promise<void>;
  /**
   * Throws if committed data would not be found after a restart. Called before a group is staged and before its
   * callers get their results.
   */
  readonly verify: () => void;
  /**
   * A commit that takes longer counts as failed, since a disk may hang and callers wait. Time in which the process
   * was stopped does not count.
   */
  readonly limit: { readonly clock: Clock; readonly ms: number };
  /** Called once a group is on disk. */
  readonly onCommitted: (nextState: S, seconds: number) => void;
  /** Called once, when a write failed: later transactions cannot be trusted. */
  readonly onFatal: (error: unknown) => void;
  /** Called when a group did not fit on the disk. */
  readonly onDiskFull: (error: unknown) => void;
};

export type Group<S> = {
  readonly writes: readonly Write[];
  readonly nextState: S;
  readonly hasAppends: boolean;
};

type Append<A, R> = { readonly value: A; readonly resolve: (result: R | AppendFailure) => void };
/** A settlement, or another change with its own `stage` function, which also passes the result on. */
type Change<C, S> = (
  | { readonly kind: 'settlement'; readonly value: C; readonly answer: () => void }
  | { readonly kind: 'other'; readonly stage: (nextState: S) => Staged<void> }
) & { readonly fail: (error: unknown) => void };

/** Why an append is not on disk: the disk is full, or the journal has failed. */
export type AppendFailure = 'disk-full' | 'failed';

/** Appends above this wait for the next group. */
const maxGroupBytes = 16 * 1024 * 1024;
const retryMs = 1000;

/**
 * The journal's only writer. While one group is synced, new appends and changes gather for the next group, so that
 * one sync serves many requests.
 *
 * A group holds all waiting appends and, besides, either the next settlements or one other change (a redrive or a
 * discard). A change is staged from committed state, so it never has to consider the other parts of its group.
 *
 * States: idle (nothing waits), running (groups are written one after the other), paused (changes wait for disk
 * space), failed (a write or a check failed; nothing is written again) and closing.
 *
 * If the disk is full, the group's appends fail with `disk-full`, and the changes are retried: first without
 * appends, then one settlement at a time, then once a second until they fit.
 */
export class GroupCommit<A, R, C, S> {
  readonly #options: GroupCommitOptions<A, R, C, S>;
  #appends: Append<A, R>[] = [];
  #changes: Change<C, S>[] = [];
  #running: Promise<void> | null = null;
  #hasFailed = false;
  #isStuck = false;
  #isClosing = false;
  /** True if the last group with a change did not fit: one settlement alone may need less space than several. */
  #settlesSingly = false;
  /** Runs while changes wait for disk space. */
  #pause: Timer | null = null;
  #wake: () => void = () => undefined;

  constructor(options: GroupCommitOptions<A, R, C, S>) {
    this.#options = options;
  }

  append(value: A): Promise<R | AppendFailure> {
    if (this.#hasFailed || this.#isClosing) return Promise.resolve('failed');
    return new Promise((answer) => {
      this.#appends.push({ value, resolve: answer });
      this.#start();
      this.#wake();
    });
  }

  /** Rejects if the journal fails, or if it is closed while the disk is full. */
  settle(value: C): Promise<void> {
    return new Promise((answer, fail) => {
      this.#enqueue({ kind: 'settlement', value, answer, fail });
    });
  }

  /** Rejects like `settle`. */
  change<T>(stage: (nextState: S) => Staged<T>): Promise<T> {
    return new Promise((resolve, fail) => {
      const answered = (nextState: S): Staged<void> => {
        const { writes, committed, rolledBack } = stage(nextState);
        return {
          writes,
          committed: () => resolve(committed()),
          ...(rolledBack && { rolledBack }),
        };
      };
      this.#enqueue({ kind: 'other', stage: answered, fail });
    });
  }

  /** True if a commit has exceeded its limit and may never end. */
  get isStuck(): boolean {
    return this.#isStuck;
  }

  /** Runs the check. Fails the journal and returns false if committed data would not be found after a restart. */
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

  /** Resolves when all waiting appends and changes have their results. */
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
      if (this.#appends.length === 0 && this.#pause !== null) await this.#waitForWake();
      else await this.#writeGroup(this.#nextAppends());
    }
    // No `await` since the loop condition, so the next append or change starts a new run.
    this.#running = null;
  }

  #nextAppends(): readonly Append<A, R>[] {
    let bytes = 0;
    const fits = this.#appends.findIndex(({ value }) => {
      bytes += this.#options.sizeOf(value);
      return bytes > maxGroupBytes;
    });
    return this.#appends.splice(0, fits === -1 ? this.#appends.length : Math.max(1, fits));
  }

  async #writeGroup(appends: readonly Append<A, R>[]): Promise<void> {
    const { clock, copyState, onCommitted } = this.#options;
    const from = clock.monotonic();
    const nextState = copyState();
    const undo: (() => void)[] = [];
    let hasChange = false;
    try {
      this.#options.verify();
      const appended = await this.#options.stageAppends(
        appends.map(({ value }) => value),
        nextState,
      );
      undo.push(() => appended.rolledBack?.());
      const changed = this.#pause === null ? this.#stageChanges(nextState) : undefined;
      hasChange = changed !== undefined;
      undo.push(() => changed?.rolledBack?.());
      const writes = [...appended.writes, ...(changed?.writes ?? [])];
      const hasAppends = appended.writes.length > 0;
      if (writes.length > 0) {
        await this.#commit({ writes, nextState, hasAppends });
        this.#options.verify();
        if (hasAppends) this.#settlesSingly = false;
        this.#endPause();
        onCommitted(nextState, (clock.monotonic() - from) / 1000);
      }
      this.#resolveChanges(changed?.committed() ?? 0);
      const results = await appended.committed();
      results.forEach((result, index) => appends[index]?.resolve(result));
    } catch (error) {
      undo.reverse().forEach((each) => each());
      if (error instanceof DiskReservationError) this.#handleDiskFull(appends, hasChange, error);
      else this.#fail(appends, error);
    }
  }

  /** Stages the next changes; `committed` returns their number. Undefined if none waits. */
  #stageChanges(nextState: S): Staged<number> | undefined {
    const [first] = this.#changes;
    if (first?.kind !== 'other') return this.#stageSettlements(nextState);
    const { committed, ...staged } = first.stage(nextState);
    return {
      ...staged,
      committed() {
        committed();
        return 1;
      },
    };
  }

  #stageSettlements(nextState: S): Staged<number> | undefined {
    const next: C[] = [];
    for (const change of this.#changes) {
      if (change.kind !== 'settlement' || (this.#settlesSingly && next.length === 1)) break;
      next.push(change.value);
    }
    return next.length === 0 ? undefined : this.#options.stageSettlements(next, nextState);
  }

  #resolveChanges(count: number): void {
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

  #handleDiskFull(appends: readonly Append<A, R>[], hasChange: boolean, error: unknown): void {
    this.#options.onDiskFull(error);
    for (const { resolve: answer } of appends) answer('disk-full');
    this.#settlesSingly = hasChange || this.#settlesSingly;
    // Without the appends, the changes may fit.
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

  /**
   * Resolves at the next append, whose write shows whether the disk has space again, or at the end of the pause.
   */
  #waitForWake(): Promise<void> {
    return new Promise((resolve) => (this.#wake = resolve));
  }

  #fail(appends: readonly Append<A, R>[], error: unknown): void {
    const isFirst = !this.#hasFailed;
    this.#hasFailed = true;
    for (const { resolve: answer } of [...appends, ...this.#appends.splice(0)]) answer('failed');
    for (const { fail } of this.#changes.splice(0)) fail(error);
    if (isFirst) this.#options.onFatal(error);
  }
}
