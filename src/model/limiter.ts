import type { RateFeedback } from './rate-window.js';

/** What is limited by itself at Klaviyo: the two bulk endpoints, and looking at import jobs. */
export type Endpoint = 'events' | 'profiles' | 'imports';

/** The right to make one request. Exactly one of `end` and `cancel` is called, once. */
export type Permit = {
  /** The request ended, answered or not. */
  end(feedback: RateFeedback | null): void;
  /** No request was made. */
  cancel(): void;
};

/** Who says when a request may leave. Every request takes a permit, retries and splits included. */
export type Limiter = {
  /** Resolves when a request may leave now; null when `signal` aborts first. */
  acquire(endpoint: Endpoint, signal: AbortSignal): Promise<Permit | null>;
  /** No request to the endpoint leaves for so long; a shorter pause never cuts a longer one. */
  pause(endpoint: Endpoint, forMs: number): void;
  /** Tokens left in the shared bucket. */
  tokens(): number;
};
