import { setMaxListeners } from 'node:events';
import { wait, type Clock, type Timer } from '../../clock.js';
import { storeLanes } from '../../model/lane.js';
import { toStamp } from '../../redis/server-time.js';
import {
  isUnable,
  ScriptError,
  UnavailableError,
  UnreplicatedError,
  type RedisConnection,
  type RedisReply,
  type Script,
} from '../../redis/connection.js';
import type { ReplicatedWrites } from '../../redis/replicated-writes.js';
import { storeScripts } from './scripts.js';
import { IntakeGate } from './intake-gate.js';
import { CachedState } from './cached-state.js';
import { readList, readText, toStoreState } from './view.js';

/** `silence`: this relay was not heard of for longer than its lease. `fallback`: the server lost changes of what it held. */
export type LeaseLoss = 'silence' | 'fallback';

export type SessionOptions = {
  readonly connection: RedisConnection;
  readonly clock: Clock;
  /** For what counts as done only once replicas have it. Null where that is not asked for. */
  readonly replicated: ReplicatedWrites | null;
  /** Prefix of every name, with a hash tag. */
  readonly prefix: string;
  /** A name for this relay that no other has: at its start, and each time that its lease ran out. */
  readonly newName: () => string;
  /** A relay that is not heard of for so long is taken to be dead, and others go on with what it held. */
  readonly leaseMs: number;
  /** The epoch of a buffer that is new. */
  readonly newEpoch: () => string;
  /** Stands for the key of the Klaviyo account. */
  readonly accountKey: string;
  /** Ms that all relays agree on. Absent: the server's clock. */
  readonly time?: (() => number) | undefined;
  /** Others ran out of their lease, and what they held was given back. */
  readonly onTakenOver: (relays: number) => void;
  /** Others may have what this relay holds, for that reason. */
  readonly onLeaseLost: (why: LeaseLoss) => void;
  /** Half of the lease is gone without an answer: so many ms are left. Reported once until it is renewed. */
  readonly onLate: (leftMs: number) => void;
  /** The buffer is another one than before, empty: so many envelopes were not settled. */
  readonly onBufferLost: (envelopes: number) => void;
  /** Called at each change, with the reason where it is down, and with each new reason. */
  readonly onChange: (isUp: boolean, why: string) => void;
  /** The server is used for the first time since it was connected to. */
  readonly onVerified: () => void;
  /** What lies under the prefix was begun with a key that is not known to be of the same account. Called again while that is so. */
  readonly onForeign: () => void;
  readonly onFatal: (error: unknown) => void;
};

type Arguments = readonly (string | number | Uint8Array)[];
/** `replicated`: it counts as done only once REDIS_WAIT_REPLICAS have it. */
type Way = 'plain' | 'replicated';

/** A look brings in what others did. */
const lookMs = 100;
const insistMs = 200;
/** A script that the server refuses, though it answers looks, is not tried again before. */
const refusedMs = 1000;
/** Whether the account is the same may be known later. */
const foreignMs = 60_000;
/** After so long without another backpressure it counts as over. */
const refusalEndsMs = 10_000;

/** As a look tells them. */
const losses: readonly (LeaseLoss | null)[] = [null, 'silence', 'fallback'];

const unreached = 'it was not reached yet';
const foreign =
  'what lies under REDIS_KEY_PREFIX is of another Klaviyo account, or was begun with another key of it';

