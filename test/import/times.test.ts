import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { compileTimePattern } from '../../src/import/time-pattern.js';
import { createTimeReader, createWallClock } from '../../src/import/times.js';
import { aReadTime } from './fixture.js';

/** The instant, or why there is none. */
function read(text: string, format: string | null = null, timezone: string | null = null): unknown {
  const value = aReadTime({ format, timezone })(text);
  return value.ok ? value.value : value.detail;
}

describe('an ISO 8601 time', () => {
  it.each([
    '2026-01-31T09:30:00Z',
    '2026-01-31T09:30:00+05:30',
    '2026-01-31T09:30:00.123456-08:00',
  ])('is unchanged if the relay accepts it: %s', (text) => {
    expect(read(text)).toBe(text);
  });

  it.each([
    ['2025-10-07 09:50:26 +0200', '2025-10-07T07:50:26.000Z'],
    ['2025-10-07 09:50:26+02', '2025-10-07T07:50:26.000Z'],
    ['2025-10-07 09:50:26 UTC', '2025-10-07T09:50:26.000Z'],
    ['2025-10-07T09:50Z', '2025-10-07T09:50:00.000Z'],
    ['2025-10-07 09:50:26.000001-04:00', '2025-10-07T13:50:26.000Z'],
    ['2025-10-07t09:50:26,5z', '2025-10-07T09:50:26.500Z'],
    ['Tue, 07 Oct 2025 09:50:26 GMT', '2025-10-07T09:50:26.000Z'],
    ['Tue, 07 Oct 2025 09:50:26 +0200', '2025-10-07T07:50:26.000Z'],
    ['Tue Oct 07 2025 09:50:26 GMT+0200 (CEST)', '2025-10-07T07:50:26.000Z'],
  ])('is read as exports write it: %s is %s', (text, iso) => {
    expect(read(text)).toBe(iso);
  });

  it.each([
    ['2025-10-07 09:50:26', '2025-10-07T07:50:26.000Z'],
    ['2025-10-07T09:50', '2025-10-07T07:50:00.000Z'],
    ['2025-10-07', '2025-10-06T22:00:00.000Z'],
    ['2025-10-07 09:50:26Z', '2025-10-07T09:50:26.000Z'],
  ])('without an offset belongs to the given time zone: %s is %s', (text, iso) => {
    expect(read(text, 'iso', 'Europe/Berlin')).toBe(iso);
  });

  it.each([
    ['2025-10-07 09:50:26', 'has no offset from UTC: specify the time zone'],
    ['2025-10-07', 'has no offset from UTC'],
    ['2026-02-30T09:30:00Z', 'is not a time that exists'],
    ['2026-01-31T24:00:00Z', 'is not a time that exists'],
    ['2026-01-31T09:30:60Z', 'is not a time that exists'],
    ['2026-01-31T09:30:00+25:00', 'is not a time that exists'],
    ['03/04/2026', 'use --time-format "DD/MM/YYYY" or "MM/DD/YYYY"'],
    ['31.1.26 9:05', 'use --time-format "DD.MM.YY HH:mm" or "MM.DD.YY HH:mm"'],
    ['3-4-2026 9:05:00 PM', 'use --time-format "DD-MM-YYYY hh:mm:ss A" or'],
    ['1759823426', 'use --time-format epoch (seconds) or epoch-ms'],
    ['Tue, 07 Oct 2025 09:50:26', 'is not an ISO 8601 time'],
    ['Tue, 07 Oct 2025 09:50:26 EST', 'is not an ISO 8601 time'],
    ['Oct 7, 2025', 'is not an ISO 8601 time: specify its format with --time-format'],
    ['', 'is not an ISO 8601 time'],
  ])('is not guessed: %j %s', (text, words) => {
    expect(read(text)).toContain(words);
  });
});

describe('an epoch time', () => {
  it.each([
    ['epoch', '1759823426', '2025-10-07T07:50:26.000Z'],
    ['unix', '1759823426.5', '2025-10-07T07:50:26.500Z'],
    ['epoch-ms', '1759823426123', '2025-10-07T07:50:26.123Z'],
    ['unix-ms', '1759823426123.9', '2025-10-07T07:50:26.124Z'],
  ])('is read as %s: %s is %s', (format, text, iso) => {
    expect(read(text, format)).toBe(iso);
  });

  it.each([
    ['epoch', '1759823426123', 'after the year 9999 as seconds: use --time-format epoch-ms'],
    ['epoch', '1.7E+09', 'is not an epoch number'],
    ['epoch-ms', '2025-10-07', 'is not an epoch number'],
    ['epoch', '-1', 'is not an epoch number'],
  ])('of %s is not %s: it %s', (format, text, words) => {
    expect(read(text, format)).toContain(words);
  });
});

