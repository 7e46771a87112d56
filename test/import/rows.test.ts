import { parse } from 'csv-parse/sync';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  type Layout,
  maxRowBytes,
  type Place,
  readRows,
  type Row,
  start,
} from '../../src/import/rows.js';
import { toChunks } from './fixture.js';

const ndjson: Layout = { format: 'ndjson', delimiter: ',' };
const csv: Layout = { format: 'csv', delimiter: ',' };

async function read(
  input: string | Buffer | readonly Buffer[],
  layout: Layout,
  from: Place = start,
): Promise<Row[]> {
  const chunks = typeof input === 'string' || Buffer.isBuffer(input) ? [Buffer.from(input)] : input;
  // eslint-disable-next-line @typescript-eslint/require-await -- a source of chunks that has them all
  const source = async function* () {
    yield* chunks;
  };
  const rows: Row[] = [];
  for await (const row of readRows(source(), layout, from)) rows.push(row);
  return rows;
}

const cellsOf = async (text: string, layout = csv) =>
  (await read(text, layout)).map(({ cells, fault }) => fault ?? cells);

describe('an NDJSON input', () => {
  it('has a row a line with its end offset, and blank lines count as lines but not as rows', async () => {
    expect(await read('{"a":1}\n\n  {"b":2}\r\nno JSON', ndjson)).toEqual([
      { line: 1, lastLine: 1, end: 8, text: '{"a":1}', cells: [], fault: null },
      { line: 3, lastLine: 3, end: 20, text: '{"b":2}', cells: [], fault: null },
      { line: 4, lastLine: 4, end: 27, text: 'no JSON', cells: [], fault: null },
    ]);
  });

  it('loses its byte order mark', async () => {
    expect(await read('\ufeff{}\n', ndjson)).toMatchObject([{ text: '{}', end: 6 }]);
  });

  it('that is not UTF-8 in one line is rejected in that line', async () => {
    const bytes = Buffer.from('{"a":"\xe4"}\n{}\n', 'latin1');
    expect((await read(bytes, ndjson)).map(({ fault }) => fault)).toEqual([
      'is not valid UTF-8: save the file as UTF-8, or specify its encoding with --encoding',
      null,
    ]);
  });

  it('without line ends is held only up to the bound', async () => {
    const chunks = Array.from({ length: 40 }, () => Buffer.alloc(262_144, 'x'));
    const rows = await read([...chunks, Buffer.from('\n{}\n')], ndjson);
    expect(rows.map(({ line, end, fault }) => [line, end, fault])).toEqual([
      [1, 10_485_761, 'is longer than 5000000 bytes'],
      [2, 10_485_764, null],
    ]);
    expect(rows[0]?.text.length).toBe(maxRowBytes);
  });
});

