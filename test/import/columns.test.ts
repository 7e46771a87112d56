import { describe, expect, it } from 'vitest';
import { createAmountReader } from '../../src/import/amounts.js';
import { createColumns } from '../../src/import/columns.js';
import type { Mapping } from '../../src/import/mapping.js';
import { createReadCells } from '../../src/import/prepare.js';
import { ExactInteger } from '../../src/json/json.js';
import type { ImportLane } from '../../src/import/fields.js';
import { someMapping } from './fixture.js';

const toEntry = (lane: ImportLane, record: Readonly<Record<string, string>>) =>
  createColumns(Object.keys(record), lane, someMapping()).read(Object.values(record)).entry;

const anEvent = { event_name: 'Placed Order', email: 'ada@klaviyo-demo.com' };

describe('the CSV columns of an event', () => {
  it('may identify a visitor by an anonymous id alone, as text', () => {
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

  it('are absent if the cell is empty', () => {
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
  ])('read the property %j as %j', (cell, value) => {
    expect(toEntry('events', { ...anEvent, n: cell })).toEqual({
      ...anEvent,
      properties: { n: value },
    });
  });

  it.each<[string, unknown]>([
    ['', undefined],
    ['12', 12],
    ['-0.5', -0.5],
    ['1e2', 100],
    ['007', 7],
    ['12345678901234567890', new ExactInteger('12345678901234567890')],
    ['$12.00', 12],
    ['12 $', 12],
    ['1,50', 1.5],
    ['1,299.00', 1299],
    ['1.299,00', 1299],
    ["1'299.00", 1299],
    ['1.299.000', 1_299_000],
    ['-$1,299.5', -1299.5],
  ])('of value with the cell %j are %j', (cell, value) => {
    expect(toEntry('events', { ...anEvent, value: cell }).value).toEqual(value);
  });

  it.each([
    ['1.299', 'can be read as two different amounts'],
    ['1,299', 'specify the decimal separator with --decimal . or --decimal ,'],
    ['twelve', 'is no amount of money'],
    ['NaN', 'is no amount of money'],
    ['1e999', 'is a number that is too large'],
    ['$12 €', 'names no currency that is known, or two'],
    ['12.00.00', 'can be read as two different amounts, or as none'],
  ])('of value with the cell %j are rejected and stay as they are', (cell, words) => {
    const record = { ...anEvent, value: cell };
    const { entry, errors } = createColumns(Object.keys(record), 'events', someMapping()).read(
      Object.values(record),
    );
    expect(entry.value).toBe(cell);
    expect(errors).toEqual([
      { pointer: '/value', detail: expect.stringContaining(words) as string },
    ]);
  });

  it('are merged into the JSON of a column called properties and take precedence', () => {
    const properties = '{"Items":["a"],"n":12345678901234567890,"Size":"S"}';
    expect(toEntry('events', { ...anEvent, properties, Size: 'M' })).toEqual({
      ...anEvent,
      properties: { Items: ['a'], n: new ExactInteger('12345678901234567890'), Size: 'M' },
    });
  });

  it.each(['{"a":1', '[1]', '{"a":1,"a":2}'])(
    "leave %s to the relay's validation",
    (properties) => {
      expect(toEntry('events', { ...anEvent, properties, Size: 'M' })).toEqual({
        ...anEvent,
        properties,
      });
    },
  );
});

describe('the CSV columns of a profile', () => {
  it('are its fields, its location, and all others unchanged', () => {
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

describe('a CSV header', () => {
  it.each<[string, ImportLane, readonly string[], string]>([
    [
      'without a name',
      'events',
      ['event_name', ' ', 'email'],
      'column 2 of the header has no name',
    ],
    ['with a name twice', 'events', ['event_name', 'email', 'a', 'a'], 'two columns are called a'],
    [
      'with two names of one property',
      'events',
      ['event_name', 'email', 'a', 'properties.a'],
      'a and properties.a become the same field',
    ],
    [
      'without a column that names a person',
      'profiles',
      ['first_name'],
      'no email, distinct_id or phone_number; its columns are first_name',
    ],
    [
      'of profiles with only anonymous ids',
      'profiles',
      ['anonymous_id', 'first_name'],
      'no email, distinct_id or phone_number; its columns are anonymous_id | first_name',
    ],
    [
      'of events without a column that names a person',
      'events',
      ['event_name'],
      'no email, distinct_id, phone_number or anonymous_id; its columns are event_name',
    ],
    ['of another delimiter', 'events', ['event_name;email'], 'Is --delimiter right?'],
    [
      'of events without event_name',
      'events',
      ['email', 'plan'],
      'no event_name. If these are profiles, use --type profiles',
    ],
    [
      'with a harmful name',
      'profiles',
      ['email', '__proto__'],
      'no column may be called __proto__',
    ],
    [
      'with a harmful name in properties',
      'events',
      ['email', 'properties.__proto__'],
      'no column may be called',
    ],
  ])('%s is invalid', (_, lane, header, words) => {
    expect(() => createColumns(header, lane, someMapping())).toThrow(words);
  });
});

describe('a name in a CSV header in another spelling', () => {
  const fieldsOf = (header: readonly string[], lane: ImportLane, mapping = someMapping()) =>
    createColumns(header, lane, mapping).targets.map(({ fields }) => fields.join());

  it.each<[ImportLane, string, string]>([
    ['events', 'Email', 'email'],
    ['events', 'E-MAIL', 'email'],
    ['events', 'e mail', 'email'],
    ['events', 'Email Address', 'email'],
    ['events', 'EMAIL_ADDRESS', 'email'],
    ['events', 'Event Name', 'event_name'],
    ['events', 'eventName', 'event_name'],
    ['events', 'Event Time', 'event_time'],
    ['events', 'Distinct ID', 'distinct_id'],
    ['events', 'Phone Number', 'phone_number'],
    ['events', 'Order ID', 'order_id'],
    ['events', 'Total Amount', 'total_amount'],
    ['events', 'Value', 'value'],
    ['profiles', 'First Name', 'first_name'],
    ['profiles', 'LastName', 'last_name'],
    ['profiles', 'Organization', 'organization'],
  ])('of %s, %s, is the field %s', (lane, header, field) => {
    const others = { email: 'distinct_id', event_name: 'email' }[field] ?? 'email';
    const name = field === 'event_name' ? [] : ['event_name'];
    const fields = fieldsOf([header, others, ...name], lane);
    expect(fields[0]).toBe(field);
  });

  it.each<[ImportLane, string, string]>([
    ['events', 'Phone', 'properties.Phone'],
    ['events', 'Name', 'properties.Name'],
    ['events', 'Date', 'properties.Date'],
    ['events', 'Total', 'properties.Total'],
    ['events', 'Timestamp', 'properties.Timestamp'],
    ['events', 'Billing Email', 'properties.Billing Email'],
    ['events', 'First Name', 'properties.First Name'],
    ['events', 'Properties', 'properties.Properties'],
    ['profiles', 'Location', 'Location'],
    ['profiles', 'Value', 'Value'],
    ['profiles', 'City', 'City'],
  ])('of %s, %s, is not guessed but is %s', (lane, header, path) => {
    expect(fieldsOf([header, 'email', 'event_name'], lane)[0]).toBe(path);
  });
});

describe('amounts in CSV', () => {
  const readAll = (more: Readonly<Record<string, string>>, overrides: Partial<Mapping> = {}) => {
    const record = { ...anEvent, ...more };
    const header = Object.keys(record);
    return createColumns(header, 'events', someMapping(overrides)).read(Object.values(record));
  };

  it('give an entry without a currency the one that they name', () => {
    expect(readAll({ value: '€12.00' }).entry).toMatchObject({ value: 12, currency: 'EUR' });
    expect(readAll({ value: '12,00 EUR', currency: '' }).entry).toMatchObject({ currency: 'EUR' });
    expect(readAll({ value: '$12.00' }).entry).not.toHaveProperty('currency');
    expect(readAll({ value: '$12.00', currency: 'cad' })).toMatchObject({
      errors: [],
      entry: { value: 12, currency: 'cad' },
    });
    expect(readAll({ value: '1.299', currency: 'KWD' }).entry.value).toBe(1.299);
  });

  it.each([
    [{ value: '€12.00', currency: 'USD' }, '/value'],
    [{ value: '€12.00', total_amount: '13 USD' }, '/currency'],
  ])('of %j contradict each other', (cells, pointer) => {
    expect(readAll(cells).errors).toMatchObject([{ pointer }]);
  });

  it('the currency in a constant amount must match the currency of the entry', () => {
    const constants = [{ field: 'value', text: '€5' }];
    expect(readAll({ currency: 'USD' }, { constants }).errors).toMatchObject([
      { pointer: '/currency' },
    ]);
    expect(readAll({}, { constants }).entry).toMatchObject({ value: 5, currency: 'EUR' });
  });

  it.each<['.' | ',', string, unknown]>([
    ['.', '1.299', 1.299],
    ['.', '1,299', 1299],
    ['.', '1,299.125', 1299.125],
    ['.', '$1,299', 1299],
    ['.', '12,34,567', 1_234_567],
    ['.', '0.5', 0.5],
    ['.', '12', 12],
    ['.', '1e2', 100],
    [',', '1.299', 1299],
    [',', '1,299', 1.299],
    [',', '1.299,5 €', 1299.5],
    [',', '1 299,00', 1299],
    [',', '-1.299.000', -1_299_000],
    [',', '12,5', 12.5],
  ])('with %s as the decimal separator read %s as %s', (decimal, cell, value) => {
    const readAmount = createAmountReader(decimal);
    expect(readAll({ value: cell }, { readAmount })).toMatchObject({
      errors: [],
      entry: { value },
    });
  });

  it.each<['.' | ',', string]>([
    ['.', '12,50'],
    ['.', '1.299,00'],
    ['.', '1.2.3'],
    ['.', '12,3456'],
    ['.', '12,34,56'],
    [',', '12.50'],
    [',', '1,299.00'],
    [',', '1,2,3'],
  ])('with %s as the decimal separator reject %s', (decimal, cell) => {
    const readAmount = createAmountReader(decimal);
    expect(readAll({ value: cell }, { readAmount }).errors).toEqual([
      { pointer: '/value', detail: `does not have ${decimal} as its decimal separator` },
    ]);
  });
});

describe('options about columns', () => {
  const header = ['E-Mail of buyer', 'Ordered', 'Total', 'Total', 'a=b', 'Notes'];
  const mapped = (
    columns: Mapping['columns'],
    overrides: Partial<Mapping> = {},
    lane: ImportLane = 'events',
  ) => createColumns(header, lane, someMapping({ columns, omitted: ['total'], ...overrides }));
  const email = { column: 'E-Mail of buyer', field: 'email' };
  const named = [{ field: 'event_name', text: 'Placed Order' }];

  it('take precedence over their names and ignore case', () => {
    const { read, targets } = mapped(
      [
        { column: 'e-mail OF buyer', field: 'email' },
        { column: 'Ordered', field: 'event_time' },
        { column: 'a=b', field: 'properties.ratio' },
        { column: 'Notes', field: 'order_id' },
        { column: 'Notes', field: 'insert_id' },
      ],
      {
        constants: [
          ...named,
          { field: 'value', text: '5' },
          { field: 'properties.source', text: 'shop' },
          { field: 'properties.year', text: '2026' },
        ],
      },
    );
    expect(targets.map(({ fields }) => fields)).toEqual([
      ['email'],
      ['event_time'],
      [],
      [],
      ['properties.ratio'],
      ['order_id', 'insert_id'],
    ]);
    expect(
      read([' ada@klaviyo-demo.com ', '2026-01-31 09:30:00 UTC', '1', '2', '0.5', '007']),
    ).toEqual({
      errors: [],
      entry: {
        event_name: 'Placed Order',
        value: 5,
        email: 'ada@klaviyo-demo.com',
        event_time: '2026-01-31T09:30:00.000Z',
        order_id: '007',
        insert_id: '007',
        properties: { source: 'shop', year: 2026, ratio: 0.5 },
      },
    });
  });

  it('can name a field within the location of a profile', () => {
    const columns = [email, { column: 'Notes', field: 'location.city' }];
    const { read } = mapped(columns, {}, 'profiles');
    expect(read(['ada@klaviyo-demo.com', '', '', '', '', 'Boston']).entry).toEqual({
      email: 'ada@klaviyo-demo.com',
      location: { city: 'Boston' },
    });
  });

  it.each<[string, Mapping['columns'], Partial<Mapping>, ImportLane, string]>([
    [
      'a column that is not there',
      [{ column: 'Ordred', field: 'event_time' }],
      {},
      'events',
      '--map: the header has no column Ordred (did you mean Ordered?); its columns are E-Mail of buyer | Ordered',
    ],
    [
      'a column to leave out that is not there',
      [email],
      { omitted: ['Total', 'X'] },
      'events',
      '--omit: the header has no column X',
    ],
    [
      'a column that is there twice',
      [{ column: 'Total', field: 'value' }],
      { omitted: [] },
      'events',
      '--map: two columns are called Total',
    ],
    [
      'a column that it leaves out, too',
      [{ column: 'Notes', field: 'value' }],
      { omitted: ['Total', 'Notes'] },
      'events',
      '--map Notes=value: --omit leaves this column out',
    ],
    [
      'two columns for one field',
      [email, { column: 'Notes', field: 'email' }],
      {},
      'events',
      'E-Mail of buyer (--map) and Notes (--map) become the same field: email',
    ],
    [
      'a column and a constant for one field',
      [email],
      { constants: [...named, { field: 'email', text: 'x@klaviyo-demo.com' }] },
      'events',
      'E-Mail of buyer (--map) and --set email become the same field: email',
    ],
    [
      'a field of the other lane',
      [email, { column: 'Notes', field: 'first_name' }],
      {},
      'events',
      '--map Notes=first_name: first_name is not a field of events',
    ],
    [
      'a location that is none',
      [email, { column: 'Notes', field: 'location.town' }],
      {},
      'profiles',
      'location.town is not a field of profiles',
    ],
    [
      'a constant that is no time',
      [email],
      { constants: [...named, { field: 'event_time', text: '03/04/2026' }] },
      'events',
      '--set event_time: the value may begin with the day or the month',
    ],
    [
      'an empty constant',
      [email],
      { constants: [{ field: 'event_name', text: ' ' }] },
      'events',
      '--set event_name has an empty value',
    ],
    [
      'nobody',
      [],
      { constants: named },
      'events',
      'Name the column, as in --map "E-Mail of buyer=email"',
    ],
    ['no name of events', [email], {}, 'events', 'otherwise --set event_name="Placed Order" names'],
  ])('are invalid if they name %s', (_, columns, overrides, lane, words) => {
    expect(() => mapped(columns, overrides, lane)).toThrow(words);
  });

  it('are required if two columns of the header are one field', () => {
    const two = ['Email', 'event_name', 'e-mail'];
    expect(() => createColumns(two, 'events', someMapping())).toThrow(
      'Email and e-mail become the same field: email; leave one out with --omit',
    );
    const omitted = someMapping({ omitted: ['e-mail'] });
    expect(createColumns(two, 'events', omitted).targets[2]).toEqual({
      column: 'e-mail',
      fields: [],
    });
    const columns = [{ column: 'e-mail', field: 'properties.second' }];
    expect(createColumns(two, 'events', someMapping({ columns })).targets[2]?.fields).toEqual([
      'properties.second',
    ]);
  });
});

describe('a CSV cell', () => {
  const record = (more: Readonly<Record<string, string>>) => ({ ...anEvent, ...more });
  const readAll = (more: Readonly<Record<string, string>>, overrides: Partial<Mapping> = {}) =>
    createColumns(Object.keys(record(more)), 'events', someMapping(overrides)).read(
      Object.values(record(more)),
    );

  it('of a field is trimmed and is empty if nothing remains', () => {
    expect(readAll({ distinct_id: ' 42\u00a0', order_id: '  ', properties: ' ' }).entry).toEqual({
      ...anEvent,
      distinct_id: '42',
    });
  });

  it.each([
    ['phone_number', "'+33610826417", '+33610826417'],
    ['phone_number', "'+1 (555) 000-1234", '+1 (555) 000-1234'],
    ['distinct_id', "'7410991464714", '7410991464714'],
    ['order_id', "'1001", '1001'],
    ['insert_id', "'1001", '1001'],
    ['distinct_id', "'abc", "'abc"],
    ['order_id', "O'1", "O'1"],
    ['Zip', "'75008", "'75008"],
  ])('of %s with %s is %s', (name, cell, value) => {
    const { entry } = readAll({ [name]: cell });
    expect(name === 'Zip' ? entry.properties : entry[name]).toEqual(
      name === 'Zip' ? { Zip: value } : value,
    );
  });

  it('is empty if an option says so of its text', () => {
    const more = { distinct_id: 'NULL', Coupon: 'NULL', order_id: '-', Note: 'NULL or not' };
    expect(readAll(more, { empty: ['NULL', '-'] }).entry).toEqual({
      ...anEvent,
      properties: { Note: 'NULL or not' },
    });
  });

  it.each([
    ['distinct_id', '6.54321E+12', 'a number that a spreadsheet has rounded'],
    ['insert_id', '6,54E+12', 'a number that a spreadsheet has rounded'],
    ['distinct_id', '#N/A', 'a spreadsheet error'],
    ['anonymous_id', '#REF!', 'a spreadsheet error'],
    ['distinct_id', '########', 'a spreadsheet error'],
    [
      'distinct_id',
      'NULL',
      'is a word for an empty value: if it means an empty cell, use --empty "NULL"',
    ],
    ['insert_id', '\\N', 'is a word for an empty value'],
    ['anonymous_id', 'undefined', 'is a word for an empty value'],
  ])('of %s with %s does not merge many people or events into one', (name, cell, words) => {
    const { errors, entry } = readAll({ [name]: cell });
    expect(errors).toEqual([
      { pointer: `/${name}`, detail: expect.stringContaining(words) as string },
    ]);
    expect(entry[name]).toBe(cell);
  });

  it('of event_time that cannot be read stays as it is, with the reason', () => {
    expect(readAll({ event_time: '03/04/2026' })).toMatchObject({
      errors: [{ pointer: '/event_time' }],
      entry: { event_time: '03/04/2026' },
    });
  });
});

describe('unnamed columns at the end of a header', () => {
  it('are ignored, whether rows have them or not', () => {
    const columns = createColumns(['event_name', 'email', '', ' '], 'events', someMapping());
    expect(columns.count).toBe(2);
    const read = createReadCells(columns);
    const contentOf = (...cells: readonly string[]) =>
      read({ line: 2, lastLine: 2, end: 9, text: '', fault: null, cells });
    const entry = { event_name: 'e', email: 'a@b.com' };
    expect(contentOf('e', 'a@b.com', '', '')).toMatchObject({ kind: 'entry', entry });
    expect(contentOf('e', 'a@b.com')).toMatchObject({ kind: 'entry', entry });
    expect(contentOf('e', 'a@b.com', '', 'x')).toEqual({
      kind: 'fault',
      detail: 'has content in cell 4, but the header has 2 columns',
    });
    expect(contentOf('e')).toEqual({ kind: 'fault', detail: 'has 1 cells, but the header has 2' });
    expect(contentOf('', ' ', '', '')).toEqual({ kind: 'blank' });
  });
});
