import { wait, type Clock, type Timer } from '../clock.js';
import type { RateFeedback, RateWindow } from '../model/limiter.js';
import {
  UnavailableError,
  type RedisConnection,
  type RedisReply,
  type Script,
} from './connection.js';
import { RecentRequests } from './recent-requests.js';
import { toStamp } from './server-time.js';
import { limiterScripts } from './limiter-scripts.js';
import { Mutex } from './mutex.js';

type Endpoint = 'events' | 'profiles' | 'imports';

/** The limiter of delivery/, by its shape: this edge knows nothing of delivery. */
export type FallbackLimiter = {
  acquire(endpoint: Endpoint, signal: AbortSignal): Promise<Permit | null>;
  pause(endpoint: Endpoint, forMs: number): void;
  tokens(): number;
};
type Permit = { end(feedback: RateFeedback | null): void; cancel(): void };

export type SharedLimiterOptions = {
  readonly connection: RedisConnection;
  readonly clock: Clock;
  /** Begins every name; with a hash tag. */
  readonly key: string;
  /** This relay, unlike any other. */
  readonly relay: string;
  readonly bucket: { readonly perSecond: number; readonly burst: number };
  readonly windows: Readonly<Record<Endpoint, readonly RateWindow[]>>;
  /** Longest time that a request takes: a permit that nobody ended counts as ended then. */
  readonly permitMs: number;
  /** Limits this relay by itself while the server is away. Absent: it sends nothing meanwhile. */
  readonly local?: FallbackLimiter | undefined;
  /** Ms that all relays agree on. Absent: the server's clock. */
  readonly time?: (() => number) | undefined;
  /** Seconds a permit was waited for. */
  readonly onWaited?: (seconds: number) => void;
  /** The server is there and refuses, with the reason; null where it does what it is asked again. */
  readonly onTrouble?: (why: string | null) => void;
};

/** Others may have ended, cancelled or lowered something meanwhile. */
const longestWaitMs = 1000;
/** After a state was lost, relays that live have this long to tell what they sent. */
const reportMs = 2000;
const touchMs = 500;
const insistMs = 200;

/**
 * One bucket, and one set of windows an endpoint, for all relays of an account. What it grants is
 * decided in the server, by the rules of the limiter of one relay; ADR 9 says what happens where the
 * server is away or has lost what it knew.
 */
export class SharedLimiter {
  readonly #options: SharedLimiterOptions;
  readonly #recentRequests: RecentRequests;
  /** One at a time asks for an endpoint, however many wait: the server is not asked once for each. */
  readonly #turns = { events: new Mutex(), profiles: new Mutex(), imports: new Mutex() };
  readonly #setup: readonly (string | number)[];
  readonly #longestWindowMs: number;
  readonly #closing = new AbortController();
  #generation = '';
  #tokens: number;
  #permits = 0;
  /** Monotonic ms when the last script that was answered was sent. */
  #askedAt: number | null = null;
  /** Monotonic ms until when the server was there: it may have granted anything to others by then. */
  #heardAt: number;
  /** It is there and does not do what it is asked: a replica, say, or its memory is full. */
  #trouble: string | null = null;
  /** Ends what is done alone. */
  #together = new AbortController();
  #areOthersAlone = false;
  /** After each absence: what is back may be a replica that lags behind, or know nothing. */
  #isReportDue = true;
  readonly #stopListening: () => void;
  #reporting: Promise<void> | null = null;
  #outbox: Promise<void> = Promise.resolve();
  #untold = 0;
  #timer: Timer | null = null;

