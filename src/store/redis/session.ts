import { setMaxListeners } from 'node:events';
import { wait, type Clock, type Timer } from '../../clock.js';
import { lanes } from '../../envelope.js';
import { toStamp } from '../../redis/server-time.js';
import {
  isUnable,
  ScriptError,
  UnavailableError,
  type Link,
  type Reply,
  type Script,
} from '../../redis/link.js';
import { leaveScript, lookScript } from './look-script.js';
import { Mirror } from './mirror.js';
import { toList, toText, toView } from './view.js';

export type SessionOptions = {
  readonly link: Link;
  readonly clock: Clock;
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
  /** This relay was not heard of for longer than its lease, and others may have what it holds. */
  readonly onLeaseLost: () => void;
  /** The buffer is another one than before, empty: so many envelopes were not settled. */
  readonly onBufferLost: (envelopes: number) => void;
  /** Called at each change, with the reason where it is down, and with each new reason. */
  readonly onChange: (isUp: boolean, why: string) => void;
  /** The server is used for the first time since it was connected to. */
  readonly onVerified: () => void;
  /** What lies under the prefix was begun with a key that is not known to be of the same account. Called again while that is so. */
  readonly onForeign: () => void;
  readonly onFault: (error: unknown) => void;
};

/** A look brings in what others did. */
const lookMs = 100;
const insistMs = 200;
/** A script that the server refuses, though it answers looks, is not tried again before. */
const refusedMs = 1000;
/** Whether the account is the same may be known later. */
const foreignMs = 60_000;
/** After so long without another refusal it counts as over. */
const refusalEndsMs = 10_000;

const unreached = 'it was not reached yet';
const foreign =
  'what lies under REDIS_KEY_PREFIX is of another Klaviyo account, or was begun with another key of it';