describe('a time pattern', () => {
  it.each([
    ['DD/MM/YYYY HH:mm', '03/04/2026 09:05', '2026-04-03T09:05:00.000Z'],
    ['MM/DD/YYYY', '03/04/2026', '2026-03-04T00:00:00.000Z'],
    ['DD/MM/YYYY', '3/4/2026', '2026-04-03T00:00:00.000Z'],
    ['M/D/YY h:mm A', '3/4/26 12:05 am', '2026-03-04T00:05:00.000Z'],
    ['M/D/YY h:mm a', '3/4/69 12:05 PM', '1969-03-04T12:05:00.000Z'],
    ['DD.MM.YYYY HH:mm:ss', '03.04.2026 9:05:07', '2026-04-03T09:05:07.000Z'],
    ['YYYYMMDDHHmmss', '20260403090507', '2026-04-03T09:05:07.000Z'],
    ['YYYY-MM-DD HH:mm:ss.SSS', '2026-04-03 09:05:07.25', '2026-04-03T09:05:07.250Z'],
    ['MMM D, YYYY h:mm A', 'Sept 3, 2026 9:05 p.m.', '2026-09-03T21:05:00.000Z'],
    ['D MMMM YYYY', '3 may 2026', '2026-05-03T00:00:00.000Z'],
    ['YYYY-MM-DDTHH:mm:ss Z', '2026-04-03T09:05:07 -0330', '2026-04-03T12:35:07.000Z'],
    ['[on] DD/MM/YYYY [at] HH[h]mm', 'on 03/04/2026 at 09h05', '2026-04-03T09:05:00.000Z'],
    ['M/D/YYYY H:mm:ss', '9/6/2016  6:29:00', '2016-09-06T06:29:00.000Z'],
    ['DD/MM/YYYY (HH.mm)', '03/04/2026 (09.05)', '2026-04-03T09:05:00.000Z'],
  ])('%s reads %s as %s', (format, text, iso) => {
    expect(read(text, format, 'UTC')).toBe(iso);
  });

  it.each([
    ['DD/MM/YYYY', '03/13/2026'],
    ['DD/MM/YYYY', '31/04/2026'],
    ['DD/MM/YYYY', '29/02/2026'],
    ['DD/MM/YYYY', '03/04/26'],
    ['DD/MM/YYYY', '03/04/2026 10:00'],
    ['DD/MM/YYYY', '03-04-2026'],
    ['DD/MM/YYYY HH:mm', '03/04/2026 24:00'],
    ['DD/MM/YYYY hh:mm A', '03/04/2026 13:00 PM'],
    ['YYYYMMDD', '2026403'],
    ['DD MMM YYYY', '03 Okt 2026'],
    ['DD/MM/YYYY HH.mm', '03/04/2026 09:05'],
  ])('%s does not read %s', (format, text) => {
    expect(read(text, format, 'UTC')).toBe(`is not a time in the format ${format} (--time-format)`);
  });

  it('needs a time zone unless it has an offset', () => {
    const format = 'DD/MM/YYYY HH:mm';
    expect(createTimeReader({ format, timezone: null })).toMatchObject({
      ok: false,
      detail: expect.stringContaining('--timezone UTC') as string,
    });
    expect(createTimeReader({ format: `${format} Z`, timezone: null }).ok).toBe(true);
  });

  it.each([
    ['dd/MM/yyyy', 'has dd, which is not one of'],
    ['%d/%m/%Y', 'has d, which is not one of'],
    ['DD/mm/YYYY', 'has no month (MM; mm is the minute)'],
    ['DD/MM', 'has no year'],
    ['MM/YYYY', 'has no day'],
    ['DD/MM/YYYY hh:mm', 'without AM or PM'],
    ['DD/MM/YYYY HH:mm A', 'without the hour of half a day'],
    ['DD/MM/YYYY mm', 'has no hour'],
    ['DD/MM/YYYY HH:ss', 'has a second without a minute'],
    ['DD/MM/YYYY HH:mm.SSS', 'has a fraction without a second'],
    ['DD/MM/YYYY YY', 'has two parts for the year'],
    ['DD/MM/MMM/YYYY', 'has two parts for the month'],
    ['', 'has no year'],
  ])('%j is invalid: it %s', (pattern, words) => {
    expect(compileTimePattern(pattern)).toMatchObject({
      ok: false,
      detail: expect.stringContaining(words) as string,
    });
  });
});

