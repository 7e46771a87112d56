import { describe, expect, it } from 'vitest';
import {
  comparedNumber,
  comparedTime,
  equalText,
  FilterError,
  isMatch,
  oneOfTexts,
  present,
  parseFilter,
} from '../../src/sandbox/filters.js';

const rules = {
  email: oneOfTexts,
  _kx: equalText,
  'integration.name': equalText,
  metric: present,
  datetime: comparedTime,
  timestamp: comparedNumber,
};
const person = {
  email: 'ada, "the first"@klaviyo-demo.com',
  'integration.name': 'API',
  metric: 'M1',
  datetime: Date.UTC(2026, 9, 3),
  timestamp: Date.UTC(2026, 9, 3) / 1000,
};
const now = Date.UTC(2026, 10, 1, 12);
const matches = (text: string): boolean =>
  isMatch(parseFilter(text, { rules, now }), (field) => person[field as keyof typeof person]);

describe('a filter', () => {
  it.each<[string, boolean]>([
    [`equals(email,${JSON.stringify(person.email)})`, true],
    [`equals(email,'ada, "the first"@klaviyo-demo.com')`, true],
    [`any(email,["x", ${JSON.stringify(person.email)}])`, true],
    [`equals(email,["x","y"])`, false],
    ['equals(integration.name,"API")', true],
    ['equals(_kx,"API")', false],
    ['has(metric)', true],
    ['greater-than(datetime,2026-10-03T00:00:00Z)', false],
    ['greater-or-equal(datetime,2026-10-03T00:00:00.000Z)', true],
    ['less-than(datetime,2026-10-03T02:00:00+02:00)', false],
    ['less-or-equal(datetime,"2026-10-03T02:00:00+02:00")', true],
    ['less-than(timestamp,1790985601)', true],
    ['less-than(timestamp,1790985600)', false],
    ['greater-than(timestamp,-1.5)', true],
    ['has(metric),less-than(timestamp,1790985601)', true],
    ['has(metric),less-than(timestamp,1)', false],
    ['and(has(metric),less-than(timestamp,1790985601))', true],
    ['and(has(metric), and(less-than(timestamp,1),has(metric)))', false],
    ['equals( email, "x" )', false],
  ])('%s: %s', (text, expected) => {
    expect(matches(text)).toBe(expected);
  });

  it.each([
    'equals(shoe_size,"1")',
    'equals(toString,"1")',
    'greater-than(email,"a")',
    'any(_kx,["a"])',
    'any(email,"a")',
    'has(email)',
    'equals(email,a)',
    'equals(email,"a","b")',
    'equals(email)',
    'equals(email,[])',
    'has(metric,"a")',
    'greater-than(datetime,2026-10-03)',
    'greater-than(datetime,1790985600)',
    'greater-than(datetime,["2026-10-03T00:00:00Z"])',
    'greater-than(timestamp,"1")',
    'or(has(metric),has(metric))',
    'not(has(metric))',
    'has(metric)has(metric)',
    'has(metric),',
    'has(metric',
    'email',
    '',
    ')',
    'and()',
  ])('%s is invalid', (text) => {
    expect(() => parseFilter(text, { rules, now })).toThrow(FilterError);
  });

  it('for times after a future time is invalid, as in Klaviyo', () => {
    const read = (text: string) => () => parseFilter(text, { rules, now });
    expect(read('greater-than(datetime,2026-11-01T12:00:01Z)')).toThrow(
      'End date may not be in the future',
    );
    expect(read('greater-or-equal(datetime,2026-11-01T12:00:01Z)')).toThrow(FilterError);
    expect(read('greater-than(datetime,2026-11-01T12:00:00Z)')).not.toThrow();
    expect(read('less-than(datetime,2026-11-01T12:00:01Z)')).not.toThrow();
  });
});
