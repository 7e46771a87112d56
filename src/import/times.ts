import { readTime as readSourceTime } from '../sources/time.js';
import { compileTimePattern, toWallTime } from './time-pattern.js';
import type { ReadWallTime, Unit, WallTime } from './time-pattern.js';

/** The value of a field, or why the cell has none. `detail` follows the name of the field. */
export type CellValue =
  | {
      readonly ok: true;
      readonly value: unknown;
      /** For an amount: the ISO 4217 code in its text. */
      readonly currency?: string | undefined;
    }
  | { readonly ok: false; readonly detail: string };

/** Returns a time as ISO 8601 with an offset. */
export type ReadTime = (text: string) => CellValue;

export type TimeOptions = {
  /** `iso`, `epoch`, `epoch-ms` or a pattern. Null means ISO 8601. */
  readonly format: string | null;
  /** IANA name, for times without an offset. Null if not given. */
  readonly timezone: string | null;
};

export type TimeReader =
  | { readonly ok: true; readonly read: ReadTime }
  | {
      readonly ok: false;
      readonly option: '--time-format' | '--timezone';
      readonly detail: string;
    };

const secondsNames = ['epoch', 'epoch-s', 'epoch-seconds', 'unix'];
const millisecondsNames = ['epoch-ms', 'unix-ms'];

export function createTimeReader({ format, timezone }: TimeOptions): TimeReader {
  const wallClock = timezone === null ? null : findWallClock(timezone);
  if (wallClock === undefined) return { ok: false, option: '--timezone', detail: noZone };
  const toIso = (time: WallTime): CellValue => toInstant(time, wallClock);
  if (format === null || format === 'iso') return { ok: true, read: createIsoReader(toIso) };
  if (secondsNames.includes(format)) return { ok: true, read: (text) => readEpoch(text, 1000) };
  if (millisecondsNames.includes(format)) return { ok: true, read: (text) => readEpoch(text, 1) };
  const pattern = compileTimePattern(format);
  if (!pattern.ok) return { ok: false, option: '--time-format', detail: pattern.detail };
  if (!pattern.hasOffset && wallClock === null) {
    const detail =
      'has no offset from UTC (Z): specify the time zone of the times, such as --timezone Europe/Berlin or --timezone UTC';
    return { ok: false, option: '--time-format', detail };
  }
  return { ok: true, read: createPatternReader(format, pattern.read, toIso) };
}

const noZone =
  'must be the IANA name of a time zone, such as Europe/Berlin, or UTC; abbreviations such as EST are ambiguous';

function findWallClock(timezone: string): WallClock | undefined {
  if (!timezone.includes('/') && timezone.toUpperCase() !== 'UTC') return undefined;
  try {
    return createWallClock(timezone);
  } catch (error) {
    if (error instanceof RangeError) return undefined;
    throw error;
  }
}

/** RFC 3339 as the relay accepts it. It is posted unchanged. */
const posted = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?(?:Z|[+-]\d\d:\d\d)$/;
const isoTime =
  /^(\d{4})-(\d\d)-(\d\d)(?:(?:T| +)(\d\d):(\d\d)(?::(\d\d)(?:[.,](\d{1,9}))?)?(?: *(Z|UTC|GMT|[+-]\d\d(?::?\d\d)?))?)?$/i;
const isoUnits = [
  'year',
  'month',
  'day',
  'hour',
  'minute',
  'second',
  'fraction',
  'offset',
] as const;

/** ISO 8601 with the blanks, `UTC` and `+0200` that exports write. */
function createIsoReader(toIso: (time: WallTime) => CellValue): ReadTime {
  return (text) => {
    const match = isoTime.exec(text);
    if (match === null) return readNamed(text) ?? { ok: false, detail: explainUnreadable(text) };
    const given = isoUnits.flatMap((unit, at): [Unit, string][] => {
      const part = match[at + 1];
      return part === undefined ? [] : [[unit, part]];
    });
    const time = toWallTime(new Map(given));
    if (time === null) return { ok: false, detail: 'is not a time that exists' };
    return posted.test(text) ? { ok: true, value: text } : toIso(time);
  };
}

/** RFC 1123 and similar forms: the month by its name, and an offset. */
const namedTime = /[a-z]{3}.*(?:GMT|UTC|Z|[-+]\d\d:?\d\d)(?: *\([^()]*\))?$/i;

function readNamed(text: string): CellValue | null {
  const time = namedTime.test(text) ? readSourceTime(text) : null;
  return time?.kind === 'read' ? toIsoCell(time.at) : null;
}

function createPatternReader(
  format: string,
  read: ReadWallTime,
  toIso: (time: WallTime) => CellValue,
): ReadTime {
  return (text) => {
    const time = read(text);
    return time === null
      ? { ok: false, detail: `is not a time in the format ${format} (--time-format)` }
      : toIso(time);
  };
}

