import { ExactInteger } from '../json/json.js';

/** Reads times as other systems write them. A text that can mean two times is unreadable. */

export type TimeReading =
  | { readonly kind: 'absent' }
  /** Epoch ms. */
  | { readonly kind: 'read'; readonly at: number }
  | { readonly kind: 'unreadable'; readonly detail: string };

/**
 * Reads a time in one of these forms:
 * - epoch seconds (with decimals) and milliseconds, as a number or as text, distinguished by size
 * - ISO 8601, also with a space for the `T`, without separators, or with slashes (year first)
 * - with an offset `Z`, `+02:00`, `+0200`, `+02`, ` UTC` or ` GMT`; without one the time is in UTC
 * - RFC 1123 and RFC 2822 (`Thu, 01 Jan 2026 12:00:00 GMT`), and the form of `String(date)` in browsers
 */
export function readTime(value: unknown): TimeReading {
  if (value instanceof ExactInteger) return readEpochNumber(Number(value.digits));
  if (typeof value === 'number') return readEpochNumber(value);
  if (typeof value !== 'string') {
    return value === undefined || value === null ? { kind: 'absent' } : unreadableTime;
  }
  const text = value.trim();
  if (text === '') return { kind: 'absent' };
  // No time is longer, and a longer text must not keep the processor busy.
  if (text.length > maxChars) return unreadableTime;
  if (/^-?\d+(?:\.\d+)?$/.test(text) && !basicDate.test(text)) return readEpochNumber(Number(text));
  const at = readIso(text) ?? readNamedMonth(text);
  return at === undefined ? unreadableTime : { kind: 'read', at };
}

const maxChars = 80;

const unreadableTime: TimeReading = { kind: 'unreadable', detail: 'is no time that can be read' };

/** Epoch seconds of 1973 to 5138 are below this number; epoch milliseconds from 1973 on are above it. */
const secondsBelow = 1e11;
const earliestSeconds = 1e8;
const latestMs = 8.64e15;

function readEpochNumber(value: number): TimeReading {
  if (value >= earliestSeconds && value < secondsBelow) {
    return { kind: 'read', at: Math.round(value * 1000) };
  }
  const isMs = value >= secondsBelow && value < latestMs / 60;
  return isMs ? { kind: 'read', at: Math.round(value) } : unreadableTime;
}

const basicDate = /^(?:19|20)\d{2}(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01])$/;

const clock = String.raw`(\d{2}):?(\d{2})(?::?(\d{2})(?:[.,](\d{1,9}))?)?`;
const zone = String.raw`\s*(Z|UTC|GMT|UT|(?:UTC|GMT)?\s*[-+]\d{2}(?::?\d{2})?)?(?:\s+UTC)?`;
/** Year, month and day are separated by dashes, slashes or nothing, the same in both places. */
const iso = new RegExp(
  String.raw`^(\d{4})([-/]?)(\d{2})\2(\d{2})(?:(?:T|\s+)${clock}${zone})?$`,
  'i',
);

function readIso(text: string): number | undefined {
  const match = iso.exec(text);
  if (match === null) return undefined;
  const [, year, , month, day, hours, minutes, seconds, fraction, offset] = match;
  return computeEpochMs(
    { year, month: Number(month), day, hours, minutes, seconds, fraction },
    offset,
  );
}

const months = 'jan feb mar apr may jun jul aug sep oct nov dec'.split(' ');
const month = `(${months.join('|')})[a-z]*`;
const weekday = String.raw`(?:(?:mon|tue|wed|thu|fri|sat|sun)[a-z]*,?\s+)?`;
/** Zone names that RFC 2822 defines, in minutes. */
const zoneNames: Readonly<Record<string, number>> = {
  est: -300,
  edt: -240,
  cst: -360,
  cdt: -300,
  mst: -420,
  mdt: -360,
  pst: -480,
  pdt: -420,
};
const named = String.raw`\s*(Z|UTC|GMT|UT|[ECMP][SD]T|(?:UTC|GMT)?\s*[-+]\d{2}(?::?\d{2})?)?(?:\s*\([^()]*\))?`;
/** `Thu, 01 Jan 2026 12:00:00 GMT`. */
const dayFirst = new RegExp(
  String.raw`^${weekday}(\d{1,2})[ -]${month}[ -](\d{4})\s+${clock}${named}$`,
  'i',
);
/** `Thu Jan 01 2026 12:00:00 GMT+0000 (Coordinated Universal Time)`. */
const monthFirst = new RegExp(
  String.raw`^${weekday}${month}\s+(\d{1,2}),?\s+(\d{4})\s+${clock}${named}$`,
  'i',
);

function readNamedMonth(text: string): number | undefined {
  const isDayFirst = dayFirst.exec(text);
  const match = isDayFirst ?? monthFirst.exec(text);
  if (match === null) return undefined;
  const [, one = '', other = '', year, hours, minutes, seconds, fraction, offset] = match;
  const [day, name] = isDayFirst === null ? [other, one] : [one, other];
  const index = months.indexOf(name.slice(0, 3).toLowerCase());
  return computeEpochMs({ year, month: index + 1, day, hours, minutes, seconds, fraction }, offset);
}

type TimeFields = {
  readonly year: string | undefined;
  /** From 1. */
  readonly month: number;
  readonly day: string | undefined;
  readonly hours: string | undefined;
  readonly minutes: string | undefined;
  readonly seconds: string | undefined;
  readonly fraction: string | undefined;
};

/** Undefined if the calendar has no such day, or the clock no such time. */
function computeEpochMs(fields: TimeFields, offset: string | undefined): number | undefined {
  const { month: monthNumber, fraction = '' } = fields;
  const [year, day] = [Number(fields.year), Number(fields.day)];
  const [hours, minutes] = [Number(fields.hours ?? 0), Number(fields.minutes ?? 0)];
  // A leap second becomes the second before it: JavaScript and Klaviyo have no leap seconds.
  const seconds = Math.min(Number(fields.seconds ?? 0), fields.seconds === '60' ? 59 : 99);
  const ms = Math.floor(Number(`0.${fraction || '0'}`) * 1000);
  const offsetMinutes = parseOffsetMinutes(offset);
  const isClock = hours < 24 && minutes < 60 && seconds < 60;
  if (!isClock || offsetMinutes === undefined) return undefined;
  const date = new Date(Date.UTC(year, monthNumber - 1, day, hours, minutes, seconds, ms));
  const isCalendar = date.getUTCMonth() === monthNumber - 1 && date.getUTCDate() === day;
  return isCalendar ? date.getTime() - offsetMinutes * 60_000 : undefined;
}

/** The offset in minutes. Undefined if it is not valid: no time zone is more than 14 hours from UTC. */
function parseOffsetMinutes(offset = 'Z'): number | undefined {
  const name = zoneNames[offset.toLowerCase()];
  if (name !== undefined) return name;
  const [, sign, hours, minutes = '0'] = /([-+])(\d{2}):?(\d{2})?$/.exec(offset) ?? [];
  if (sign === undefined) return 0;
  const total = Number(hours) * 60 + Number(minutes);
  if (total > 14 * 60 || Number(minutes) > 59) return undefined;
  return sign === '-' ? -total : total;
}