describe('a CSV input', () => {
  it.each<[string, string, unknown]>([
    [
      'cells',
      'a,b\n1,2\n',
      [
        ['a', 'b'],
        ['1', '2'],
      ],
    ],
    ['no line end at the end', 'a\r\n1', [['a'], ['1']]],
    [
      'CRLF and LF in one file',
      'a,b\r\n1,2\n3,4\r\n',
      [
        ['a', 'b'],
        ['1', '2'],
        ['3', '4'],
      ],
    ],
    [
      'empty cells',
      ',\n"",\n',
      [
        ['', ''],
        ['', ''],
      ],
    ],
    ['blank lines', '\n\na\n \n\n1\n\n', [['a'], ['1']]],
    ['quotes in quotes', '"a ""b"" c","""",d\n', [['a "b" c', '"', 'd']]],
    [
      'line ends in quotes, as they are',
      'x,"a\r\nb\nc"\n1,2\n',
      [
        ['x', 'a\r\nb\nc'],
        ['1', '2'],
      ],
    ],
    ['a blank line in quotes', '"a\n\nb"\n', [['a\n\nb']]],
    ['a byte order mark before a quote', '\ufeff"a",b\n', [['a', 'b']]],
    ['spaces, which belong to the cell', ' a , "b"\n', [[' a ', ' "b"']]],
    [
      'a quote inside a cell',
      '5" pipe,6"\n"x",y\n',
      [
        ['5" pipe', '6"'],
        ['x', 'y'],
      ],
    ],
  ])('with %s is read', async (_, text, expected) => {
    expect(await cellsOf(text)).toEqual(expected);
  });

  it('with another delimiter is read', async () => {
    expect(await cellsOf('a;"b;c"\n', { ...csv, delimiter: ';' })).toEqual([['a', 'b;c']]);
  });

  it('has rows with their first and last line and end offset', async () => {
    const rows = await read('a\n"x\ny"\r\n\nz\n', csv);
    expect(rows.map(({ line, lastLine, end, text }) => [line, lastLine, end, text])).toEqual([
      [1, 1, 2, 'a'],
      [2, 3, 9, '"x\ny"'],
      [5, 5, 12, 'z'],
    ]);
  });

  const broken = 'has something after a closing quote that is neither a delimiter nor a line end';
  const open = 'opens a quote that is never closed';

  it.each<[string, string, unknown]>([
    ['something after a quote', 'a\n"b"c\nd\n', [['a'], broken, ['d']]],
    ['a quote that a later record closes', 'a,"b\nc,"d"\ne,f\n', [broken, ['c', 'd'], ['e', 'f']]],
    ['a quote that nothing closes', 'a,"b\nc,d\ne,f\n', [open, ['c', 'd'], ['e', 'f']]],
    ['two of those', 'x,"b\ny\n"z"";\n', [broken, ['y'], open]],
  ])('with %s keeps all other records', async (_, text, expected) => {
    expect(await cellsOf(text)).toEqual(expected);
  });

  it.each([
    ['bytes', 'x'.repeat(9999), 501, 'is longer than 5000000 bytes'],
    ['lines', 'x', 10_000, 'opens a quote that 10000 lines do not close'],
  ])('is read further after a record with too many %s', async (_, text, count, fault) => {
    const rows = await read(`"${`${text}\n`.repeat(count)}"\nlast\n`, csv);
    expect(rows[0]).toMatchObject({ line: 1, lastLine: 1, fault });
    expect(rows).toHaveLength(count + 2);
    expect(rows.at(-1)).toMatchObject({ text: 'last' });
  });

  const cell = fc.string({ unit: fc.constantFrom('a', 'é', '"', ',', '\n', '\r\n', ' ', '😀') });

  it('that is well formed is read as csv-parse does', async () => {
    const records = fc.array(fc.array(cell, { minLength: 2, maxLength: 4 }), { minLength: 1 });
    const eol = fc.constantFrom('\n', '\r\n');
    await fc.assert(
      fc.asyncProperty(records, eol, async (written, end) => {
        const quoted = (text: string) => `"${text.replaceAll('"', '""')}"`;
        const text = written.map((record) => record.map(quoted).join(',') + end).join('');
        expect(await cellsOf(text)).toEqual(written);
        const ofCsvParse: unknown = parse(text, {
          relax_column_count: true,
          record_delimiter: ['\r\n', '\n'],
        });
        expect(ofCsvParse).toEqual(written);
      }),
    );
  });
});

describe.each([ndjson, csv])('an input of $format', (layout) => {
  const bytes = fc
    .string({
      unit: fc.constantFrom('a', 'é', '"', '""', ',', '\n', '\r\n', '\r', ' ', '😀', '{}'),
    })
    .map((text) => Buffer.from(text));

  it('is read the same way however its bytes are split into chunks', async () => {
    await fc.assert(
      fc.asyncProperty(bytes, fc.array(fc.nat()), async (given, cuts) => {
        expect(await read(toChunks(given, cuts), layout)).toEqual(await read(given, layout));
      }),
    );
  });

  it('is read the same way from any row on', async () => {
    await fc.assert(
      fc.asyncProperty(bytes, async (given) => {
        const rows = await read(given, layout);
        for (const [at, { lastLine, end }] of rows.entries()) {
          const rest = await read(given.subarray(end), layout, { line: lastLine, offset: end });
          expect(rest).toEqual(rows.slice(at + 1));
        }
      }),
    );
  });

  it('is read without skipping any line that is not blank', async () => {
    await fc.assert(
      fc.asyncProperty(bytes, async (given) => {
        const lines = given.toString().split('\n');
        const found = (await read(given, layout)).flatMap(({ line, lastLine }) =>
          Array.from({ length: lastLine - line + 1 }, (_, at) => line + at),
        );
        expect(new Set(found).size).toBe(found.length);
        const expected = lines.flatMap((line, at) => (line.trim() === '' ? [] : [at + 1]));
        expect(found).toEqual(expect.arrayContaining(expected));
      }),
    );
  });

  it.each([
    ['UTF-16 without a byte order mark', Buffer.from('a\n', 'utf16le'), '--encoding utf-16le'],
    ['a workbook', Buffer.from('PK\x03\x04'), 'workbook'],
  ])('reports the issue of %s', async (_, input, words) => {
    await expect(read(input, layout)).rejects.toThrow(words);
  });
});