function toInstant({ wallMs, offsetMs, isDate }: WallTime, wallClock: WallClock | null): CellValue {
  if (offsetMs !== null) return toIsoCell(wallMs - offsetMs);
  if (wallClock === null) {
    const detail =
      'has no offset from UTC: specify the time zone, such as --timezone Europe/Berlin or --timezone UTC';
    return { ok: false, detail };
  }
  const { instants, compatible } = wallClock(wallMs);
  // In an overlap, the first of the two instants, as in RFC 5545.
  const [first] = instants;
  if (first !== undefined) return toIsoCell(first);
  // In some time zones a day can begin at one o'clock.
  if (isDate) return toIsoCell(compatible);
  return {
    ok: false,
    detail: 'does not exist in the time zone, because the clock was put forward over it',
  };
}

const toIsoCell = (ms: number): CellValue => ({ ok: true, value: new Date(ms).toISOString() });

const decimal = /^\d{1,16}(?:\.\d{1,9})?$/;
/** Epoch ms of the year 10000, from which on ISO 8601 has another form. */
const endOfTime = 253_402_300_800_000;

function readEpoch(text: string, msPerUnit: 1 | 1000): CellValue {
  if (!decimal.test(text)) return { ok: false, detail: 'is not an epoch number' };
  const ms = Math.round(Number(text) * msPerUnit);
  if (ms < endOfTime) return toIsoCell(ms);
  const detail =
    'is after the year 9999 as seconds: use --time-format epoch-ms if it is milliseconds';
  return { ok: false, detail };
}

const shortDate =
  /^\d{1,2}([/.-])\d{1,2}\1(\d{4}|\d{2})( +\d{1,2}:\d\d(:\d\d)?)?( *[ap]\.?m\.?)?$/i;

/** Suggests what to write instead. The message never repeats the text, which may hold anything. */
function explainUnreadable(text: string): string {
  const [isShort, separator = '', year = '', clock, second, half] = shortDate.exec(text) ?? [];
  if (isShort !== undefined) {
    const hour = half === undefined ? 'HH:mm' : 'hh:mm';
    const time = clock === undefined ? '' : ` ${hour}${second === undefined ? '' : ':ss'}`;
    const end = `${'Y'.repeat(year.length)}${time}${half === undefined ? '' : ' A'}`;
    const [dayFirst, monthFirst] = [
      ['DD', 'MM', end],
      ['MM', 'DD', end],
    ].map((parts) => parts.join(separator));
    return `may begin with the day or the month: use --time-format "${dayFirst ?? ''}" or "${monthFirst ?? ''}"`;
  }
  if (/^\d+(\.\d+)?$/.test(text)) {
    return 'is a number: use --time-format epoch (seconds) or epoch-ms (milliseconds)';
  }
  return 'is not an ISO 8601 time: specify its format with --time-format, such as "DD/MM/YYYY HH:mm"';
}

/**
 * Returns the instants (epoch ms) at which the clocks of a time zone show a time: usually one, none
 * in a gap (clocks go forward), two in an overlap (clocks go back).
 */
export type WallClock = (wallMs: number) => {
  readonly instants: readonly number[];
  /** The instant by the offset before a change: in a gap, the same time after it. */
  readonly compatible: number;
};

const dayMs = 86_400_000;
/** Since 1990 all changes of offset have happened at a quarter of an hour. */
const stepMs = 900_000;
const maxCachedOffsets = 50_000;

/**
 * Throws RangeError if the runtime does not have the zone. `wallMs` is the local time as if it were
 * UTC.
 */
export function createWallClock(timeZone: string): WallClock {
  const format = new Intl.DateTimeFormat('en-US', { timeZone, timeZoneName: 'longOffset' });
  const offsets = new Map<number, number>();
  const findOffset = (at: number): number => {
    const step = Math.floor(at / stepMs);
    const known = offsets.get(step);
    if (known !== undefined) return known;
    if (offsets.size >= maxCachedOffsets) offsets.clear();
    const offset = parseOffset(format.format(at));
    offsets.set(step, offset);
    return offset;
  };
  return (wallMs) => {
    const [before, after] = [findOffset(wallMs - dayMs), findOffset(wallMs + dayMs)];
    const candidates = [...new Set([wallMs - before, wallMs - after])].sort((a, b) => a - b);
    const instants = candidates.filter((at) => at + findOffset(at) === wallMs);
    return { instants, compatible: wallMs - before };
  };
}

/** Parses the offset of `1/31/2026, GMT+05:30`, in ms. */
function parseOffset(text: string): number {
  const [, sign, hours, minutes, seconds = '0'] =
    /GMT([+-])(\d\d):(\d\d)(?::(\d\d))?$/.exec(text) ?? [];
  if (sign === undefined) return 0;
  const ms = (Number(hours) * 3600 + Number(minutes) * 60 + Number(seconds)) * 1000;
  return sign === '-' ? -ms : ms;
}
