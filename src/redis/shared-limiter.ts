import { wait, type Clock, type Timer } from '../clock.js';
import {
  mapEndpoints,
  type Endpoint,
  type Limiter,
  type Permit,
  type RateWindow,
} from '../model/limiter.js';
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

export type SharedLimiterOptions = {
  readonly connection: RedisConnection;
  readonly clock: Clock;
  /** Prefix of every key, with a hash tag. */
  readonly key: string;
  /** Unique name of this relay. */
  readonly relay: string;
  readonly bucket: { readonly perSecond: number; readonly burst: number };
  /** An endpoint without windows has no bound of its own. */
  readonly windows: Readonly<Partial<Record<Endpoint, readonly RateWindow[]>>>;
  /** Longest duration of a request: a permit that no relay ended counts as ended then. */
  readonly permitMs: number;
  /** Limits this relay alone while the server is unavailable. Absent: the relay sends nothing meanwhile. */
  readonly local?: Limiter | undefined;
  /** Ms that replace the server's clock in tests. */
  readonly time?: (() => number) | undefined;
  /** Called with the seconds that a caller waited for its permit. */
  readonly onWaited?: (seconds: number) => void;
  /** Called with the reason when the server rejects commands although it is connected; null when it accepts them again. */
  readonly onOutage?: (why: string | null) => void;
};

/** Bound of one wait: another relay may end, cancel or lower something meanwhile, ms. */
const longestWaitMs = 1000;
/** After a lost state, the relays have this long to report what they sent. */
const reportMs = 2000;
const checkMs = 500;
const retryMs = 200;

/**
 * One token bucket, and one set of rate windows for each endpoint, for all relays of an account. Redis grants the
 * permits by scripts, with the rules of the limiter of one relay. ADR 9 describes what happens while the server
 * is unavailable and after it has lost its state.
 */
export class SharedLimiter {
  readonly #options: SharedLimiterOptions;
  readonly #recentRequests: RecentRequests;
  /** One caller at a time asks the server for a permit of an endpoint, however many wait. */
  readonly #mutexes = mapEndpoints(() => new Mutex());
  readonly #setup: readonly (string | number)[];
  readonly #longestWindowMs: number;
  readonly #closing = new AbortController();
  #generation = '';
  #tokens: number;
  #permits = 0;
  /** Monotonic ms when the last acknowledged script was sent. */
  #acknowledgedAt: number | null = null;
  /** Monotonic ms until when the server was available: it may have granted permits to other relays until then. */
  #availableAt: number;
  /** Why the connected server rejects commands: it is a replica, for example, or its memory is full. */
  #outage: string | null = null;
  /** Aborts waits of the local limiter when the server is available again. */
  #serverIsBack = new AbortController();
  #areOthersAlone = false;
  /** True after each outage: the server may be a replica that lags behind, or may have lost its state. */
  #isReportDue = true;
  readonly #stopListening: () => void;
  #reporting: Promise<void> | null = null;
  #outbox: Promise<void> = Promise.resolve();
  #unsentCount = 0;
  #timer: Timer | null = null;

  constructor(options: SharedLimiterOptions) {
    const { connection, clock, bucket } = options;
    const windows = mapEndpoints((endpoint) => options.windows[endpoint] ?? []);
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
    this.#availableAt = clock.monotonic();
    this.#stopListening = connection.onChange((isUp) => {
      if (isUp || this.#outage !== null) this.#recordOutageEnd();
      this.#availableAt = clock.monotonic();
      this.#isReportDue = true;
      if (isUp) this.#serverIsBack.abort();
      if (isUp && this.#recentRequests.isAny()) void this.#checkGeneration();
    });
  }

  /** Resolves when a request may leave now; null when `signal` aborts first. */
  async acquire(endpoint: Endpoint, signal: AbortSignal): Promise<Permit | null> {
    const { clock, onWaited } = this.#options;
    const from = clock.monotonic();
    const leave = await this.#mutexes[endpoint].enter(signal);
    try {
      while (!signal.aborted) {
        const permit = this.#isAlone()
          ? await this.#acquireAlone(endpoint, signal)
          : await this.#requestPermit(endpoint, signal);
        if (permit === null) continue;
        onWaited?.((clock.monotonic() - from) / 1000);
        return permit;
      }
      return null;
    } finally {
      leave();
    }
  }

  /** Pauses the endpoint for all relays, because a rejection holds for the account. */
  pause(endpoint: Endpoint, forMs: number): void {
    this.#options.local?.pause(endpoint, forMs);
    this.#send(limiterScripts.pause, [endpoint, forMs]);
  }

  /** Why the connected server rejects commands; null while it accepts them. */
  get outage(): string | null {
    return this.#outage;
  }

  /** Tokens as of the last reply. */
  tokens(): number {
    return this.#tokens;
  }

  /** Resolves when the outstanding messages are sent, if the server is available. */
  async close(): Promise<void> {
    this.#closing.abort();
    this.#stopListening();
    this.#timer?.cancel();
    await this.#outbox;
  }