describe('a time zone', () => {
  it.each(['EST', 'CET', 'PST', 'Berlin', 'Europe/Berln', '+02:00', ''])(
    'called %j is invalid',
    (timezone) => {
      expect(createTimeReader({ format: null, timezone })).toMatchObject({
        ok: false,
        option: '--timezone',
      });
    },
  );

  const berlin = (text: string) => read(text, 'YYYY-MM-DD HH:mm', 'Europe/Berlin');

  it('has summer time and standard time', () => {
    expect(berlin('2026-01-15 12:00')).toBe('2026-01-15T11:00:00.000Z');
    expect(berlin('2026-07-15 12:00')).toBe('2026-07-15T10:00:00.000Z');
  });

  it('has no instant for a time in a gap', () => {
    expect(berlin('2026-03-29 01:59')).toBe('2026-03-29T00:59:00.000Z');
    expect(berlin('2026-03-29 02:00')).toContain('does not exist in the time zone');
    expect(berlin('2026-03-29 02:59')).toContain('does not exist in the time zone');
    expect(berlin('2026-03-29 03:00')).toBe('2026-03-29T01:00:00.000Z');
  });

  it('reads a local time that occurs twice, when clocks are set back, as the first', () => {
    expect(berlin('2026-10-25 01:59')).toBe('2026-10-24T23:59:00.000Z');
    expect(berlin('2026-10-25 02:30')).toBe('2026-10-25T00:30:00.000Z');
    expect(berlin('2026-10-25 03:00')).toBe('2026-10-25T02:00:00.000Z');
  });

  it.each([
    ['America/New_York', '2026-03-08 02:30', null],
    ['America/New_York', '2026-11-01 01:30', '2026-11-01T05:30:00.000Z'],
    ['America/St_Johns', '2026-07-01 12:00', '2026-07-01T14:30:00.000Z'],
    ['Australia/Lord_Howe', '2026-10-04 02:15', null],
    ['Australia/Lord_Howe', '2026-04-05 01:45', '2026-04-04T14:45:00.000Z'],
    ['Asia/Kathmandu', '2026-07-01 12:00', '2026-07-01T06:15:00.000Z'],
    ['Pacific/Apia', '2011-12-30 12:00', null],
    ['Pacific/Apia', '2011-12-31 12:00', '2011-12-30T22:00:00.000Z'],
  ])('may be %s, where %s is %s', (timezone, text, iso) => {
    const value = read(text, 'YYYY-MM-DD HH:mm', timezone);
    if (iso === null) expect(value).toContain('does not exist');
    else expect(value).toBe(iso);
  });

  it.each([
    // The clocks go forward at midnight, so the day begins at one o'clock.
    ['America/Santiago', '2026-09-06', '2026-09-06T04:00:00.000Z'],
    ['Africa/Cairo', '2026-04-24', '2026-04-23T22:00:00.000Z'],
    ['Europe/Berlin', '2026-03-29', '2026-03-28T23:00:00.000Z'],
  ])('has a beginning of each day: in %s that of %s is %s', (timezone, text, iso) => {
    expect(read(text, 'YYYY-MM-DD', timezone)).toBe(iso);
  });

  it('round-trips every instant', () => {
    const zones = ['Europe/Berlin', 'America/New_York', 'Australia/Lord_Howe', 'Asia/Kolkata'];
    const minute = 60_000;
    fc.assert(
      fc.property(
        fc.constantFrom(...zones),
        fc.integer({ min: Date.UTC(1990, 0) / minute, max: Date.UTC(2030, 0) / minute }),
        (timezone, minutes) => {
          const at = minutes * minute;
          const shown = new Date(at).toLocaleString('sv-SE', { timeZone: timezone });
          const wallMs = Date.parse(`${shown.replace(' ', 'T')}Z`);
          expect(createWallClock(timezone)(wallMs).instants).toContain(at);
        },
      ),
    );
  });
});
