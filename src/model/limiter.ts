import { laneTraits, lanes, type Lane } from './lane.js';

/** At most `limit` requests in any `windowMs`. */
export type RateWindow = { readonly limit: number; readonly windowMs: number };

/** The share of an endpoint's only window that may leave at once after an idle time. */
export const burstShare = 1 / 15;

/** What a response of Klaviyo says about its rate limits. */
export type RateFeedback = {
  /** The announced limits. `10, 10;w=1, 150;w=60` means 10 per 1 s and 150 per 60 s. */
  readonly windows: readonly RateWindow[];
  /** Requests left in the window that is closest to its limit; null if the response does not say. */
  readonly remaining: number | null;
  /** The limit of that window. */
  readonly remainingOf: number | null;
  /** Ms until that window starts again. */
  readonly resetMs: number | null;
  /** From `Retry-After` of a 429. */
  readonly retryAfterMs: number | null;
};

/** What Klaviyo limits separately: the endpoint of each lane, and polling the bulk imports of profiles. */
export type Endpoint = Lane | 'imports';

export const endpoints: readonly Endpoint[] = [...lanes, 'imports'];

/**
 * The endpoint that the polls of a lane's jobs count as. Klaviyo counts polls of other jobs than imports
 * apart from the requests of their lane. Here they count together, which is stricter.
 */
export const toPollEndpoint = (lane: Lane): Endpoint =>
  laneTraits[lane].importsProfiles === true ? 'imports' : lane;

/** The further lane that sends to the same endpoint of Klaviyo; null if there is none. */
export const findSharedEndpoint = (lane: Lane): Lane | null =>
  lane !== 'profiles' && laneTraits[lane].importsProfiles === true ? 'profiles' : null;

/** Returns an object with the value of each endpoint. */
export const mapEndpoints = <T>(toValue: (endpoint: Endpoint) => T): Record<Endpoint, T> =>
  Object.fromEntries(endpoints.map((each) => [each, toValue(each)])) as Record<Endpoint, T>;

/** The permission to make one request. The holder calls `end` or `cancel` exactly once. */
export type Permit = {
  /** The request has ended, with or without a response. */
  end(feedback: RateFeedback | null): void;
  /** No request was made. */
  cancel(): void;
};

/** Decides when a request may be sent. Every request needs a permit, retries and split batches included. */
export type Limiter = {
  /** Resolves when a request may be sent now; resolves with null if `signal` aborts first. */
  acquire(endpoint: Endpoint, signal: AbortSignal): Promise<Permit | null>;
  /** Stops requests to the endpoint for this long. A shorter pause does not end a longer one. */
  pause(endpoint: Endpoint, forMs: number): void;
  /** Tokens left in the shared bucket. */
  tokens(): number;
};
