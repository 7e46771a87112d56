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
import { readReplyList, readReplyText, toStoreState } from './store-state.js';

/** Why a lease was lost. `silence`: no heartbeat for longer than the lease. `fallback`: the server lost changes of the claims. */
export type LeaseLoss = 'silence' | 'fallback';

export type SessionOptions = {
  readonly connection: RedisConnection;
  readonly clock: Clock;
  /** Runs scripts that must reach replicas. Null if REDIS_WAIT_REPLICAS is 0. */
  readonly replicated: ReplicatedWrites | null;
  /** Prefix of every key, with a hash tag. */
  readonly prefix: string;
  /** Creates a unique name for this relay: at its start, and each time that its lease has ended. */
  readonly newName: () => string;
  /** Lease: a relay that has not renewed for this long is considered dead, and others take over its envelopes. */
  readonly leaseMs: number;
  /** Creates the epoch of a new store. */
  readonly newEpoch: () => string;
  /** Digest of the API key (account.ts). */
  readonly accountKey: string;
  /** Ms that replace the server's clock in tests. */
  readonly time?: (() => number) | undefined;
  /** Called with the number of relays whose lease ended and whose claims were released. */
  readonly onTakenOver: (relays: number) => void;
  /** Called with the reason when other relays may have what this relay holds. */
  readonly onLeaseLost: (why: LeaseLoss) => void;
  /** Called with the ms that are left when half of the lease has passed without a reply; once until it is renewed. */
  readonly onLate: (leftMs: number) => void;
  /** Called with the number of unsettled envelopes when the store in Redis was replaced by an empty one. */
  readonly onBufferLost: (envelopes: number) => void;
  /** Called when the server becomes available or unavailable, with the reason, and with each new reason. */
  readonly onChange: (isUp: boolean, why: string) => void;
  /** Called after the first heartbeat on a connection. */
  readonly onVerified: () => void;
  /** Called, and called again once a minute, while the store belongs to a key of an account that may be another one. */
  readonly onForeign: () => void;
  readonly onFatal: (error: unknown) => void;
};

type Arguments = readonly (string | number | Uint8Array)[];
/** `replicated`: the script succeeds only when REDIS_WAIT_REPLICAS replicas have its writes. */
type Way = 'plain' | 'replicated';

/** Interval of heartbeats; each brings the changes of other relays. */
const heartbeatMs = 100;
const retryMs = 200;
/** Pause before a script runs again that the server rejects although it accepts heartbeats, ms. */
const rejectedMs = 1000;
/** Interval at which a foreign account is reported again, ms. */
const foreignMs = 60_000;
/** After this long without another rejection the server counts as working again, ms. */
const rejectionEndsMs = 10_000;

/** The lease results of heartbeat.lua. */
const losses: readonly (LeaseLoss | null)[] = [null, 'silence', 'fallback'];

const unreached = 'it was not reached yet';
const foreign =
  'what lies under REDIS_KEY_PREFIX is of another Klaviyo account, or was begun with another key of it';

/**
 * The session of this relay with the server: its name and lease, the reason while the server is unavailable, and the
 * cached state of the store.
 *
 * A heartbeat every 100 ms renews the lease. While the lease lasts, only this relay sends what it has claimed. If the
 * lease ends, or the server lost changes (a replica became the primary), other relays may send it: the session drops
 * all claims (`onLost`) and goes on under a new name. Every script that changes claims carries an increasing number, by
 * which heartbeat.lua recognises lost changes.
 */