/** This relay's standing with the server: its lease, whether the server takes anything, and the mirror. */
export class Session {
  readonly mirror: CachedState;
  readonly #options: SessionOptions;
  readonly #closing = new AbortController();
  readonly #stopListening: () => void;
  readonly #stopFailures: () => void;
  #timer: Timer | null = null;
  #looking: Promise<void> | null = null;
  #relay: string;
  /** False until the server has answered a look under the present name of this relay. */
  #isRegistered = false;
  /** Number of the newest script that changed this relay's claims, and of the newest one, under the present name, that Redis has answered. */
  #change = 0;
  #answeredChange = 0;
  /** Monotonic ms when the last look was asked for that was answered. */
  #renewedAt = -Infinity;
  #isLate = false;
  /** Monotonic ms since when looks were answered without a gap in which others could not renew their leases either. */
  #seenSince = -Infinity;
  /** Monotonic ms when the last look began. */
  #lookedAt = -Infinity;
  #trouble: string | null = unreached;
  readonly #gate: IntakeGate;
  /** False until a look on this connection showed that what lies there is this account's. */
  #isVerified = false;
  /** The script that the server refuses though it answers looks, and since when, monotonic ms. */
  #refused: { readonly script: string; readonly at: number } | null = null;
  /** The reason that was reported last; null where it was that the server is up. */
  #reported: string | null = unreached;
  #epoch: string | null = null;
  /** Monotonic ms when it was reported last that the buffer is of another account. */
  #foreignAt = -Infinity;
  readonly #onLook = new Set<() => void>();
  readonly #onLost = new Set<() => void>();

  constructor(options: SessionOptions) {
    this.#options = options;
    this.#relay = options.newName();
    this.mirror = new CachedState(options.clock);
    this.#gate = new IntakeGate(options);
    // Everything that waits for the server to be back listens to the end: many listeners are no leak.
    setMaxListeners(0, this.#closing.signal);
    this.#stopListening = options.connection.onChange((isUp) => {
      this.#isVerified = false;
      if (!isUp) return;
      void this.look();
      void options.replicated?.verify(`${options.prefix}:meta`);
    });
    this.#stopFailures = options.connection.onFailure(({ why }) => this.#note(why));
    this.mirror.onClaimable(() => this.#arm());
  }

  /** The name that this relay's claims are made under. */
  get relay(): string {
    return this.#relay;
  }

  /** True while the server can be worked with, though it may take nothing new. */
  get isUp(): boolean {
    return this.#trouble === null;
  }

  /** Why nothing new is taken; null while it is. */
  get trouble(): string | null {
    return this.#trouble ?? this.#gate.why;
  }

  /** True where what lies under the prefix is not known to be of this account. */
  get isForeign(): boolean {
    return this.#trouble === foreign;
  }

  /** Whether what is written so that it counts waits for replicas first. */
  get waitsForReplicas(): boolean {
    return this.#options.replicated !== null;
  }

  get isClosed(): boolean {
    return this.#closing.signal.aborted;
  }

  /** False where others may have taken this relay for dead by now. */
  hasLease(): boolean {
    return this.leaseLeftMs() > 0;
  }

