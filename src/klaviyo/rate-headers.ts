import type { RateFeedback, RateWindow } from '../model/limiter.js';

/** Response headers as undici and node:http give them: the names are in lower case. */
export type Headers = Readonly<Record<string, string | readonly string[] | undefined>>;

/**
 * The longest wait that the relay accepts. Klaviyo's longest window is 60 s, and a date that is far ahead
 * comes from a wrong clock.
 */
export const maxWaitMs = 3_600_000;

/**
 * Reads what a response says about rate limits. Pure. A header that cannot be read is null or left out.
 *
 * Klaviyo sends these with every response but a 429 (recorded live): `ratelimit-limit: 10, 10;w=1, 150;w=60`,
 * `ratelimit-remaining: 9`, `ratelimit-reset: 0`. The limit is a list, so `Number()` of it is NaN. A 429 has
 * only `Retry-After`. `now` (epoch ms) is for a Retry-After that is a date.
 */
export function toRateFeedback(headers: Headers, now: number): RateFeedback {
  const limits = (toHeaderText(headers['ratelimit-limit']) ?? '').split(',');
  const windows: RateWindow[] = [];
  for (const limit of limits) {
    const window = parseRateWindow(limit.trim());
    if (window !== null) windows.push(window);
  }
  const resetSeconds = parseSeconds(toHeaderText(headers['ratelimit-reset'])?.split(',')[0]);
  return {
    windows,
    remaining: parseHeaderNumber(toHeaderText(headers['ratelimit-remaining'])?.split(',')[0]),
    remainingOf: parseHeaderNumber(limits[0]?.split(';')[0]),
    resetMs: resetSeconds === null ? null : toBoundedWaitMs(resetSeconds),
    retryAfterMs: parseRetryAfter(headers, now),
  };
}

/** `150;w=60` means 150 requests per 60 s. A number without `w` is not a window. */
function parseRateWindow(text: string): RateWindow | null {
  const [limitText, ...parameters] = text.split(';');
  const limit = parseHeaderNumber(limitText);
  if (limit === null || limit === 0) return null;
  for (const parameter of parameters) {
    const seconds = parseHeaderNumber(/^\s*w\s*=\s*(.*)$/i.exec(parameter)?.[1]);
    if (seconds !== null) return seconds === 0 ? null : { limit, windowMs: seconds * 1000 };
  }
  return null;
}

/** Seconds, or an HTTP date (RFC 9110, 10.2.3). A date is compared with the server's own `Date` if it has one. */
function parseRetryAfter(headers: Headers, now: number): number | null {
  const text = toHeaderText(headers['retry-after'])?.trim() ?? '';
  const seconds = parseSeconds(text);
  if (seconds !== null) return toBoundedWaitMs(seconds);
  // Date.parse accepts almost anything, even "-5". An HTTP date starts with a weekday.
  const at = /^[A-Za-z]{3,9},? /.test(text) ? Date.parse(text) : NaN;
  if (Number.isNaN(at)) return null;
  const serverNow = Date.parse(toHeaderText(headers.date) ?? '');
  return toBoundedWaitMs((at - (Number.isNaN(serverNow) ? now : serverNow)) / 1000);
}

function toBoundedWaitMs(seconds: number): number {
  return Math.min(maxWaitMs, Math.max(0, Math.ceil(seconds * 1000)));
}

/** Nine digits hold any limit. Returns null for anything else. */
function parseHeaderNumber(text: string | undefined): number | null {
  const trimmed = text?.trim() ?? '';
  return /^\d{1,9}$/.test(trimmed) ? Number(trimmed) : null;
}

function parseSeconds(text: string | undefined): number | null {
  const trimmed = text?.trim() ?? '';
  return /^\d{1,15}(?:\.\d{1,9})?$/.test(trimmed) ? Number(trimmed) : null;
}

/** A header that occurs several times is one list (RFC 9110, 5.3). */
export function toHeaderText(value: string | readonly string[] | undefined): string | undefined {
  return typeof value === 'string' || value === undefined ? value : value.join(', ');
}