export class Session {
  readonly cachedState: CachedState;
  readonly #options: SessionOptions;
  readonly #closing = new AbortController();
  readonly #stopListening: () => void;
  readonly #stopFailures: () => void;
  #timer: Timer | null = null;
  #heartbeatRunning: Promise<void> | null = null;
  #relay: string;
  /** False until the server has acknowledged a heartbeat under the current name of this relay. */
  #isRegistered = false;
  /** Number of the newest script that changed this relay's claims, and of the newest acknowledged one under the current name. */
  #change = 0;
  #answeredChange = 0;
  /** Monotonic ms when the last acknowledged heartbeat was sent. */
  #renewedAt = -Infinity;
  #isLate = false;
  /** Monotonic ms since when heartbeats were acknowledged without a gap in which other relays could not renew either. */
  #acknowledgedSince = -Infinity;
  /** Monotonic ms when the last heartbeat began. */
  #heartbeatAt = -Infinity;
  #outage: string | null = unreached;
  readonly #gate: IntakeGate;
  /** False until a heartbeat on this connection showed that the store belongs to this account. */
  #isVerified = false;
  /** The script that the server rejects although it accepts heartbeats, and since when, monotonic ms. */
  #rejected: { readonly script: string; readonly at: number } | null = null;
  /** The last reported reason; null if the last report was that the server is available. */
  #reported: string | null = unreached;
  #epoch: string | null = null;
  /** Monotonic ms of the last report of a foreign account. */
  #foreignAt = -Infinity;
  readonly #onHeartbeat = new Set<() => void>();
  readonly #onLost = new Set<() => void>();

  constructor(options: SessionOptions) {
    this.#options = options;
    this.#relay = options.newName();
    this.cachedState = new CachedState(options.clock);
    this.#gate = new IntakeGate(options);
    // Every caller that waits for the server listens to this signal: many listeners are no leak.
    setMaxListeners(0, this.#closing.signal);
    this.#stopListening = options.connection.onChange((isUp) => {
      this.#isVerified = false;
      if (!isUp) return;
      void this.heartbeat();
      void options.replicated?.verify(`${options.prefix}:meta`);
    });
    this.#stopFailures = options.connection.onFailure(({ why }) => this.#setOutage(why));
    this.cachedState.onClaimable(() => this.#scheduleHeartbeat());
  }

  /** The current name of this relay. */
  get relay(): string {
    return this.#relay;
  }

  /** True while the server is available, even if nothing is accepted. */
  get isUp(): boolean {
    return this.#outage === null;
  }

  /** Why nothing is accepted; null while appends are possible. */
  get outage(): string | null {
    return this.#outage ?? this.#gate.why;
  }

  /** True if the store may belong to another account. */
  get isForeign(): boolean {
    return this.#outage === foreign;
  }

  /** True if replicated scripts wait for replicas. */
  get waitsForReplicas(): boolean {
    return this.#options.replicated !== null;
  }

  get isClosed(): boolean {
    return this.#closing.signal.aborted;
  }

  /** Returns false if other relays may consider this relay dead. */
  hasLease(): boolean {
    return this.leaseLeftMs() > 0;
  }

