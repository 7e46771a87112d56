import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { decodeBlock, encodeBlock } from '../../../src/store/journal/block.js';
import {
  decodeDeadLetter,
  encodeDeadLetter,
} from '../../../src/store/journal/dead-letter-codec.js';
import { decodeFact, encodeFact } from '../../../src/store/journal/fact.js';
import { openTables, type Tables } from '../../../src/store/journal/tables.js';
import { verify } from '../../../src/store/journal/verify.js';
import {
  ack,
  aDelivery,
  aProfile,
  deadLetter,
  retry,
  settledAs,
  someEvents,
} from '../../support/builders.js';
import { append, claim, deadLetterAll } from '../contract/harness.js';
import { encodeLegacyFact } from './legacy-fact.js';
import { openTestJournal } from './under-test.js';

let directory: string;
let tables: Tables;

/**
 * A closed journal with something in each table:
 * - events 1 to 5 in block 1: 1 and 2 are settled, 3 is retried, 4 and 5 are dead letters;
 * - events 6 to 8 in block 6, which were never tried;
 * - profile 1, whose import job runs, and profile 2, a dead letter;
 * - two facts.
 */
beforeEach(async () => {
  directory = mkdtempSync(join(tmpdir(), 'relay-verify-'));
  const { store } = await openTestJournal({ directory });
  await append(store, someEvents(5));
  const events = await claim(store);
  await store.settle({
    lane: 'events',
    delivery: aDelivery({ id: 'dl_1' }),
    settled: [
      ...settledAs(events.slice(0, 2), ack),
      ...settledAs(events.slice(2, 3), retry(60_000)),
      ...settledAs(events.slice(3), deadLetter()),
    ],
  });
  await append(store, someEvents(3));
  await append(store, [aProfile()]);
  const profiles = await claim(store, {}, 'profiles');
  const delivery = aDelivery({ id: 'dl_2', lane: 'profiles', result: 'pending' });
  const settled = settledAs(profiles, { kind: 'poll', ref: 'job-1' });
  await store.settle({ lane: 'profiles', delivery, settled });
  await append(store, [aProfile()]);
  await deadLetterAll(store, 'profiles');
  await store.putFacts([
    { kind: 'order', key: 'a', value: '1' },
    { kind: 'user', key: 'b', value: '2' },
  ]);
  await store.close();
  tables = openTables(join(directory, 'journal.mdb'));
});
afterEach(async () => {
  await tables.environment.close();
  rmSync(directory, { recursive: true });
});

const check = (): readonly string[] => [...verify(tables)];

const flip = (bytes: Buffer): Buffer => {
  const changed = Buffer.from(bytes);
  changed[changed.length - 1]! ^= 1;
  return changed;
};

/** Writes the entry again with a longer payload. */
async function lengthen(key: [number, number, number]): Promise<void> {
  const [first, ...others] = decodeBlock(tables.blocks.get(key)!, 'it');
  const longer = { ...first!, payload: Buffer.from('longer than it was') };
  await tables.blocks.put(key, encodeBlock([longer, ...others]));
}

it('the check of an intact journal finds nothing', () => {
  expect(check()).toEqual([]);
});

it('the check stops if the totals cannot be read', async () => {
  await tables.meta.put('totals', { lanes: {} });
  await tables.dedupe.put(1, Buffer.alloc(20));
  expect(check()).toEqual(['the totals cannot be read']);
});

describe('the check of envelopes', () => {
  it('reports a damaged block, and what the totals lack without it', async () => {
    await tables.blocks.put([0, 1, 6], flip(tables.blocks.get([0, 1, 6])!));
    expect(check()).toEqual([
      expect.stringContaining('block 0/1/6 has a wrong checksum'),
      expect.stringMatching(
        /^lane 0 holds 1 unsettled envelopes of \d+ bytes, and its totals say 4 of \d+$/,
      ),
    ]);
  });

  it('reports bytes that differ from the totals although the count is right', async () => {
    await lengthen([0, 1, 6]);
    const [fault, ...others] = check();
    expect(fault).toMatch(/^lane 0 holds 4 unsettled envelopes of \d+ bytes, .* say 4 of \d+$/);
    expect(others).toEqual([]);
  });

  it('does not count settled envelopes', async () => {
    await lengthen([0, 1, 1]);
    expect(check()).toEqual([]);
  });

  it('reports states that are not those of the block', async () => {
    const states = tables.states.get([0, 1, 1])!;
    await tables.states.put([0, 1, 1], { ...states, runs: [...states.runs, [1, 0]] });
    expect(check()).toEqual([
      'block 0/1/1 has other states',
      expect.stringContaining('lane 0 holds 3 unsettled envelopes'),
    ]);
  });

  it('reports states without a block', async () => {
    await tables.states.put([0, 1, 99], { runs: [[1, 1]], trials: [] });
    await tables.states.put([1, 1, 98], { runs: [[1, 1]], trials: [] });
    expect(check()).toEqual([
      'there are states for block 0/1/99, which is not there',
      'there are states for block 1/1/98, which is not there',
    ]);
  });

  it('includes redriven ones, and each lane has its own', async () => {
    await tables.blocks.put(
      [1, 0, 1],
      encodeBlock([{ seq: 7, acceptedAt: 0, keys: [], payload: Buffer.from('{}') }]),
    );
    expect(check()).toEqual([expect.stringContaining('lane 1 holds 2 unsettled envelopes')]);
  });
});

