/** What Klaviyo's answer said about its rate limits. */
export type RateFeedback = {
  /** Limits Klaviyo announced, e.g. `10, 10;w=1, 150;w=60` → 10 per 1 s and 150 per 60 s. */
  readonly windows: readonly RateWindow[];
  /** What is left of the window that is nearest to its limit (the first number of the list), and that number. */
  readonly remaining: number | null;
  readonly remainingOf: number | null;
  /** Ms until that window starts anew. */
  readonly resetMs: number | null;
  /** From Retry-After on a 429. */
  readonly retryAfterMs: number | null;
};

/** At most `limit` requests in any `windowMs`. */
export type RateWindow = { readonly limit: number; readonly windowMs: number };