  /** Ms until other relays may consider this relay dead. */
  leaseLeftMs(): number {
    const { clock, leaseMs } = this.#options;
    if (!this.#isRegistered) return 0;
    return Math.max(0, this.#renewedAt + leaseMs - clock.monotonic());
  }

  /** Calls the listener after each heartbeat. */
  onHeartbeat(listener: () => void): void {
    this.#onHeartbeat.add(listener);
  }

  /** Calls the listener when this relay has lost its claims. */
  onLost(listener: () => void): void {
    this.#onLost.add(listener);
  }

  /** Runs a script whose last value is the store state, and caches this state. Rejects with UnavailableError. */
  async run(script: Script, args: Arguments, way: Way = 'plain'): Promise<readonly RedisReply[]> {
    const askedAt = this.#options.clock.monotonic();
    const reply = readReplyList(await this.read(script, [this.stamp(), ...args], way));
    this.cachedState.update(toStoreState(reply.at(-1)), askedAt);
    return reply;
  }

  /** Runs a script that does not return the store state. */
  async read(script: Script, args: Arguments, way: Way = 'plain'): Promise<RedisReply> {
    const { connection, replicated, prefix } = this.#options;
    if (!this.#isVerified && script !== storeScripts.heartbeat) {
      throw new UnavailableError(this.#outage ?? 'it has not been checked yet');
    }
    const runner = way === 'replicated' ? (replicated ?? connection) : connection;
    try {
      const reply = await runner.run(script, prefix, args);
      if (this.#rejected?.script === script.name) this.#rejected = null;
      return reply;
    } catch (error) {
      throw this.#recordFailure(script, error, runner === connection);
    }
  }

  /** Records why a script failed. Returns the error for the caller. */
  #recordFailure(script: Script, error: unknown, isMain: boolean): unknown {
    if (error instanceof ScriptError && error.code === 'RELAY_NOEPOCH') {
      // The store, or a part of it, is lost. The heartbeat finds out which.
      this.#setOutage('the buffer in Redis is lost');
      void this.heartbeat();
      return new UnavailableError('the buffer in Redis is lost');
    }
    if (error instanceof ScriptError && error.code === 'LUA') {
      // Scripts fail like this if keys that belong together are missing.
      const why = `a script of the relay failed: ${error.message}`;
      this.#recordRejection(script, why);
      return new UnavailableError(why);
    }
    if (!(error instanceof UnavailableError)) return error;
    const { reply, why } = error;
    if (reply?.startsWith('OOM') === true) {
      this.#gate.recordFull(why);
      this.#report();
    } else if (error instanceof UnreplicatedError || (!isMain && reply === null)) this.#report();
    else if (reply !== null && !isUnable(reply)) this.#recordRejection(script, why);
    else this.#setOutage(why);
    return error;
  }

  /** A heartbeat may succeed while other scripts fail, and must not trigger their retry at once. */
  #recordRejection(script: Script, why: string): void {
    if (script !== storeScripts.heartbeat)
      this.#rejected = { script: script.name, at: this.#options.clock.monotonic() };
    this.#setOutage(why);
  }

  /** Runs a script that changes this relay's claims. */
  async change(script: Script, args: Arguments): Promise<readonly RedisReply[]> {
    const relay = this.#relay;
    const change = ++this.#change;
    const reply = await this.run(script, [...args, relay, change]);
    if (relay === this.#relay) this.#answeredChange = Math.max(this.#answeredChange, change);
    return reply;
  }

  /** Repeats such a script until the server acknowledges it. Rejects after `close`. */
  async retryUntilAcknowledged(script: Script, args: Arguments): Promise<readonly RedisReply[]> {
    for (;;) {
      try {
        return await this.change(script, args);
      } catch (error) {
        if (!(error instanceof UnavailableError) || this.isClosed) throw error;
        await wait(this.#options.clock, retryMs, this.#closing.signal);
      }
    }
  }

  /** Runs a heartbeat now: renews the lease, takes over envelopes of dead relays, and updates the cached state. */
  heartbeat(): Promise<void> {
    this.#heartbeatRunning ??= this.#runHeartbeat().finally(() => {
      this.#heartbeatRunning = null;
      this.#scheduleHeartbeat();
    });
    return this.#heartbeatRunning;
  }

  async close(): Promise<void> {
    if (this.isClosed) return;
    this.#closing.abort();
    this.#stopListening();
    this.#stopFailures();
    this.#timer?.cancel();
    await this.#heartbeatRunning;
    // The claims are released at once, and not only when the lease ends.
    await this.run(storeScripts.leave, [this.#relay]).catch(() => undefined);
  }

  async #runHeartbeat(): Promise<void> {
    if (this.isClosed) return;
    this.#heartbeatAt = this.#options.clock.monotonic();
    this.#reportLateness();
    const failure = this.#options.connection.failure();
    if (failure !== null) {
      this.#setOutage(failure.why);
      return;
    }
    const { clock, leaseMs, newEpoch, accountKey } = this.#options;
    const askedAt = clock.monotonic();
    const unsettled = storeLanes.reduce((sum, lane) => sum + this.cachedState.depth(lane).count, 0);
    // If no relay could renew for a while, the leases of all relays have ended, and none proves a dead relay.
    if (askedAt - this.#renewedAt > leaseMs / 2) this.#acknowledgedSince = askedAt;
    try {
      const mayTakeOver = askedAt - this.#acknowledgedSince >= leaseMs ? 1 : 0;
      const isNew = this.#isRegistered ? 0 : 1;
      const known = this.#epoch ?? '';
      const lease = [mayTakeOver, isNew, known, this.#answeredChange];
      const args = [this.#relay, leaseMs, newEpoch(), accountKey, ...lease];
      const [outage, loss, takenOver] = await this.run(storeScripts.heartbeat, args);
      this.#renewedAt = askedAt;
      this.#isLate = false;
      await this.#recordHeartbeat(readReplyText(outage));
      this.#recordLease(losses[Number(loss)] ?? null, unsettled);
      if (!this.#isRegistered) {
        await this.#runHeartbeat();
        return;
      }
      const { length } = readReplyList(takenOver);
      if (length > 0) this.#options.onTakenOver(length);
      for (const listener of this.#onHeartbeat) listener();
    } catch (error) {
      this.#recordFailedHeartbeat(error);
    }
  }

  #reportLateness(): void {
    const leftMs = this.leaseLeftMs();
    if (!this.#isRegistered || this.#isLate || leftMs > this.#options.leaseMs / 2) return;
    this.#isLate = true;
    this.#options.onLate(leftMs);
  }

  #recordFailedHeartbeat(error: unknown): void {
    const { onFatal, onForeign } = this.#options;
    if (error instanceof ScriptError && error.code === 'RELAY_ACCOUNT') {
      this.#isVerified = false;
      const isDue = !this.isForeign || this.#heartbeatAt - this.#foreignAt >= foreignMs;
      this.#setOutage(foreign);
      if (!isDue) return;
      this.#foreignAt = this.#heartbeatAt;
      onForeign();
    } else if (!(error instanceof UnavailableError)) onFatal(error);
  }

  /** `outage` is empty if the server accepts writes. */
  async #recordHeartbeat(outage: string): Promise<void> {
    const isFull = outage.startsWith('OOM');
    if (isFull) this.#gate.recordFull(`Redis answers "${outage}"`);
    else await this.#gate.recheck();
    const why = isFull || outage === '' ? null : outage;
    const now = this.#options.clock.monotonic();
    if (this.#rejected !== null && now - this.#rejected.at >= rejectionEndsMs)
      this.#rejected = null;
    const isRejected = this.#rejected !== null && now - this.#rejected.at < rejectedMs;
    if (why !== null || !isRejected) this.#setOutage(why);
    if (this.#isVerified) return;
    this.#isVerified = true;
    this.#options.onVerified();
  }

  /** Checks whether the lease and the store are the same as at the previous heartbeat. */
  #recordLease(loss: LeaseLoss | null, unsettled: number): void {
    const { onBufferLost, onLeaseLost, newName } = this.#options;
    const before = this.#epoch;
    this.#epoch = this.cachedState.state?.epoch ?? null;
    this.#isRegistered = loss === null;
    if (loss !== null) {
      this.#relay = newName();
      this.#answeredChange = 0;
      for (const listener of this.#onLost) listener();
    }
    if (before !== null && before !== this.#epoch) onBufferLost(unsettled);
    else if (loss !== null) onLeaseLost(loss);
  }

  #setOutage(outage: string | null): void {
    const wasUp = this.isUp;
    this.#outage = outage;
    this.#report();
    // Nothing was claimable during the outage, and the state after it may be the same as before.
    if (this.isUp && !wasUp) for (const lane of storeLanes) this.cachedState.notify(lane);
  }

  #report(): void {
    const { outage } = this;
    // A script that is rejected repeatedly is reported once.
    if (this.#reported === outage || (outage === null && this.#rejected !== null)) return;
    this.#reported = outage;
    this.#options.onChange(outage === null, outage ?? '');
  }

  #scheduleHeartbeat(): void {
    this.#timer?.cancel();
    if (this.isClosed || this.#heartbeatRunning !== null) return;
    // The interval counts from the last heartbeat, so that appends do not postpone the next one.
    const leftMs = Math.max(0, this.#heartbeatAt + heartbeatMs - this.#options.clock.monotonic());
    const delayMs = Math.min(leftMs, this.cachedState.nextDueMs() ?? Infinity);
    this.#timer = this.#options.clock.setTimer(delayMs, () => void this.heartbeat());
  }

  /** The time stamp of a script (server-time.ts). */
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