  /** Returns true if the outage has lasted so long that no permit of the server counts at Klaviyo any more. */
  #isAlone(): boolean {
    const { connection, local, clock, permitMs } = this.#options;
    if (local === undefined || (connection.isUp() && this.#outage === null)) return false;
    // The last permit that another relay got may be used that late.
    return clock.monotonic() - this.#availableAt >= permitMs + this.#longestWindowMs;
  }

  /** Records the end of an outage: relays that reconnect later use their local limits a moment longer. */
  #recordOutageEnd(): void {
    const { local, clock, permitMs } = this.#options;
    const othersMs = clock.monotonic() - this.#availableAt + reportMs;
    this.#areOthersAlone ||= local !== undefined && othersMs >= permitMs + this.#longestWindowMs;
  }

  async #acquireAlone(endpoint: Endpoint, signal: AbortSignal): Promise<Permit | null> {
    if (this.#serverIsBack.signal.aborted) this.#serverIsBack = new AbortController();
    // Only a script shows whether the server accepts commands again.
    this.#arm();
    const any = AbortSignal.any([signal, this.#serverIsBack.signal]);
    const permit = (await this.#options.local?.acquire(endpoint, any)) ?? null;
    return permit === null ? null : this.#toPermit(endpoint, permit);
  }

  /** Asks the server for a permit; null if the caller has to ask again. */
  async #requestPermit(endpoint: Endpoint, signal: AbortSignal): Promise<Permit | null> {
    const { connection, clock, permitMs } = this.#options;
    const name = this.#nextName();
    let isAsked = false;
    try {
      // A message about a pause or an end must reach the server before the request for a permit that it affects.
      if (!(await this.#isAllSent(signal))) return null;
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
      // The server may have granted the permit, and no caller will use it.
      if (isAsked) this.#send(limiterScripts.cancel, [endpoint, name]);
      await wait(clock, retryMs, signal);
    }
    return null;
  }

  async #isAllSent(signal: AbortSignal): Promise<boolean> {
    if (this.#unsentCount === 0) return true;
    const sent = new AbortController();
    void this.#outbox.then(() => sent.abort());
    await wait(this.#options.clock, retryMs, AbortSignal.any([signal, sent.signal]));
    return this.#unsentCount === 0;
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

  /** Reports the recent requests of this relay, and reads the generation of the server's state. */
  #report(): Promise<void> {
    this.#reporting ??= this.#reportOnce().finally(() => (this.#reporting = null));
    return this.#reporting;
  }

  async #reportOnce(): Promise<void> {
    const fresh = `${this.#options.relay}-${this.#nextName()}`;
    if (this.#outage !== null) this.#recordOutageEnd();
    // The server may have lost its state; and other relays must report first what they sent alone.
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

  /** Sends messages in order, and repeats each until the server has it. One that never arrives counts as a request in flight for `permitMs`. */
  #send(script: Script, args: readonly (string | number)[]): void {
    const { clock, permitMs } = this.#options;
    const until = clock.monotonic() + permitMs;
    this.#unsentCount++;
    const deliver = async (): Promise<void> => {
      while (clock.monotonic() <= until) {
        try {
          await this.#run(script, args);
          return;
        } catch {
          if (this.#closing.signal.aborted) return;
          await wait(clock, retryMs, this.#closing.signal);
        }
      }
    };
    this.#outbox = this.#outbox.then(deliver).finally(() => this.#unsentCount--);
  }

  /** Checks the generation regularly while Klaviyo counts requests of this relay, to notice a lost state. */
  #arm(): void {
    if (this.#timer !== null || this.#closing.signal.aborted) return;
    this.#timer = this.#options.clock.setTimer(checkMs, () => {
      this.#timer = null;
      if (this.#recentRequests.isAny() || this.#outage !== null)
        void this.#checkGeneration().finally(() => this.#arm());
    });
  }

  async #checkGeneration(): Promise<void> {
    try {
      const [generation] = await this.#run(limiterScripts.readGeneration, []);
      if (this.#isReportDue || String(generation) !== this.#generation) await this.#report();
    } catch {
      // The server is unavailable; the next check comes with the timer.
    }
  }

  async #run(script: Script, args: readonly (string | number)[]): Promise<readonly RedisReply[]> {
    const { connection, key, time, clock } = this.#options;
    const askedAt = clock.monotonic();
    const elapsedMs = this.#acknowledgedAt === null ? null : askedAt - this.#acknowledgedAt;
    const stamp = toStamp({ given: time?.(), elapsedMs, wall: null });
    try {
      const reply = await connection.run(script, key, [stamp, ...this.#setup, ...args]);
      this.#acknowledgedAt = Math.max(askedAt, this.#acknowledgedAt ?? askedAt);
      if (this.#outage !== null) this.#recordOutageEnd();
      this.#setOutage(null);
      this.#availableAt = clock.monotonic();
      this.#serverIsBack.abort();
      return Array.isArray(reply) ? (reply as readonly RedisReply[]) : [reply];
    } catch (error) {
      if (error instanceof UnavailableError && connection.isUp()) {
        if (this.#outage === null) this.#availableAt = clock.monotonic();
        this.#setOutage(error.why);
        // The server that accepts commands again may be another one.
        this.#isReportDue = true;
      }
      throw error;
    }
  }

  #setOutage(why: string | null): void {
    if (why === this.#outage) return;
    this.#outage = why;
    this.#options.onOutage?.(why);
  }

  #nextName(): string {
    return `${this.#options.relay}:${++this.#permits}`;
  }
}
