import type { Clock } from '../clock.js';

type Request = {
  readonly endpoint: string;
  /** Monotonic ms. */
  readonly startedAt: number;
  endedAt: number | null;
};

export type RecentRequestsOptions = {
  readonly clock: Clock;
  /** After which a request is in no window any more, ms. */
  readonly longestWindowMs: number;
  /** Longest time that a request takes, ms. */
  readonly permitMs: number;
};

/** What this relay sent of late: it can tell a server that lost its state. */
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

  /** False where Klaviyo counts none of them any more. */
  isAny(): boolean {
    this.#prune();
    return this.#requests.size > 0;
  }

  /** For the report script: endpoint, permit, `flight` or `ended`, ms. */
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