describe('the check of dead letters', () => {
  it('reports one that is not there', async () => {
    await tables.deadLetters.remove(1);
    expect(check()).toEqual(['dead letter 1 is not there']);
  });

  it('reports a damaged one', async () => {
    await tables.deadLetters.put(2, flip(tables.deadLetters.get(2)!));
    expect(check()).toEqual([expect.stringContaining('dead letter 2 has a wrong checksum')]);
  });

  it('reports one that is not the one of its index', async () => {
    const other = decodeDeadLetter(tables.deadLetters.get(1)!, 'it');
    await tables.deadLetters.put(2, encodeDeadLetter(other));
    expect(check()).toEqual(['dead letter 2 has another number than its index']);
  });

  it('reports a count that differs from the totals of its lane', async () => {
    await tables.deadLetterOrders.remove([0, 4]);
    await tables.deadLetterOrders.remove([1, 2]);
    expect(check()).toEqual([
      'lane 0 holds 1 dead letters, and its totals say 2',
      'lane 1 holds 0 dead letters, and its totals say 1',
    ]);
  });
});

it('the check reports a damaged entry of the dedupe window', async () => {
  await tables.dedupe.put(1, flip(tables.dedupe.get(1)!));
  expect(check()).toEqual([expect.stringContaining('entry 1 of seen has a wrong checksum')]);
});

describe('the check of the delivery log', () => {
  it('reports a delivery that is not there, and what it settled', async () => {
    await tables.deliveries.remove(1);
    expect(check()).toEqual([
      'delivery 1 is not the one that its index names',
      'envelopes 1 to 2 were settled by delivery 1, which is not there',
    ]);
  });

  it('reports a delivery under the order of another', async () => {
    await tables.deliveryOrders.put('dl_1', 2);
    expect(check()).toEqual(['delivery 2 is not the one that its index names']);
  });

  it('reports an import job of an unknown lane', async () => {
    const job = tables.imports.get('job-1')!;
    await tables.imports.put('job-2', { ...job, lane: 'catalog' as typeof job.lane });
    expect(check()).toEqual(['import job job-2 is of no lane']);
  });
});

describe('the check of facts', () => {
  const key = Buffer.from('a');

  it.each([
    ['another time', { at: 7 }],
    ['another order', { order: 7 }],
    ['another kind', { kind: 'user' as const }],
  ])('reports one with %s than its index', async (_name, changed) => {
    const fact = decodeFact(key, tables.facts.get(key)!, 'it');
    await tables.facts.put(key, encodeFact(key, { ...fact, ...changed }));
    expect(check()).toEqual(['fact 1 of order has another place than its index']);
  });

  it('reports one that is not there', async () => {
    await tables.facts.remove(key);
    expect(check()).toEqual([
      'fact 1 of order is not there',
      'there are 1 facts, and 2 in the order of their age',
    ]);
  });

  it('reports an index of an unknown kind', async () => {
    await tables.factOrders.put([99, 1], tables.factOrders.get([1, 1])!);
    expect(check()).toEqual([
      'fact 1 of no known kind has another place than its index',
      'there are 2 facts, and 3 in the order of their age',
    ]);
  });

  it('reports those of an earlier version that are not there, or have another number', async () => {
    await tables.legacyFactOrders.put(1, key);
    await tables.legacyFactOrders.put(2, Buffer.from('b'));
    await tables.legacyFacts.put(Buffer.from('b'), encodeLegacyFact('b', 3, '1'));
    await tables.legacyFactOrders.put(3, Buffer.from('c'));
    await tables.legacyFacts.put(Buffer.from('c'), encodeLegacyFact('c', 3, '1'));
    expect(check()).toEqual([
      'memo 1 is not there',
      'memo 2 has another number than its index',
      'there are 2 memos, and 3 in the order of their age',
    ]);
  });
});