  constructor(options: SharedLimiterOptions) {
    const { connection, clock, bucket, windows } = options;
    this.#options = options;
    const sorted = Object.fromEntries(
      Object.entries(windows).map(([endpoint, all]) => [
        endpoint,
        [...all].sort((a, b) => a.windowMs - b.windowMs),
      ]),
    );
    const lengths = Object.values(windows).flatMap((all) => all.map(({ windowMs }) => windowMs));
    this.#longestWindowMs = Math.max(0, ...lengths);
    this.#recentRequests = new RecentRequests({
      ...options,
      longestWindowMs: this.#longestWindowMs,
    });
    this.#setup = [bucket.perSecond, bucket.burst, JSON.stringify(sorted)];
    this.#tokens = bucket.burst;
    this.#heardAt = clock.monotonic();
    this.#stopListening = connection.onChange((isUp) => {
      if (isUp || this.#trouble !== null) this.#noteAbsence();
      this.#heardAt = clock.monotonic();
      this.#isReportDue = true;
      if (isUp) this.#together.abort();
      if (isUp && this.#recentRequests.isAny()) void this.#touch();
    });
  }

  /** Resolves when a request may leave now; null when `signal` aborts first. */
  async acquire(endpoint: Endpoint, signal: AbortSignal): Promise<Permit | null> {
    const { clock, onWaited } = this.#options;
    const from = clock.monotonic();
    const leave = await this.#turns[endpoint].enter(signal);
    try {
      while (!signal.aborted) {
        const permit = this.#isAlone()
          ? await this.#takeAlone(endpoint, signal)
          : await this.#ask(endpoint, signal);
        if (permit === null) continue;
        onWaited?.((clock.monotonic() - from) / 1000);
        return permit;
      }
      return null;
    } finally {
      leave();
    }
  }

  /** All relays pause: what one of them is told holds for the account. */
  pause(endpoint: Endpoint, forMs: number): void {
    this.#options.local?.pause(endpoint, forMs);
    this.#send(limiterScripts.pause, [endpoint, forMs]);
  }

  /** Why the server, which is there, refuses; null where it does not. */
  get trouble(): string | null {
    return this.#trouble;
  }

  /** As of the last answer. */
  tokens(): number {
    return this.#tokens;
  }

  /** Resolves once what ended is told, where the server is there. */
  async close(): Promise<void> {
    this.#closing.abort();
    this.#stopListening();
    this.#timer?.cancel();
    await this.#outbox;
  }

  /** The server has been away so long that nothing it granted to others counts any more. */
  #isAlone(): boolean {
    const { connection, local, clock, permitMs } = this.#options;
    if (local === undefined || (connection.isUp() && this.#trouble === null)) return false;
    // The last one granted elsewhere may arrive that late.
    return clock.monotonic() - this.#heardAt >= permitMs + this.#longestWindowMs;
  }

  /** Where it ends: who finds the server again a moment later is alone a moment longer, and others may be already. */
  #noteAbsence(): void {
    const { local, clock, permitMs } = this.#options;
    const othersMs = clock.monotonic() - this.#heardAt + reportMs;
    this.#areOthersAlone ||= local !== undefined && othersMs >= permitMs + this.#longestWindowMs;
  }

  async #takeAlone(endpoint: Endpoint, signal: AbortSignal): Promise<Permit | null> {
    if (this.#together.signal.aborted) this.#together = new AbortController();
    // Whether it is able again shows only where it is asked.
    this.#arm();
    const any = AbortSignal.any([signal, this.#together.signal]);
    const permit = (await this.#options.local?.acquire(endpoint, any)) ?? null;
    return permit === null ? null : this.#toPermit(endpoint, permit);
  }

  /** Null where it has to be asked again. */
  async #ask(endpoint: Endpoint, signal: AbortSignal): Promise<Permit | null> {
    const { connection, clock, permitMs } = this.#options;
    const name = this.#nextName();
    let isAsked = false;
    try {
      // A pause or an end must not be overtaken by what it forbids.
      if (!(await this.#isAllTold(signal))) return null;
      if (this.#isReportDue) await this.#report();
      isAsked = connection.isUp();
      const args = [endpoint, name, permitMs, this.#generation];
      const [what, waitMs, tokens] = await this.#run(limiterScripts.acquire, args);
      if (String(what) === 'lost') {
        await this.#report();
        return null;
      }
      this.#tokens = Number(tokens);
      if (String(what) === 'granted') return this.#toPermit(endpoint, null, name);
      await wait(clock, Math.min(Number(waitMs), longestWaitMs), signal);
    } catch (error) {
      if (!(error instanceof UnavailableError)) throw error;
      // It may have been granted, and nobody will use it.
      if (isAsked) this.#send(limiterScripts.cancel, [endpoint, name]);
      await wait(clock, insistMs, signal);
    }
    return null;
  }

  async #isAllTold(signal: AbortSignal): Promise<boolean> {
    if (this.#untold === 0) return true;
    const told = new AbortController();
    void this.#outbox.then(() => told.abort());
    await wait(this.#options.clock, insistMs, AbortSignal.any([signal, told.signal]));
    return this.#untold === 0;
  }

  #toPermit(endpoint: Endpoint, alone: Permit | null, name = this.#nextName()): Permit {
    this.#recentRequests.start(name, endpoint);
    this.#arm();
    return {
      end: (feedback) => {
        alone?.end(feedback);
        this.#recentRequests.end(name);
        this.#send(limiterScripts.end, [
          endpoint,
          name,
          feedback === null ? '' : JSON.stringify(feedback),
        ]);
      },
      cancel: () => {
        alone?.cancel();
        this.#recentRequests.cancel(name);
        this.#send(limiterScripts.cancel, [endpoint, name]);
      },
    };
  }

  /** Tells the server what this relay sent of late, and knows its state from then on. */
  #report(): Promise<void> {
    this.#reporting ??= this.#reportOnce().finally(() => (this.#reporting = null));
    return this.#reporting;
  }

  async #reportOnce(): Promise<void> {
    const fresh = `${this.#options.relay}-${this.#nextName()}`;
    if (this.#trouble !== null) this.#noteAbsence();
    // A state that is new may have been lost; and what others sent alone they have to tell first.
    const pauses = [reportMs, this.#areOthersAlone ? reportMs : 0];
    const [generation] = await this.#run(limiterScripts.report, [
      fresh,
      ...pauses,
      ...this.#recentRequests.toReport(),
    ]);
    this.#generation = String(generation);
    this.#areOthersAlone = false;
    this.#isReportDue = false;
  }

  /** In order, and until the server has it; what it never hears of counts as under way for `permitMs`. */
  #send(script: Script, args: readonly (string | number)[]): void {
    const { clock, permitMs } = this.#options;
    const until = clock.monotonic() + permitMs;
    this.#untold++;
    const tell = async (): Promise<void> => {
      while (clock.monotonic() <= until) {
        try {
          await this.#run(script, args);
          return;
        } catch {
          if (this.#closing.signal.aborted) return;
          await wait(clock, insistMs, this.#closing.signal);
        }
      }
    };
    this.#outbox = this.#outbox.then(tell).finally(() => this.#untold--);
  }

  /** While Klaviyo counts requests of this relay, it notices within a moment that the state was lost. */
  #arm(): void {
    if (this.#timer !== null || this.#closing.signal.aborted) return;
    this.#timer = this.#options.clock.setTimer(touchMs, () => {
      this.#timer = null;
      if (this.#recentRequests.isAny() || this.#trouble !== null)
        void this.#touch().finally(() => this.#arm());
    });
  }

  async #touch(): Promise<void> {
    try {
      const [generation] = await this.#run(limiterScripts.readGeneration, []);
      if (this.#isReportDue || String(generation) !== this.#generation) await this.#report();
    } catch {
      // It is away, and is asked again.
    }
  }

  async #run(script: Script, args: readonly (string | number)[]): Promise<readonly RedisReply[]> {
    const { connection, key, time, clock } = this.#options;
    const askedAt = clock.monotonic();
    const elapsedMs = this.#askedAt === null ? null : askedAt - this.#askedAt;
    const stamp = toStamp({ given: time?.(), elapsedMs, wall: null });
    try {
      const reply = await connection.run(script, key, [stamp, ...this.#setup, ...args]);
      this.#askedAt = Math.max(askedAt, this.#askedAt ?? askedAt);
      if (this.#trouble !== null) this.#noteAbsence();
      this.#noteTrouble(null);
      this.#heardAt = clock.monotonic();
      this.#together.abort();
      return Array.isArray(reply) ? (reply as readonly RedisReply[]) : [reply];
    } catch (error) {
      if (error instanceof UnavailableError && connection.isUp()) {
        if (this.#trouble === null) this.#heardAt = clock.monotonic();
        this.#noteTrouble(error.why);
        // What is able again may be another server.
        this.#isReportDue = true;
      }
      throw error;
    }
  }

  #noteTrouble(why: string | null): void {
    if (why === this.#trouble) return;
    this.#trouble = why;
    this.#options.onTrouble?.(why);
  }

  #nextName(): string {
    return `${this.#options.relay}:${++this.#permits}`;
  }
}
