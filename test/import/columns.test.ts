import { describe, expect, it } from 'vitest';
import type { Lane } from '../../src/envelope.js';
import { toColumns } from '../../src/import/columns.js';
import { ExactInteger } from '../../src/json.js';

const toEntry = (lane: Lane, record: Readonly<Record<string, string>>) =>
  toColumns(Object.keys(record), lane)(Object.values(record));

const anEvent = { event_name: 'Placed Order', email: 'ada@klaviyo-demo.com' };

describe('the columns of an event', () => {
  it('may name a visitor by an anonymous id alone, as text', () => {
    const record = { event_name: 'Viewed', anonymous_id: '007' };
    expect(toEntry('events', record)).toEqual(record);
  });

  it('are its fields, and all others its properties', () => {
    const record = {
      ...anEvent,
      event_time: '2026-01-31T09:30:00Z',
      order_id: '007',
      ' value ': '12.50',
      total_amount: '1e2',
      currency: 'USD',
      Coupon: 'WINTER',
      'properties.Size': 'M',
      'location.city': 'Boston',
    };
    expect(toEntry('events', record)).toEqual({
      ...anEvent,
      event_time: '2026-01-31T09:30:00Z',
      order_id: '007',
      value: 12.5,
      total_amount: 100,
      currency: 'USD',
      properties: { Coupon: 'WINTER', Size: 'M', 'location.city': 'Boston' },
    });
  });

  it('are absent where the cell is empty', () => {
    expect(toEntry('events', { ...anEvent, value: '', Coupon: '', properties: '' })).toEqual(
      anEvent,
    );
  });

  it.each([
    ['12', 12],
    ['-0.5', -0.5],
    ['19.90', 19.9],
    ['12345678901234567890', new ExactInteger('12345678901234567890')],
    ['0.12345678901234567', '0.12345678901234567'],
    ['007', '007'],
    ['1e5', '1e5'],
    ['+15005550006', '+15005550006'],
    ['1,5', '1,5'],
    [' 5', ' 5'],
    ['true', 'true'],
    ['.5', '.5'],
  ])('a property %j is %j', (cell, value) => {
    expect(toEntry('events', { ...anEvent, n: cell })).toEqual({
      ...anEvent,
      properties: { n: value },
    });
  });

  it.each(['', '12 $', '1,50', '007', '1e999', 'NaN'])(
    'a value of %j is no number: the relay says so',
    (cell) => {
      const { value } = toEntry('events', { ...anEvent, value: cell });
      expect(value).toBe(cell === '' ? undefined : cell);
    },
  );

  it('join the JSON of a column called properties, and win over it', () => {
    const properties = '{"Items":["a"],"n":12345678901234567890,"Size":"S"}';
    expect(toEntry('events', { ...anEvent, properties, Size: 'M' })).toEqual({
      ...anEvent,
      properties: { Items: ['a'], n: new ExactInteger('12345678901234567890'), Size: 'M' },
    });
  });

  it.each(['{"a":1', '[1]', '{"a":1,"a":2}'])('leave %s to the relay to refuse', (properties) => {
    expect(toEntry('events', { ...anEvent, properties, Size: 'M' })).toEqual({
      ...anEvent,
      properties,
    });
  });
});

describe('the columns of a profile', () => {
  it('are its fields, its location, and all others as they are', () => {
    const record = {
      email: 'ada@klaviyo-demo.com',
      first_name: '7',
      'location.zip': '02134',
      'location.city': 'Boston',
      plan: 'gold',
      visits: '7',
      'properties.size': 'M',
      value: '7',
    };
    expect(toEntry('profiles', record)).toEqual({
      email: 'ada@klaviyo-demo.com',
      first_name: '7',
      location: { zip: '02134', city: 'Boston' },
      plan: 'gold',
      visits: 7,
      properties: { size: 'M' },
      value: 7,
    });
  });
});

describe('a header', () => {
  it.each<[string, Lane, readonly string[], string]>([
    [
      'without a name',
      'events',
      ['event_name', 'email', ' '],
      'column 3 of the header has no name',
    ],
    ['with a name twice', 'events', ['event_name', 'email', 'a', 'a'], 'two columns are called a'],
    [
      'with two names of one property',
      'events',
      ['event_name', 'email', 'a', 'properties.a'],
      'a and properties.a are the same column',
    ],
    [
      'that names nobody',
      'profiles',
      ['first_name'],
      'no email, distinct_id or phone_number, but first_name',
    ],
    [
      'of profiles that names visitors',
      'profiles',
      ['anonymous_id', 'first_name'],
      'no email, distinct_id or phone_number, but anonymous_id | first_name',
    ],
    [
      'of events that names nobody',
      'events',
      ['event_name'],
      'no email, distinct_id, phone_number or anonymous_id, but event_name',
    ],
    ['of another delimiter', 'events', ['event_name;email'], 'alone: is --delimiter right?'],
    [
      'of events without event_name',
      'events',
      ['email', 'plan'],
      'no event_name: are these profiles?',
    ],
    [
      'with a name that does harm',
      'profiles',
      ['email', '__proto__'],
      'no column may be called __proto__',
    ],
    [
      'with one in properties',
      'events',
      ['email', 'properties.__proto__'],
      'no column may be called',
    ],
  ])('%s is refused', (_, lane, header, words) => {
    expect(() => toColumns(header, lane)).toThrow(words);
  });
});
