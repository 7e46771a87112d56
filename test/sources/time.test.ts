import { describe, expect, it } from 'vitest';
import { ExactInteger } from '../../src/json/json.js';
import { readTime } from '../../src/sources/time.js';

const timeOf = (value: unknown): string => {
  const read = readTime(value);
  return read.kind === 'read' ? new Date(read.at).toISOString() : read.kind;
};

const noon = '2026-01-01T12:00:00.000Z';

describe('readTime', () => {
  it.each([
    1767268800,
    1767268800000,
    '1767268800',
    '1767268800000',
    ' 1767268800 ',
    new ExactInteger('1767268800000'),
    '2026-01-01T12:00:00Z',
    '2026-01-01t12:00:00z',
    '2026-01-01T12:00:00',
    '2026-01-01T12:00',
    '2026-01-01 12:00:00',
    '2026-01-01 12:00:00 +0000',
    '2026-01-01 12:00:00 UTC',
    '2026-01-01 12:00:00 +0000 UTC',
    '2026-01-01 12:00:00Z',
    '2026-01-01T14:00:00+02:00',
    '2026-01-01T14:00:00+0200',
    '2026-01-01T14:00:00+02',
    '2026-01-01T06:30:00-05:30',
    '2026/01/01 12:00:00',
    '20260101T120000Z',
    '20260101T1200Z',
    'Thu, 01 Jan 2026 12:00:00 GMT',
    'Thu, 1 Jan 2026 12:00:00 +0000',
    '1 Jan 2026 12:00:00 UTC',
    'Thu, 01 Jan 2026 07:00:00 EST',
    'Thursday, 01-Jan-2026 12:00:00 GMT',
    'Thu Jan 01 2026 12:00:00 GMT+0000 (Coordinated Universal Time)',
    'Thu Jan 01 2026 13:00:00 GMT+0100 (Central European Standard Time)',
    'January 1, 2026 12:00:00 UTC',
  ])('reads %j', (value) => {
    expect(timeOf(value)).toBe(noon);
  });

  it.each([
    [1767268800.5, '2026-01-01T12:00:00.500Z'],
    ['1767268800.123', '2026-01-01T12:00:00.123Z'],
    ['2026-01-01T12:00:00.123456+00:00', '2026-01-01T12:00:00.123Z'],
    ['2026-01-01T12:00:00,5Z', '2026-01-01T12:00:00.500Z'],
    ['2026-01-01T12:00:00.999999999Z', '2026-01-01T12:00:00.999Z'],
    ['2026-01-01', '2026-01-01T00:00:00.000Z'],
    ['20260101', '2026-01-01T00:00:00.000Z'],
    ['2024-02-29T00:00:00Z', '2024-02-29T00:00:00.000Z'],
    ['2016-12-31T23:59:60Z', '2016-12-31T23:59:59.000Z'],
  ])('reads %j to the millisecond', (value, time) => {
    expect(timeOf(value)).toBe(time);
  });

  it.each([
    '01/02/2026',
    '01/02/2026 12:00:00',
    '1.2.2026',
    '2026-02-30',
    '2026-02-29T12:00:00Z',
    '2026-13-01',
    '2026-01-01T25:00:00Z',
    '2026-01-01T24:00:00Z',
    '2026-01-01T12:60:00Z',
    '2026-01-01T12:00:00+15:00',
    '2026-01/01',
    '2026',
    '12:00',
    'now',
    'yesterday',
    'Thu, 32 Jan 2026 12:00:00 GMT',
    'Thu, 01 Foo 2026 12:00:00 GMT',
    'Thu, 01 Jan 2026 12:00:00 XYZ',
    '1767268800000000',
    '12345',
    '-1',
    20260101,
    0,
    -1767268800,
    9e15,
    true,
    {},
    [],
    `2026-01-01T12:00:00${' '.repeat(200)}Z`,
  ])('does not read %j', (value) => {
    expect(timeOf(value)).toBe('unreadable');
  });

  it.each([undefined, null, '', '  '])('treats %j as absent', (value) => {
    expect(timeOf(value)).toBe('absent');
  });
});
