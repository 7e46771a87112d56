import type { Clock } from '../clock.js';

type Request = {
  readonly endpoint: string;
  /** Monotonic ms. */
  readonly startedAt: number;
  endedAt: number | null;
};

export type RecentRequestsOptions = {
  readonly clock: Clock;
  /** Ms after its end at which a request lies in no window any more. */
  readonly longestWindowMs: number;
  /** Longest duration of a request, ms. */
  readonly permitMs: number;
};

/** The requests that this relay sent recently. It reports them to a server that has lost its state. */
export class RecentRequests {
  readonly #options: RecentRequestsOptions;
  readonly #requests = new Map<string, Request>();

  constructor(options: RecentRequestsOptions) {
    this.#options = options;
  }

  start(permit: string, endpoint: string): void {
    const startedAt = this.#options.clock.monotonic();
    this.#requests.set(permit, { endpoint, startedAt, endedAt: null });
  }

  end(permit: string): void {
    const request = this.#requests.get(permit);
    if (request !== undefined) request.endedAt = this.#options.clock.monotonic();
  }

  cancel(permit: string): void {
    this.#requests.delete(permit);
  }

  /** False if Klaviyo's windows contain none of the requests any more. */
  isAny(): boolean {
    this.#prune();
    return this.#requests.size > 0;
  }

  /** Arguments of limiter-report.lua: endpoint, permit, `flight` or `ended`, ms. */
  toReport(): readonly (string | number)[] {
    this.#prune();
    const now = this.#options.clock.monotonic();
    return [...this.#requests].flatMap(([permit, { endpoint, startedAt, endedAt }]) =>
      endedAt === null
        ? [endpoint, permit, 'flight', startedAt + this.#options.permitMs - now]
        : [endpoint, permit, 'ended', now - endedAt],
    );
  }

  #prune(): void {
    const { clock, longestWindowMs, permitMs } = this.#options;
    const now = clock.monotonic();
    for (const [permit, { startedAt, endedAt }] of this.#requests) {
      if ((endedAt ?? startedAt + permitMs) + longestWindowMs <= now) this.#requests.delete(permit);
    }
  }
}