  /** Ms until others may take this relay for dead. */
  leaseLeftMs(): number {
    const { clock, leaseMs } = this.#options;
    if (!this.#isRegistered) return 0;
    return Math.max(0, this.#renewedAt + leaseMs - clock.monotonic());
  }

  /** Calls back after each look. */
  onLook(listener: () => void): void {
    this.#onLook.add(listener);
  }

  /** Calls back where others have what this relay claimed. */
  onLost(listener: () => void): void {
    this.#onLost.add(listener);
  }

  /** Runs a script whose last reply is the view. Rejects with UnavailableError. */
  async run(script: Script, args: Arguments, way: Way = 'plain'): Promise<readonly RedisReply[]> {
    const askedAt = this.#options.clock.monotonic();
    const reply = readList(await this.read(script, [this.stamp(), ...args], way));
    this.mirror.take(toStoreState(reply.at(-1)), askedAt);
    return reply;
  }

  /** Runs a script that changes nothing of the view. */
  async read(script: Script, args: Arguments, way: Way = 'plain'): Promise<RedisReply> {
    const { connection, replicated, prefix } = this.#options;
    if (!this.#isVerified && script !== storeScripts.heartbeat) {
      throw new UnavailableError(this.#trouble ?? 'it was not asked yet');
    }
    const runner = way === 'replicated' ? (replicated ?? connection) : connection;
    try {
      const reply = await runner.run(script, prefix, args);
      if (this.#refused?.script === script.name) this.#refused = null;
      return reply;
    } catch (error) {
      throw this.#noteFailure(script, error, runner === connection);
    }
  }

  /** What a caller is told of a script that failed. */
  #noteFailure(script: Script, error: unknown, isMain: boolean): unknown {
    if (error instanceof ScriptError && error.code === 'RELAY_NOEPOCH') {
      // The buffer was lost, or a part of it. A look finds out.
      this.#note('the buffer is gone');
      void this.look();
      return new UnavailableError('the buffer is gone');
    }
    if (error instanceof ScriptError && error.code === 'LUA') {
      // As it does where keys that belong together are not all there.
      const why = `a script of the relay failed: ${error.message}`;
      this.#noteRefused(script, why);
      return new UnavailableError(why);
    }
    if (!(error instanceof UnavailableError)) return error;
    const { reply, why } = error;
    if (reply?.startsWith('OOM') === true) {
      this.#gate.noteFull(why);
      this.#report();
    } else if (error instanceof UnreplicatedError || (!isMain && reply === null)) this.#report();
    else if (reply !== null && !isUnable(reply)) this.#noteRefused(script, why);
    else this.#note(why);
    return error;
  }

  /** A look may be let through where other scripts are not, and must not make them try at once. */
  #noteRefused(script: Script, why: string): void {
    if (script !== storeScripts.heartbeat)
      this.#refused = { script: script.name, at: this.#options.clock.monotonic() };
    this.#note(why);
  }

  /** Runs a script that changes what this relay holds. */
  async change(script: Script, args: Arguments): Promise<readonly RedisReply[]> {
    const relay = this.#relay;
    const change = ++this.#change;
    const reply = await this.run(script, [...args, relay, change]);
    if (relay === this.#relay) this.#answeredChange = Math.max(this.#answeredChange, change);
    return reply;
  }

  /** Runs such a script until the server has taken it. Rejects once this is closed. */
  async insist(script: Script, args: Arguments): Promise<readonly RedisReply[]> {
    for (;;) {
      try {
        return await this.change(script, args);
      } catch (error) {
        if (!(error instanceof UnavailableError) || this.isClosed) throw error;
        await wait(this.#options.clock, insistMs, this.#closing.signal);
      }
    }
  }

  /** Renews the lease, takes over what dead relays held, and brings the mirror up to date. */
  look(): Promise<void> {
    this.#looking ??= this.#look().finally(() => {
      this.#looking = null;
      this.#arm();
    });
    return this.#looking;
  }

  async close(): Promise<void> {
    if (this.isClosed) return;
    this.#closing.abort();
    this.#stopListening();
    this.#stopFailures();
    this.#timer?.cancel();
    await this.#looking;
    // What it holds is free at once, not only when its lease ends.
    await this.run(storeScripts.leave, [this.#relay]).catch(() => undefined);
  }

  async #look(): Promise<void> {
    if (this.isClosed) return;
    this.#lookedAt = this.#options.clock.monotonic();
    this.#noteLateness();
    const failure = this.#options.connection.failure();
    if (failure !== null) {
      this.#note(failure.why);
      return;
    }
    const { clock, leaseMs, newEpoch, accountKey } = this.#options;
    const askedAt = clock.monotonic();
    const unsettled = storeLanes.reduce((sum, lane) => sum + this.mirror.depth(lane).count, 0);
    // Where nobody could renew a lease for a while, all of them have run out.
    if (askedAt - this.#renewedAt > leaseMs / 2) this.#seenSince = askedAt;
    try {
      const mayTakeOver = askedAt - this.#seenSince >= leaseMs ? 1 : 0;
      const isNew = this.#isRegistered ? 0 : 1;
      const known = this.#epoch ?? '';
      const lease = [mayTakeOver, isNew, known, this.#answeredChange];
      const args = [this.#relay, leaseMs, newEpoch(), accountKey, ...lease];
      const [trouble, loss, gone] = await this.run(storeScripts.heartbeat, args);
      this.#renewedAt = askedAt;
      this.#isLate = false;
      await this.#noteLook(readText(trouble));
      this.#noteHolder(losses[Number(loss)] ?? null, unsettled);
      if (!this.#isRegistered) {
        await this.#look();
        return;
      }
      const { length } = readList(gone);
      if (length > 0) this.#options.onTakenOver(length);
      for (const listener of this.#onLook) listener();
    } catch (error) {
      this.#noteFailedLook(error);
    }
  }

  #noteLateness(): void {
    const leftMs = this.leaseLeftMs();
    if (!this.#isRegistered || this.#isLate || leftMs > this.#options.leaseMs / 2) return;
    this.#isLate = true;
    this.#options.onLate(leftMs);
  }

  #noteFailedLook(error: unknown): void {
    const { onFatal, onForeign } = this.#options;
    if (error instanceof ScriptError && error.code === 'RELAY_ACCOUNT') {
      this.#isVerified = false;
      const isDue = !this.isForeign || this.#lookedAt - this.#foreignAt >= foreignMs;
      this.#note(foreign);
      if (!isDue) return;
      this.#foreignAt = this.#lookedAt;
      onForeign();
    } else if (!(error instanceof UnavailableError)) onFatal(error);
  }

  /** `trouble` is empty where all is well. */
  async #noteLook(trouble: string): Promise<void> {
    const isFull = trouble.startsWith('OOM');
    if (isFull) this.#gate.noteFull(`Redis answers "${trouble}"`);
    else await this.#gate.recheck();
    const why = isFull || trouble === '' ? null : trouble;
    const now = this.#options.clock.monotonic();
    if (this.#refused !== null && now - this.#refused.at >= refusalEndsMs) this.#refused = null;
    const isRefused = this.#refused !== null && now - this.#refused.at < refusedMs;
    if (why !== null || !isRefused) this.#note(why);
    if (this.#isVerified) return;
    this.#isVerified = true;
    this.#options.onVerified();
  }

  /** Whether this relay and its buffer are still what they were at the look before. */
  #noteHolder(loss: LeaseLoss | null, unsettled: number): void {
    const { onBufferLost, onLeaseLost, newName } = this.#options;
    const before = this.#epoch;
    this.#epoch = this.mirror.view?.epoch ?? null;
    this.#isRegistered = loss === null;
    if (loss !== null) {
      this.#relay = newName();
      this.#answeredChange = 0;
      for (const listener of this.#onLost) listener();
    }
    if (before !== null && before !== this.#epoch) onBufferLost(unsettled);
    else if (loss !== null) onLeaseLost(loss);
  }

  #note(trouble: string | null): void {
    this.#trouble = trouble;
    this.#report();
  }

  #report(): void {
    const { trouble } = this;
    // A script that is refused again and again is reported once.
    if (this.#reported === trouble || (trouble === null && this.#refused !== null)) return;
    this.#reported = trouble;
    this.#options.onChange(trouble === null, trouble ?? '');
  }

  #arm(): void {
    this.#timer?.cancel();
    if (this.isClosed || this.#looking !== null) return;
    // From the last look on, so that no number of appends puts it off.
    const leftMs = Math.max(0, this.#lookedAt + lookMs - this.#options.clock.monotonic());
    const delayMs = Math.min(leftMs, this.mirror.nextDueMs() ?? Infinity);
    this.#timer = this.#options.clock.setTimer(delayMs, () => void this.look());
  }

  /** Says to a script how much time this relay measured since its last look. */
  stamp(): string {
    const { time, clock } = this.#options;
    const elapsedMs = clock.monotonic() - this.#renewedAt;
    return toStamp({
      given: time?.(),
      elapsedMs: elapsedMs === Infinity ? null : elapsedMs,
      wall: clock.now(),
    });
  }
}
