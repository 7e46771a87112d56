import { describe, expect, it } from 'vitest';
import { createColumns } from '../../src/import/columns.js';
import { groupIntoBatches } from '../../src/import/import-rows.js';
import {
  createPrepare,
  createReadCells,
  type Prepared,
  readAsText,
} from '../../src/import/prepare.js';
import type { Row } from '../../src/import/rows.js';
import type { ImportLane } from '../../src/import/fields.js';
import { someMapping } from './fixture.js';

const aRow = (text: string, overrides: Partial<Row> = {}): Row => ({
  line: 7,
  lastLine: 7,
  end: 100,
  text,
  cells: [],
  fault: null,
  ...overrides,
});

const bodyOf = (text: string, overrides: Partial<Row> = {}, lane: ImportLane = 'events') =>
  createPrepare(lane, readAsText)(aRow(text, overrides))[0]?.body ?? '';

const idOf = (body: string) => (JSON.parse(body) as { insert_id?: unknown }).insert_id;

describe('an imported event without an id', () => {
  const text = '{"event_name":"e","n":12345678901234567890}';

  it('gets one from its line and number, the same at each derivation', () => {
    expect(bodyOf(text)).toBe(`${text.slice(0, -1)},"insert_id":"${String(idOf(bodyOf(text)))}"}`);
    expect(idOf(bodyOf(text))).toMatch(/^import-[\w-]{22}$/);
    expect(idOf(bodyOf(text, { end: 5 }))).toBe(idOf(bodyOf(text)));
  });

  it('gets a different one on another line or with other content', () => {
    const ids = [bodyOf(text), bodyOf(text, { line: 8 }), bodyOf(`${text} `)].map(idOf);
    expect(new Set(ids).size).toBe(3);
  });

  it('gets one instead of null', () => {
    expect(idOf(bodyOf('{"insert_id":null}'))).toMatch(/^import-/);
  });

  it('gets one in CSV too, which the file of rejected entries does not show', () => {
    const columns = createColumns(['event_name', 'email'], 'events', someMapping());
    const prepare = createPrepare('events', createReadCells(columns));
    const [prepared] = prepare(aRow('e,a@b.com', { cells: ['e', 'a@b.com'] }));
    expect(idOf(prepared?.body ?? '')).toMatch(/^import-/);
    expect(prepared?.original).toBe('{"event_name":"e","email":"a@b.com"}');
    const [short] = prepare(aRow('e', { cells: ['e'] }));
    expect(short).toMatchObject({
      body: null,
      original: 'e',
      errors: [{ pointer: '', detail: 'has 1 cells, but the header has 2' }],
    });
  });
});

describe('an imported line is posted unchanged', () => {
  it.each(['{"insert_id":"a", "n":1.0}', 'no JSON', '[]', '{"a":1,"a":2}', '5'])(
    'if it is %s',
    (text) => {
      expect(bodyOf(text)).toBe(text);
    },
  );

  it('if it is a profile', () => {
    expect(bodyOf('{"email": "a@b.com"}', {}, 'profiles')).toBe('{"email": "a@b.com"}');
  });
});

it('a row that cannot be read is rejected with its issue', () => {
  const [prepared] = createPrepare(
    'profiles',
    readAsText,
  )(aRow('x', { fault: 'is not valid UTF-8' }));
  expect(prepared).toMatchObject({ body: null, errors: [{ detail: 'is not valid UTF-8' }] });
});

describe('a batch of an import', () => {
  const rows = (sizes: readonly number[]) =>
    // eslint-disable-next-line @typescript-eslint/require-await -- a source that has them all
    (async function* () {
      for (const bytes of sizes) yield { bytes } as Prepared;
    })();

  const sizesOf = async (
    sizes: readonly number[],
    bounds: { maxCount: number; maxBytes: number },
  ) => {
    const batches: number[][] = [];
    for await (const batch of groupIntoBatches(rows(sizes), () => bounds)) {
      batches.push(batch.map(({ bytes }) => bytes));
    }
    return batches;
  };

  it('is closed by count and by bytes, line ends included, and a larger row is alone', async () => {
    expect(await sizesOf([1, 1, 1, 1, 1], { maxCount: 2, maxBytes: 100 })).toEqual([
      [1, 1],
      [1, 1],
      [1],
    ]);
    expect(await sizesOf([4, 4, 4, 50, 4], { maxCount: 9, maxBytes: 10 })).toEqual([
      [4, 4],
      [4],
      [50],
      [4],
    ]);
    expect(await sizesOf([], { maxCount: 9, maxBytes: 10 })).toEqual([]);
  });
});
