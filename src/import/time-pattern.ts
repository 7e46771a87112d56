/** A local time, as a text states it. */
export type WallTime = {
  /** The local time as if it were UTC. */
  readonly wallMs: number;
  /** Null if the text has no offset. */
  readonly offsetMs: number | null;
  /** True if the text has no time of day. */
  readonly isDate: boolean;
};

/**
 * Returns null if the text does not have this form, or names a day or an hour that does not exist.
 */
export type ReadWallTime = (text: string) => WallTime | null;

export type Pattern =
  | { readonly ok: true; readonly read: ReadWallTime; readonly hasOffset: boolean }
  | { readonly ok: false; readonly detail: string };

const units = [
  'year',
  'month',
  'day',
  'hour',
  'minute',
  'second',
  'fraction',
  'half',
  'offset',
] as const;
export type Unit = (typeof units)[number];

type Token = {
  readonly unit: Unit;
  readonly source: string;
  /**
   * Used instead of `source` next to other digits, where nothing else marks the end of the number.
   */
  readonly crowded?: string;
};

const months = [
  ['january', 'jan'],
  ['february', 'feb'],
  ['march', 'mar'],
  ['april', 'apr'],
  ['may'],
  ['june', 'jun'],
  ['july', 'jul'],
  ['august', 'aug'],
  ['september', 'sep', 'sept'],
  ['october', 'oct'],
  ['november', 'nov'],
  ['december', 'dec'],
];
const monthNames = months
  .flat()
  .sort((a, b) => b.length - a.length)
  .join('|');

const oneOrTwo = { source: '\\d{1,2}', crowded: '\\d{2}' };
const fraction = { unit: 'fraction', source: '\\d{1,9}' } as const;
const half = { unit: 'half', source: '[ap]\\.?m\\.?' } as const;
const monthName = { unit: 'month', source: monthNames } as const;

const tokens = new Map<string, Token>([
  ['YYYY', { unit: 'year', source: '\\d{4}' }],
  ['YY', { unit: 'year', source: '\\d{2}' }],
  ['MMMM', monthName],
  ['MMM', monthName],
  ['MM', { unit: 'month', ...oneOrTwo }],
  ['M', { unit: 'month', ...oneOrTwo }],
  ['DD', { unit: 'day', ...oneOrTwo }],
  ['D', { unit: 'day', ...oneOrTwo }],
  ['HH', { unit: 'hour', ...oneOrTwo }],
  ['H', { unit: 'hour', ...oneOrTwo }],
  ['hh', { unit: 'hour', ...oneOrTwo }],
  ['h', { unit: 'hour', ...oneOrTwo }],
  ['mm', { unit: 'minute', source: '\\d{2}' }],
  ['ss', { unit: 'second', source: '\\d{2}' }],
  ['S', fraction],
  ['SSS', fraction],
  ['SSSSSS', fraction],
  ['A', half],
  ['a', half],
  ['Z', { unit: 'offset', source: 'z|utc|gmt|[+-]\\d{2}(?::?\\d{2})?' }],
]);

export const tokenNames = [...tokens.keys()].join(' ');

/** Text in brackets, a run of one letter, blanks, or one other character. */
const pieces = /\[([^\]]*)\]|([A-Za-z])\2*|\s+|[^A-Za-z\s]/g;

/**
 * Compiles a pattern with the tokens of Moment and Day.js. Everything else must occur in the text
 * as in the pattern, except for the number of blanks. A number may lack its leading zero. Names of
 * months are English.
 */
export function compileTimePattern(pattern: string): Pattern {
  const found: { readonly name: string; readonly unit: Unit }[] = [];
  const matches = [...pattern.matchAll(pieces)];
  let source = '';
  for (const [at, [piece, quoted]] of matches.entries()) {
    const token = quoted === undefined ? tokens.get(piece) : undefined;
    if (token === undefined) {
      if (quoted === undefined && /^[A-SU-Za-z]/.test(piece)) {
        return createInvalidPattern(
          `has ${piece}, which is not one of ${tokenNames}; put other letters in [brackets]`,
        );
      }
      source += toLiteral(quoted ?? piece);
      continue;
    }
    const isCrowded = isDigits(matches[at - 1]?.[0]) || isDigits(matches[at + 1]?.[0]);
    source += `(${(isCrowded ? token.crowded : undefined) ?? token.source})`;
    found.push({ name: piece, unit: token.unit });
  }
  const detail = findContradiction(
    found.map(({ name }) => name),
    found.map(({ unit }) => unit),
  );
  if (detail !== null) return createInvalidPattern(detail);
  const whole = new RegExp(`^${source}$`, 'i');
  return {
    ok: true,
    hasOffset: found.some(({ unit }) => unit === 'offset'),
    read(text) {
      const match = whole.exec(text);
      if (match === null) return null;
      return toWallTime(new Map(found.map(({ unit }, at) => [unit, match[at + 1] ?? ''])));
    },
  };
}

