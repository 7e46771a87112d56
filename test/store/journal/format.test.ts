import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { DirectoryError, openFormat, type Migration } from '../../../src/store/journal/format.js';
import { type Tables } from '../../../src/store/journal/tables.js';
import { createTotals } from '../../../src/store/journal/totals.js';
import { openTemporaryTables, type TemporaryTables } from './temporary-tables.js';

let temporary: TemporaryTables;
let directory: string;
let tables: Tables;

beforeEach(() => {
  temporary = openTemporaryTables();
  ({ directory, tables } = temporary);
});
afterEach(() => temporary.close());

const create = () => openFormat(tables, { directory, newEpoch: () => 'abcdef' });

/** Opens a journal that must exist. */
const openAgain = () =>
  openFormat(tables, {
    directory,
    newEpoch: () => {
      throw new Error('it is not new');
    },
  });

describe('a journal format', () => {
  it('is written once, with the totals of an empty journal', () => {
    const format = { application: 'klaviyo-relay', version: 1, epoch: 'abcdef' };
    expect(create()).toEqual({ format, totals: createTotals() });
    expect(openAgain()).toEqual({ format, totals: createTotals() });
  });

  it.each([
    ['without a record of its format', 'has no format record: it is damaged', ['format']],
    ['without totals', 'has no usable totals: it is damaged', ['totals']],
  ])('is rejected for a journal %s', async (_name, says, names) => {
    create();
    for (const name of names) await tables.meta.remove(name);
    expect(openAgain).toThrow(
      expect.objectContaining({ name: 'DirectoryError', message: `DATA_DIR ${directory} ${says}` }),
    );
  });

  it.each([
    ['of another application', { application: 'another' }],
    ['with the version 0', { version: 0 }],
    ['with an epoch of another form', { epoch: 'ABCDEF' }],
  ])('%s is rejected', async (_name, changed) => {
    const { format } = create();
    await tables.meta.put('format', { ...format, ...changed });
    expect(openAgain).toThrow("holds a journal that is not klaviyo-relay's");
  });

  it('of a newer relay is rejected before anything is migrated', async () => {
    const { format } = create();
    await tables.meta.put('format', { ...format, version: 2 });
    expect(openAgain).toThrow(DirectoryError);
    expect(openAgain).toThrow('a newer klaviyo-relay (format 2; this one reads up to 1)');
  });

  it('of an older relay is migrated one version at a time, each in one transaction', () => {
    create();
    const taken: string[] = [];
    const step =
      (name: string, fails = false): Migration =>
      ({ meta }) => {
        taken.push(name);
        meta.putSync(name, true);
        if (fails) throw new Error('no room');
      };
    const options = (migrations: Record<number, Migration>) => ({
      directory,
      newEpoch: () => 'unused',
      steps: { version: 3, migrations },
    });
    expect(() => openFormat(tables, options({ 1: step('one'), 2: step('two', true) }))).toThrow(
      'no room',
    );
    expect(tables.meta.get('format')).toMatchObject({ version: 2 });
    expect([tables.meta.get('one'), tables.meta.get('two')]).toEqual([true, undefined]);
    const { format } = openFormat(tables, options({ 2: step('two') }));
    expect(format.version).toBe(3);
    expect(taken).toEqual(['one', 'two', 'two']);
    expect(tables.meta.get('two')).toBe(true);
  });

  it('without a migration is rejected', () => {
    create();
    const options = { directory, newEpoch: () => '', steps: { version: 2, migrations: {} } };
    expect(() => openFormat(tables, options)).toThrow('no longer reads');
  });
});
