import { setMaxListeners } from 'node:events';
import { wait, type Clock, type Timer } from '../../clock.js';
import { UnavailableError, type Link, type Reply, type Script } from '../../redis/link.js';
import { leaveScript, lookScript } from './look-script.js';
import { Mirror } from './mirror.js';
import { toList, toText, toView } from './view.js';

export type SessionOptions = {
  readonly link: Link;
  readonly clock: Clock;
  /** Prefix of every name, with a hash tag. */
  readonly prefix: string;
  /** This relay, until it ends. */
  readonly relay: string;
  /** A relay that is not heard of for so long is taken to be dead, and others go on with what it held. */
  readonly leaseMs: number;
  /** The epoch of a buffer that is new. */
  readonly newEpoch: () => string;
  /** Ms that all relays agree on. Absent: the server's clock. */
  readonly time?: (() => number) | undefined;
  /** Others ran out of their lease, and what they held was given back. */
  readonly onTakenOver: (relays: number) => void;
  /** This relay was not heard of for longer than its lease, and others may have what it holds. */
  readonly onLeaseLost: () => void;
  /** Told at each change, with the reason where it is down. */
  readonly onChange: (isUp: boolean, why: string) => void;
  readonly onFault: (error: unknown) => void;
};

/** A look brings in what others did. */
const lookMs = 100;
const insistMs = 200;

/** This relay's standing with the server: its lease, whether the server takes anything, and the mirror. */
export class Session {
  readonly mirror: Mirror;
  readonly #options: SessionOptions;
  readonly #closing = new AbortController();
  readonly #stopListening: () => void;
  #timer: Timer | null = null;
  #looking: Promise<void> | null = null;
  #isKnown = false;
  /** Monotonic ms when the last look was asked for that was answered. */
  #renewedAt = -Infinity;
  #trouble: string | null = 'it was not reached yet';
  readonly #onLook = new Set<() => void>();
  readonly #onLost = new Set<() => void>();

  constructor(options: SessionOptions) {
    this.#options = options;
    this.mirror = new Mirror(options.clock);
    // Everything that waits for the server to be back listens to the end: many listeners are no leak.
    setMaxListeners(0, this.#closing.signal);
    this.#stopListening = options.link.onChange((isUp) => {
      if (isUp) void this.look();
      else this.#note('it is not connected');
    });
    this.mirror.onWaiting(() => this.#arm());
  }

  /** True while the server takes what is written. */
  get isUp(): boolean {
    return this.#trouble === null;
  }

  get isClosed(): boolean {
    return this.#closing.signal.aborted;
  }

  /** False where others may have taken this relay for dead by now. */
  hasLease(): boolean {
    const { clock, leaseMs } = this.#options;
    return clock.monotonic() - this.#renewedAt < leaseMs;
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
    const reply = toList(await this.read(script, [this.#now(), ...args]));
    this.mirror.take(toView(reply.at(-1)), askedAt);
    return reply;
  }

  /** Runs a script that changes nothing of the view. */
  async read(script: Script, args: readonly (string | number | Uint8Array)[]): Promise<Reply> {
    const { link, prefix } = this.#options;
    try {
      return await link.run(script, prefix, args);
    } catch (error) {
      if (error instanceof Error && error.message.startsWith('NOEPOCH')) {
        // The buffer was lost, and is begun anew by a look.
        this.#note('the buffer is gone');
        void this.look();
        throw new UnavailableError('the buffer is gone', error);
      }
      if (error instanceof UnavailableError) this.#note(error.message);
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
    this.#timer?.cancel();
    await this.#looking;
    // What it holds is free at once, not only when its lease ends.
    await this.run(leaveScript, [this.#options.relay]).catch(() => undefined);
  }

  async #look(): Promise<void> {
    if (this.isClosed || !this.#options.link.isUp()) return;
    const { relay, leaseMs, newEpoch, onTakenOver, onLeaseLost, onFault } = this.#options;
    const askedAt = this.#options.clock.monotonic();
    try {
      const [trouble, wasUnknown, gone] = await this.run(lookScript, [relay, leaseMs, newEpoch()]);
      this.#renewedAt = askedAt;
      this.#note(toText(trouble) === '' ? null : toText(trouble));
      if (this.#isKnown && Number(wasUnknown) === 1) {
        for (const listener of this.#onLost) listener();
        onLeaseLost();
      }
      this.#isKnown = true;
      const { length } = toList(gone);
      if (length > 0) onTakenOver(length);
      for (const listener of this.#onLook) listener();
    } catch (error) {
      if (!(error instanceof UnavailableError)) onFault(error);
    }
  }

  #note(trouble: string | null): void {
    const wasUp = this.isUp;
    this.#trouble = trouble;
    if (wasUp !== this.isUp) this.#options.onChange(this.isUp, trouble ?? '');
  }

  #arm(): void {
    this.#timer?.cancel();
    if (this.isClosed || this.#looking !== null) return;
    const delayMs = Math.min(lookMs, this.mirror.nextDueMs() ?? Infinity);
    this.#timer = this.#options.clock.setTimer(delayMs, () => void this.look());
  }

  #now(): string {
    const { time } = this.#options;
    return time === undefined ? '' : String(Math.round(time()));
  }
}
