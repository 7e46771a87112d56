import type { RateFeedback, RateWindow } from '../model/limiter.js';

/** As undici and node:http give them: names in lower case. */
export type Headers = Readonly<Record<string, string | readonly string[] | undefined>>;

/**
 * Longer waits than this are not believed: Klaviyo's longest window is 60 s, and a date far ahead
 * is a clock that is wrong.
 */
export const maxWaitMs = 3_600_000;

/**
 * What an answer says about rates. Pure, and lenient: what cannot be read is null or left out.
 *
 * Recorded live on every answer but a 429: `ratelimit-limit: 10, 10;w=1, 150;w=60`,
 * `ratelimit-remaining: 9`, `ratelimit-reset: 0`. It is a list, so `Number()` of it is NaN. On a 429
 * the three vanish and `Retry-After` remains. `now` (epoch ms) is for a Retry-After that is a date.
 */
export function toRateFeedback(headers: Headers, now: number): RateFeedback {
  const announced = (toHeaderText(headers['ratelimit-limit']) ?? '')
    .split(',')
    .map((part) => part.trim());
  const [first = ''] = announced;
  const remaining = toCount(toHeaderText(headers['ratelimit-remaining'])?.split(',')[0]);
  const resetSeconds = toSeconds(toHeaderText(headers['ratelimit-reset'])?.split(',')[0]);
  return {
    windows: announced.map(toWindow).filter((window) => window !== null),
    remaining,
    remainingOf: toCount(first.split(';')[0]),
    resetMs: resetSeconds === null ? null : toWaitMs(resetSeconds),
    retryAfterMs: toRetryAfterMs(headers, now),
  };
}

/** `150;w=60` → 150 per 60 s; a number without its window is none. */
function toWindow(part: string): RateWindow | null {
  const [limitText, ...parameters] = part.split(';');
  const limit = toCount(limitText);
  const seconds = parameters
    .map((parameter) => /^\s*w\s*=\s*(.*)$/i.exec(parameter)?.[1])
    .map(toCount)
    .find((count) => count !== null);
  if (limit === null || limit === 0 || seconds === undefined || seconds === 0) return null;
  return { limit, windowMs: seconds * 1000 };
}

/** Seconds or an HTTP date (RFC 9110, 10.2.3); against the server's own clock where it tells it. */
function toRetryAfterMs(headers: Headers, now: number): number | null {
  const text = toHeaderText(headers['retry-after'])?.trim();
  if (text === undefined) return null;
  const seconds = toSeconds(text);
  if (seconds !== null) return toWaitMs(seconds);
  // Date.parse takes almost anything for a date, "-5" among it; an HTTP date starts with a weekday.
  const at = /^[A-Za-z]{3,9},? /.test(text) ? Date.parse(text) : NaN;
  if (Number.isNaN(at)) return null;
  const serverNow = Date.parse(toHeaderText(headers.date) ?? '');
  return toWaitMs((at - (Number.isNaN(serverNow) ? now : serverNow)) / 1000);
}

function toWaitMs(seconds: number): number {
  return Math.min(maxWaitMs, Math.max(0, Math.ceil(seconds * 1000)));
}

/** A whole number that any limit fits in; null for anything else. */
function toCount(text: string | undefined): number | null {
  const trimmed = text?.trim() ?? '';
  return /^\d{1,9}$/.test(trimmed) ? Number(trimmed) : null;
}

function toSeconds(text: string | undefined): number | null {
  const trimmed = text?.trim() ?? '';
  return /^\d{1,15}(?:\.\d{1,9})?$/.test(trimmed) ? Number(trimmed) : null;
}

/** A header that came several times is one list (RFC 9110, 5.3). */
export function toHeaderText(value: string | readonly string[] | undefined): string | undefined {
  return typeof value === 'string' || value === undefined ? value : value.join(', ');
}