function toLiteral(text: string): string {
  return text.replace(/[\\^$.*+?()[\]{}|]/g, '\\$&').replace(/\s+/g, '\\s+');
}

const createInvalidPattern = (detail: string): Pattern => ({ ok: false, detail });

function isDigits(piece: string | undefined): boolean {
  return piece !== undefined && tokens.get(piece)?.source.startsWith('\\d') === true;
}

function findContradiction(names: readonly string[], found: readonly Unit[]): string | null {
  const twice = units.find((unit) => found.filter((each) => each === unit).length > 1);
  if (twice !== undefined) return `has two parts for the ${twice}`;
  const has = (unit: Unit): boolean => found.includes(unit);
  const isHalf = names.includes('hh') || names.includes('h');
  const rules: readonly (readonly [isBroken: boolean, detail: string])[] = [
    [!has('year'), 'has no year (YYYY)'],
    [!has('month'), 'has no month (MM; mm is the minute)'],
    [!has('day'), 'has no day (DD)'],
    [isHalf && !has('half'), 'has the hour of half a day (hh) without AM or PM (A)'],
    [!isHalf && has('half'), 'has AM or PM (A) without the hour of half a day (hh)'],
    [!has('hour') && (has('minute') || has('offset')), 'has no hour (HH)'],
    [!has('minute') && has('second'), 'has a second without a minute (mm)'],
    [!has('second') && has('fraction'), 'has a fraction without a second (ss)'],
  ];
  return rules.find(([isBroken]) => isBroken)?.[1] ?? null;
}

/** Converts the texts of the units. Those of a date are always present. */
export function toWallTime(texts: ReadonlyMap<Unit, string>): WallTime | null {
  const toNumber = (unit: Unit): number => Number(texts.get(unit) ?? 0);
  const hour = toHour(toNumber('hour'), texts.get('half'));
  const offsetMs = toOffset(texts.get('offset'));
  if (hour === null || offsetMs === undefined) return null;
  const wallMs = toWallMs({
    year: toYear(texts.get('year') ?? ''),
    month: toMonth(texts.get('month') ?? ''),
    day: toNumber('day'),
    hour,
    minute: toNumber('minute'),
    second: toNumber('second'),
    ms: Math.trunc(Number(`0.${texts.get('fraction') ?? 0}`) * 1000),
  });
  return wallMs === null ? null : { wallMs, offsetMs, isDate: !texts.has('hour') };
}

/** POSIX rule for two digits. */
function toYear(text: string): number {
  const year = Number(text);
  if (text.length > 2) return year;
  return year < 69 ? 2000 + year : 1900 + year;
}

function toMonth(text: string): number {
  const name = text.toLowerCase();
  return /^\d/.test(name) ? Number(name) : months.findIndex((each) => each.includes(name)) + 1;
}

function toHour(hour: number, half: string | undefined): number | null {
  if (half === undefined) return hour;
  if (hour < 1 || hour > 12) return null;
  return (hour % 12) + (/^p/i.test(half) ? 12 : 0);
}

/** Null: there is none. Undefined: it is invalid. */
function toOffset(text: string | undefined): number | null | undefined {
  if (text === undefined) return null;
  const [, sign, hours, minutes = '0'] = /^([+-])(\d\d):?(\d\d)?$/.exec(text) ?? [];
  if (sign === undefined) return 0;
  if (Number(hours) > 23 || Number(minutes) > 59) return undefined;
  const ms = (Number(hours) * 60 + Number(minutes)) * 60_000;
  return sign === '-' ? -ms : ms;
}

type Fields = Readonly<
  Record<'year' | 'month' | 'day' | 'hour' | 'minute' | 'second' | 'ms', number>
>;

/**
 * Null if the calendar or clock has no such time, because Date rolls the 31st of June over to July.
 */
function toWallMs({ year, month, day, hour, minute, second, ms }: Fields): number | null {
  const date = new Date(0);
  date.setUTCFullYear(year, month - 1, day);
  date.setUTCHours(hour, minute, second, ms);
  const isSame =
    date.getUTCMonth() === month - 1 &&
    date.getUTCDate() === day &&
    date.getUTCHours() === hour &&
    date.getUTCMinutes() === minute &&
    date.getUTCSeconds() === second;
  return isSame ? date.getTime() : null;
}