/** This relay's standing with the server: its lease, whether the server takes anything, and the mirror. */
export class Session {
  readonly mirror: Mirror;
  readonly #options: SessionOptions;
  readonly #closing = new AbortController();
  readonly #stopListening: () => void;
  readonly #stopFailures: () => void;
  #timer: Timer | null = null;
  #looking: Promise<void> | null = null;
  #relay: string;
  /** False until the server has answered a look under the present name of this relay. */
  #isRegistered = false;
  /** Monotonic ms when the last look was asked for that was answered. */
  #renewedAt = -Infinity;
  /** Monotonic ms since when looks were answered without a gap in which others could not renew their leases either. */
  #seenSince = -Infinity;
  /** Monotonic ms when the last look began. */
  #lookedAt = -Infinity;
  #trouble: string | null = unreached;
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
    this.mirror = new Mirror(options.clock);
    // Everything that waits for the server to be back listens to the end: many listeners are no leak.
    setMaxListeners(0, this.#closing.signal);
    this.#stopListening = options.link.onChange((isUp) => {
      this.#isVerified = false;
      if (isUp) void this.look();
    });
    this.#stopFailures = options.link.onFailure(({ why }) => this.#note(why));
    this.mirror.onWaiting(() => this.#arm());
  }

  /** The name that this relay's claims are made under. */
  get relay(): string {
    return this.#relay;
  }

  /** True while the server takes what is written. */
  get isUp(): boolean {
    return this.#trouble === null;
  }

  /** Why it takes nothing; null while it does. */
  get trouble(): string | null {
    return this.#trouble;
  }

  /** True where what lies under the prefix is not known to be of this account. */
  get isForeign(): boolean {
    return this.#trouble === foreign;
  }

  get isClosed(): boolean {
    return this.#closing.signal.aborted;
  }

  /** False where others may have taken this relay for dead by now. */
  hasLease(): boolean {
    const { clock, leaseMs } = this.#options;
    return this.#isRegistered && clock.monotonic() - this.#renewedAt < leaseMs;
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
  async run(
    script: Script,
    args: readonly (string | number | Uint8Array)[],
  ): Promise<readonly Reply[]> {
    const askedAt = this.#options.clock.monotonic();
    const reply = toList(await this.read(script, [this.#toStamp(), ...args]));
    this.mirror.take(toView(reply.at(-1)), askedAt);
    return reply;
  }

  /** Runs a script that changes nothing of the view. */
  async read(script: Script, args: readonly (string | number | Uint8Array)[]): Promise<Reply> {
    const { link, prefix } = this.#options;
    if (!this.#isVerified && script !== lookScript) {
      throw new UnavailableError(this.#trouble ?? 'it was not asked yet');
    }
    try {
      const reply = await link.run(script, prefix, args);
      if (this.#refused?.script === script.name) this.#refused = null;
      return reply;
    } catch (error) {
      if (error instanceof ScriptError && error.code === 'RELAY_NOEPOCH') {
        // The buffer was lost, and is begun anew by a look.
        this.#note('the buffer is gone');
        void this.look();
        throw new UnavailableError('the buffer is gone');
      }
      if (error instanceof UnavailableError) {
        // A look may be let through where others are not, and must not make them try at once.
        if (error.reply !== null && !isUnable(error.reply) && script !== lookScript)
          this.#refused = { script: script.name, at: this.#options.clock.monotonic() };
        this.#note(error.why);
      }
      throw error;
    }
  }

  /** Runs a script until the server has taken it. Rejects once this is closed. */
  async insist(
    script: Script,
    args: readonly (string | number | Uint8Array)[],
  ): Promise<readonly Reply[]> {
    for (;;) {
      try {
        return await this.run(script, args);
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
    await this.run(leaveScript, [this.#relay]).catch(() => undefined);
  }

  async #look(): Promise<void> {
    if (this.isClosed) return;
    this.#lookedAt = this.#options.clock.monotonic();
    const failure = this.#options.link.failure();
    if (failure !== null) {
      this.#note(failure.why);
      return;
    }
    const { clock, leaseMs, newEpoch, accountKey } = this.#options;
    const askedAt = clock.monotonic();
    const unsettled = lanes.reduce((sum, lane) => sum + this.mirror.depth(lane).count, 0);
    // Where nobody could renew a lease for a while, all of them have run out.
    if (askedAt - this.#renewedAt > leaseMs / 2) this.#seenSince = askedAt;
    try {
      const mayTakeOver = askedAt - this.#seenSince >= leaseMs ? 1 : 0;
      const isNew = this.#isRegistered ? 0 : 1;
      const args = [this.#relay, leaseMs, newEpoch(), accountKey, mayTakeOver, isNew];
      const [trouble, wasUnknown, gone] = await this.run(lookScript, args);
      this.#renewedAt = askedAt;
      this.#noteLook(toText(trouble) === '' ? null : toText(trouble));
      this.#noteHolder(Number(wasUnknown) === 1, unsettled);
      if (!this.#isRegistered) {
        await this.#look();
        return;
      }
      const { length } = toList(gone);
      if (length > 0) this.#options.onTakenOver(length);
      for (const listener of this.#onLook) listener();
    } catch (error) {
      this.#noteFailedLook(error);
    }
  }

  #noteFailedLook(error: unknown): void {
    const { onFault, onForeign } = this.#options;
    if (error instanceof ScriptError && error.code === 'RELAY_ACCOUNT') {
      this.#isVerified = false;
      const isDue = !this.isForeign || this.#lookedAt - this.#foreignAt >= foreignMs;
      this.#note(foreign);
      if (!isDue) return;
      this.#foreignAt = this.#lookedAt;
      onForeign();
    } else if (!(error instanceof UnavailableError)) onFault(error);
  }

  #noteLook(trouble: string | null): void {
    const now = this.#options.clock.monotonic();
    if (this.#refused !== null && now - this.#refused.at >= refusalEndsMs) this.#refused = null;
    const isRefused = this.#refused !== null && now - this.#refused.at < refusedMs;
    if (trouble !== null || !isRefused) this.#note(trouble);
    if (this.#isVerified) return;
    this.#isVerified = true;
    this.#options.onVerified();
  }

  /** Whether this relay and its buffer are still what they were at the look before. */
  #noteHolder(isLost: boolean, unsettled: number): void {
    const { onBufferLost, onLeaseLost, newName } = this.#options;
    const before = this.#epoch;
    this.#epoch = this.mirror.view?.epoch ?? null;
    this.#isRegistered = !isLost;
    if (isLost) {
      this.#relay = newName();
      for (const listener of this.#onLost) listener();
    }
    if (before !== null && before !== this.#epoch) onBufferLost(unsettled);
    else if (isLost) onLeaseLost();
  }

  #note(trouble: string | null): void {
    this.#trouble = trouble;
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

  #toStamp(): string {
    const { time, clock } = this.#options;
    const elapsedMs = clock.monotonic() - this.#renewedAt;
    return toStamp({
      given: time?.(),
      elapsedMs: elapsedMs === Infinity ? null : elapsedMs,
      wall: clock.now(),
    });
  }
}
