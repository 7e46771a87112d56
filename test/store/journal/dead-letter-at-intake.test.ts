import { afterEach, describe, expect, it } from 'vitest';
import type { Draft } from '../../../src/model/envelope.js';
import { openOffline } from '../../../src/store/journal/offline.js';
import {
  ack,
  anEvent,
  aReason,
  deadLetter,
  settledAs,
  someEvents,
  toText,
} from '../../support/builders.js';
import {
  append,
  appendIds,
  deadLetterAll,
  claim,
  expectBalanced,
  settleAll,
} from '../contract/harness.js';
import { openTestJournal, type JournalSettings, type JournalUnderTest } from './under-test.js';

let under: JournalUnderTest;
afterEach(async () => {
  expectBalanced(under.store);
  await under.store.close();
  const offline = await openOffline(under.directory, 0);
  expect([...offline.check()]).toEqual([]);
  await offline.close();
  await under.close();
  expect(under.faults).toEqual([]);
});

async function open(settings: JournalSettings = {}): Promise<JournalUnderTest> {
  under = await openTestJournal(settings);
  return under;
}

const aBuried = (text: string, overrides: Partial<Draft> = {}): Draft =>
  anEvent({ text, deadLetterReason: aReason({ code: 'no_identity' }), ...overrides });

const letters = async (): Promise<readonly string[]> =>
  (await under.store.deadLetters({}, { limit: 100 })).data.map(toText).reverse();

describe.each([
  ['a crash', () => under.crash()],
  ['a close', () => under.reopen()],
])('what was buried as it came, after %s', (_name, restart) => {
  it('is the dead letter that it was, and its number is not given out again', async () => {
    await open();
    const ids = await appendIds(under.store, [anEvent(), aBuried('bad'), anEvent()]);
    const before = {
      letter: await under.store.deadLetter(ids[1]!),
      receipt: await under.store.receipt(ids[1]!),
      history: under.store.laneTotals('events'),
      depth: under.store.depth('events'),
    };
    expect(before.history).toEqual({
      accepted: 3,
      delivered: 0,
      merged: 0,
      deadLettered: 1,
      erased: 0,
    });
    await restart();
    expect(await under.store.deadLetter(ids[1]!)).toEqual(before.letter);
    expect(await under.store.receipt(ids[1]!)).toEqual(before.receipt);
    expect(under.store.laneTotals('events')).toEqual(before.history);
    expect(under.store.depth('events')).toEqual(before.depth);
    const later = await appendIds(under.store, [aBuried('worse')]);
    expect(new Set([...ids, ...later]).size).toBe(4);
    expect(await claim(under.store)).toHaveLength(2);
  });

  it('leaves after what was accepted before it, also where that is on disk alone', async () => {
    await open({ maxWorkingSetBytes: 1000, dedupe: { maxAgeMs: 0, maxCount: 0 } });
    await append(under.store, [anEvent({ text: 'first' })]);
    await append(under.store, [
      anEvent({ text: 'old', keys: ['ea'] }),
      aBuried('new', { keys: ['ea'] }),
      anEvent({ text: 'newest', keys: ['ea'] }),
    ]);
    const { data } = await under.store.deadLetters({}, { limit: 1 });
    await under.store.redrive({}, { dryRun: false });
    expect((await under.store.receipt(data[0]!.id))?.state).toBe('buffered');
    await restart();
    expect((await under.store.receipt(data[0]!.id))?.state).toBe('buffered');
    expect(under.store.depth('events').count).toBe(4);
    const left: string[] = [];
    for (let turn = 0; turn < 4; turn++) {
      const items = await claim(under.store, { maxCount: 1 });
      left.push(...items.flat().map(toText));
      await under.store.settle({ lane: 'events', settled: settledAs(items, ack) });
    }
    expect(left).toEqual(['first', 'old', 'new', 'newest']);
    expect(under.store.depth('events').count).toBe(0);
  });
});

it('is told apart from what waits on disk alone around it, and is unknown once it is discarded', async () => {
  await open({ maxWorkingSetBytes: 1000 });
  await append(under.store, someEvents(3));
  const ids = await appendIds(under.store, [anEvent(), aBuried('bad'), anEvent()]);
  const states = async () =>
    (await Promise.all(ids.map((id) => under.store.receipt(id)))).map((each) => each?.state);
  expect(await states()).toEqual(['buffered', 'dead_lettered', 'buffered']);
  await under.store.discard({}, { dryRun: false });
  expect(await states()).toEqual(['buffered', undefined, 'buffered']);
});

describe('at the bound, in one group with', () => {
  /** Two letters, a and b, and what is done in the turn in which a third comes. */
  async function together<T>(change: () => Promise<T>): Promise<T> {
    await open({ maxDeadLetters: 2 });
    await append(under.store, [aBuried('a'), aBuried('b')]);
    const [result] = await Promise.all([change(), append(under.store, [aBuried('c')])]);
    return result;
  }

  it('a redrive, the one that falls out is not redriven', async () => {
    expect(await together(() => under.store.redrive({}, { dryRun: false }))).toBe(1);
    expect(await letters()).toEqual(['c']);
    expect(under.dropped.map(toText)).toEqual(['a']);
    expect((await claim(under.store)).flat().map(toText)).toEqual(['b']);
  });

  it('a discard, the one that falls out is not counted twice', async () => {
    expect(await together(() => under.store.discard({}, { dryRun: false }))).toBe(1);
    expect(await letters()).toEqual(['c']);
    expect(under.store.depth('events').deadLetters).toBe(1);
  });

  it('a settlement that buries, the two oldest fall out', async () => {
    await open({ maxDeadLetters: 2 });
    await append(under.store, [aBuried('a'), aBuried('b'), anEvent({ text: 'd' })]);
    const settled = settledAs(await claim(under.store), deadLetter());
    await Promise.all([
      under.store.settle({ lane: 'events', settled }),
      append(under.store, [aBuried('c')]),
    ]);
    expect(await letters()).toEqual(['c', 'd']);
    expect(under.dropped.map(toText).sort()).toEqual(['a', 'b']);
    expect(under.store.depth('events').deadLetters).toBe(2);
  });
});

it('accepted = settled + buffered after concurrent dead letters at intake at the bound, with settlements between them', async () => {
  await open({ maxDeadLetters: 7 });
  for (let round = 0; round < 5; round++) {
    await append(under.store, someEvents(3));
    await Promise.all([
      append(under.store, [aBuried('x'), anEvent(), aBuried('y')]),
      deadLetterAll(under.store),
      append(under.store, [aBuried('z')]),
      under.store.redrive({}, { dryRun: false }),
    ]);
    expectBalanced(under.store);
  }
  await settleAll(under.store, { lane: 'events', verdict: ack });
  expect((await letters()).length).toBe(under.store.depth('events').deadLetters);
});
