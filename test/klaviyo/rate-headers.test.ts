import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { toRateFeedback } from '../../src/klaviyo/rate-headers.js';

const now = Date.UTC(2026, 10, 1, 12);
const toWaitMs = (retryAfter: string, headers: Record<string, string> = {}) =>
  toRateFeedback({ 'retry-after': retryAfter, ...headers }, now).retryAfterMs;

describe('the rate headers', () => {
  it('are read as Klaviyo sends them', () => {
    const headers = {
      'ratelimit-limit': '10, 10;w=1, 150;w=60',
      'ratelimit-remaining': '9',
      'ratelimit-reset': '0',
    };
    expect(toRateFeedback(headers, now)).toEqual({
      windows: [
        { limit: 10, windowMs: 1000 },
        { limit: 150, windowMs: 60_000 },
      ],
      remaining: 9,
      remainingOf: 10,
      resetMs: 0,
      retryAfterMs: null,
    });
  });

  it('give no feedback if they are absent', () => {
    expect(toRateFeedback({}, now)).toEqual({
      windows: [],
      remaining: null,
      remainingOf: null,
      resetMs: null,
      retryAfterMs: null,
    });
  });

  it('are one list if they occur several times', () => {
    const headers = { 'ratelimit-limit': ['150', '10;w=1', '150;w=60'] };
    expect(toRateFeedback(headers, now)).toMatchObject({
      remainingOf: 150,
      windows: [{ limit: 10 }, { limit: 150 }],
    });
  });

  it.each<[string, { remainingOf: number | null; windows: number }]>([
    ['75', { remainingOf: 75, windows: 0 }],
    ['75;w=1', { remainingOf: 75, windows: 1 }],
    ['10;comment="x";w=1', { remainingOf: 10, windows: 1 }],
    ['many', { remainingOf: null, windows: 0 }],
    ['10;w=0', { remainingOf: 10, windows: 0 }],
    [';w=1', { remainingOf: null, windows: 0 }],
    ['0;w=1', { remainingOf: 0, windows: 0 }],
    ['99999999999999999999', { remainingOf: null, windows: 0 }],
    [',,,', { remainingOf: null, windows: 0 }],
  ])('are read as far as they are valid: %s', (text, { remainingOf, windows }) => {
    const feedback = toRateFeedback({ 'ratelimit-limit': text }, now);
    expect(feedback.remainingOf).toBe(remainingOf);
    expect(feedback.windows).toHaveLength(windows);
  });

  it('have a window although another parameter comes before its length', () => {
    const { windows } = toRateFeedback({ 'ratelimit-limit': '10;comment="x";w=1' }, now);
    expect(windows).toEqual([{ limit: 10, windowMs: 1000 }]);
  });
});

describe('Retry-After', () => {
  it.each([
    ['1', 1000],
    ['0', 0],
    [' 37 ', 37_000],
    ['1.5', 1500],
    ['1.0001', 1001],
    ['86400', 3_600_000],
    ['999999999999999', 3_600_000],
    ['-5', null],
    ['soon', null],
    ['', null],
    ['NaN', null],
  ])('of "%s" requests a wait of %s ms, at most one hour', (text, waitMs) => {
    expect(toWaitMs(text)).toBe(waitMs);
  });

  it('may be a date', () => {
    expect(toWaitMs('Sun, 01 Nov 2026 12:00:30 GMT')).toBe(30_000);
  });

  it('is no wait if it is a date in the past', () => {
    expect(toWaitMs('Sun, 01 Nov 2026 11:59:30 GMT')).toBe(0);
  });

  it("is compared with the server's Date header if it is a date", () => {
    const date = 'Sun, 01 Nov 2026 12:00:20 GMT';
    expect(toWaitMs('Sun, 01 Nov 2026 12:00:30 GMT', { date })).toBe(10_000);
  });
});

it('toRateFeedback never has a number that is NaN, negative or infinite, whatever the headers are', () => {
  const text = fc.oneof(fc.string(), fc.stringMatching(/^[\d,;w= .-]{0,30}$/));
  const value = fc.oneof(text, fc.array(text, { maxLength: 3 }), fc.constant(undefined));
  const names = [
    'ratelimit-limit',
    'ratelimit-remaining',
    'ratelimit-reset',
    'retry-after',
    'date',
  ];
  const headers = fc.record(Object.fromEntries(names.map((name) => [name, value])));
  fc.assert(
    fc.property(headers, (given) => {
      const { windows, ...numbers } = toRateFeedback(given, now);
      const all = [
        ...Object.values(numbers).filter((number) => number !== null),
        ...windows.flatMap(({ limit, windowMs }) => [limit, windowMs]),
      ];
      return all.every((number) => Number.isFinite(number) && number >= 0);
    }),
  );
});
