import { afterEach, describe, expect, it } from 'vitest';
import {
  ack,
  anEvent,
  aReason,
  deadLetter,
  retry,
  settledAs,
  someEvents,
} from '../../support/builders.js';
import { append, claim, settleAll, toClaimed } from '../contract/harness.js';
import { openTestJournal, type JournalSettings, type JournalUnderTest } from './under-test.js';

let under: JournalUnderTest;
afterEach(async () => {
  await under.close();
  expect(under.faults).toEqual([]);
  expect(under.clock.pending()).toBe(0);
});

async function open(settings: JournalSettings = {}): Promise<JournalUnderTest> {
  under = await openTestJournal(settings);
  return under;
}

/** Appends each event in a group of its own, and thereby in a block of its own. */
async function appendEach(...texts: readonly string[]): Promise<void> {
  for (const text of texts) {
    await append(under.store, [anEvent({ text, acceptedAt: under.clock.now() })]);
    await under.clock.advance(1000);
  }
}

/** Memory for one envelope of a lane. */
const oneInMemory = { maxWorkingSetBytes: 2 };

describe('envelopes that are on disk only', () => {
  it('are claimable once memory is free', async () => {
    await open(oneInMemory);
    await appendEach('a', 'bb', 'ccc');
    const claimable = () => under.store.claimable('events');
    expect(claimable()).toMatchObject({ count: 1, bytes: 2, oldestAgeMs: 3000 });
    const items = await claim(under.store);
    expect(toClaimed(items)).toEqual([['a']]);
    expect(claimable()).toMatchObject({ count: 0, bytes: 0, oldestAgeMs: null });
    await under.store.settle({ lane: 'events', settled: settledAs(items, ack) });
    expect(claimable()).toMatchObject({ count: 2, bytes: 7, oldestAgeMs: 2000 });
    expect(toClaimed(await claim(under.store))).toEqual([['bb']]);
    expect(claimable()).toMatchObject({ count: 0, bytes: 0, oldestAgeMs: null });
  });

  it('are reported to listeners as soon as settlements free memory', async () => {
    await open(oneInMemory);
    await appendEach('a', 'b');
    const items = await claim(under.store);
    const notified: string[] = [];
    under.store.onClaimable((lane) => void notified.push(lane));
    await under.store.settle({ lane: 'events', settled: settledAs(items, retry(500)) });
    expect(notified).toEqual([]);
    await under.clock.advance(500);
    const again = await claim(under.store);
    expect(toClaimed(again)).toEqual([['a']]);
    notified.length = 0;
    await under.store.settle({ lane: 'events', settled: settledAs(again, ack) });
    expect(notified).toEqual(['events']);
    const last = await claim(under.store);
    expect(toClaimed(last)).toEqual([['b']]);
    await under.store.settle({ lane: 'events', settled: settledAs(last, ack) });
    expect(notified).toEqual(['events']);
  });

  it('count for the age of the oldest envelope if a younger one is in memory', async () => {
    await open(oneInMemory);
    await appendEach('a', 'b');
    await settleAll(under.store, { lane: 'events', verdict: deadLetter() });
    await under.store.redrive({}, { dryRun: false });
    expect(under.store.depth('events').oldestAgeMs).toBe(1000);
    await under.clock.advance(10);
    expect(under.store.depth('events').oldestAgeMs).toBe(1010);
  });

  it('count together with a redriven envelope that must not overtake them', async () => {
    await open({ maxWorkingSetBytes: 1000, dedupe: { maxAgeMs: 0, maxCount: 0 } });
    await append(under.store, [anEvent({ text: '1' })]);
    await append(under.store, [
      anEvent({ text: '12', keys: ['ea'] }),
      anEvent({ text: '123', keys: ['ea'], deadLetterReason: aReason() }),
      anEvent({ text: '1234', keys: ['ea'] }),
    ]);
    await under.store.redrive({}, { dryRun: false });
    await under.reopen();
    expect(under.store.claimable('events')).toMatchObject({ count: 4, bytes: 14 });
    const left: string[] = [];
    for (let turn = 0; turn < 4; turn++) {
      const items = await claim(under.store, { maxCount: 1 });
      left.push(...toClaimed(items).flat());
      await under.store.settle({ lane: 'events', settled: settledAs(items, ack) });
    }
    expect(left).toEqual(['1', '12', '123', '1234']);
    expect(under.store.claimable('events')).toMatchObject({ count: 0, bytes: 0 });
  });

  it('are loaded up to exactly the bytes of the working set', async () => {
    // A lane has half of it, and an envelope takes 600 bytes besides its payload and the separator.
    await open({ maxWorkingSetBytes: 2 * 2 * 603 });
    for (let index = 0; index < 4; index++) await append(under.store, [anEvent({ text: '{}' })]);
    await under.reopen();
    expect(await claim(under.store)).toHaveLength(2);
  });
});

describe('a lane after a restart', () => {
  it('has the ages of the envelopes that it loaded', async () => {
    await open();
    await appendEach('a', 'b');
    const [first] = await claim(under.store, { maxCount: 1 });
    await under.store.settle({ lane: 'events', settled: settledAs([first!], retry(60_000)) });
    await under.reopen();
    await under.clock.advance(1000);
    expect(under.store.depth('events').oldestAgeMs).toBe(3000);
    expect(under.store.claimable('events')).toMatchObject({ count: 1, oldestAgeMs: 2000 });
  });

  it('has room for as many envelopes as it had before', async () => {
    await open({ capacity: { maxCount: 10, maxBytes: 10_000 } });
    await append(under.store, someEvents(9));
    await under.reopen();
    expect((await under.store.append(someEvents(2))).ok).toBe(false);
    expect((await under.store.append(someEvents(1))).ok).toBe(true);
  });

  it('has room for as many bytes as it had before', async () => {
    await open({ capacity: { maxCount: 10, maxBytes: 100 } });
    await append(under.store, [anEvent({ text: 'x'.repeat(79) })]);
    await under.reopen();
    expect((await under.store.append([anEvent({ text: 'x'.repeat(20) })])).ok).toBe(false);
    expect((await under.store.append([anEvent({ text: 'x'.repeat(19) })])).ok).toBe(true);
  });
});
