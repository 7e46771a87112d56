import { afterEach, describe, expect, it } from 'vitest';
import {
  ack,
  aDelivery,
  anEvent,
  aProfile,
  deadLetter,
  merged,
  retry,
  settledAs,
  someEvents,
  startMs,
  toText,
} from '../../support/builders.js';
import {
  append,
  appendIds,
  deadLetterAll,
  claim,
  settleAll,
  toClaimed,
} from '../contract/harness.js';
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

const hour = 3_600_000;

describe.each([
  ['a crash', () => under.crash()],
  ['a close', () => under.reopen()],
])('after %s', (_name, restart) => {
  it('every unsettled envelope is present, in order and unchanged', async () => {
    await open();
    const ids = await appendIds(under.store, [
      anEvent({ text: '{"é":"😀"}', keys: ['ea', 'p1'], acceptedAt: startMs }),
      ...someEvents(3),
    ]);
    await append(under.store, [aProfile({ text: 'p' })]);
    await under.clock.advance(500);
    await restart();
    expect(under.store.depth('events')).toMatchObject({ count: 4, oldestAgeMs: 500 });
    const items = await claim(under.store);
    expect(items.flat().map(({ id }) => id)).toEqual(ids);
    expect(toText(items[0]![0])).toBe('{"é":"😀"}');
    expect(items[0]![0]).toMatchObject({ keys: ['ea', 'p1'], acceptedAt: startMs, attempts: 0 });
    expect(toClaimed(await claim(under.store, {}, 'profiles'))).toEqual([['p']]);
  });

  it('settled envelopes do not return, also those from the middle of a request', async () => {
    await open();
    await append(under.store, someEvents(6));
    const items = await claim(under.store);
    const [a, b, c, d] = items;
    await under.store.settle({
      lane: 'events',
      delivery: aDelivery({ id: 'dl_1' }),
      settled: [
        ...settledAs([b!], ack),
        ...settledAs([c!], merged),
        ...settledAs([d!], deadLetter()),
        ...settledAs([a!], retry(0)),
      ],
    });
    await restart();
    const again = (await claim(under.store)).flat();
    expect(again.map(toText)).toEqual(['n0', 'n4', 'n5']);
    expect(again.map(({ attempts }) => attempts)).toEqual([1, 0, 0]);
    expect(under.store.depth('events')).toMatchObject({ count: 3, deadLetters: 1 });
  });

  it('envelopes of one block that were settled one after the other do not return', async () => {
    await open();
    await append(under.store, someEvents(4));
    for (const item of (await claim(under.store)).slice(0, 3)) {
      const settled = settledAs([item], ack);
      await under.store.settle({ lane: 'events', delivery: aDelivery(), settled });
    }
    await restart();
    expect(toClaimed(await claim(under.store)).flat()).toEqual(['n3']);
    expect(under.store.depth('events').count).toBe(1);
  });

  it('envelopes that were in flight are sent again', async () => {
    await open();
    const [id] = await appendIds(under.store, someEvents(2));
    await claim(under.store);
    await restart();
    expect((await under.store.receipt(id!))?.state).toBe('buffered');
    expect(toClaimed(await claim(under.store)).flat()).toEqual(['n0', 'n1']);
  });

  it('a retry waits for the rest of its delay, and keeps its attempts and its place', async () => {
    await open();
    await append(under.store, [anEvent({ keys: ['ea'], text: 'old' }), anEvent({ text: 'other' })]);
    const [old, other] = await claim(under.store);
    await under.store.settle({
      lane: 'events',
      delivery: aDelivery({ id: 'dl_1' }),
      settled: [...settledAs([old!], retry(10_000)), ...settledAs([other!], ack)],
    });
    await under.clock.advance(4000);
    await restart();
    await under.clock.advance(5999);
    expect(await claim(under.store)).toEqual([]);
    expect(under.store.claimable('events').nextDueMs).toBe(1);
    await under.clock.advance(1);
    const [again] = (await claim(under.store)).flat();
    expect(again).toMatchObject({ attempts: 1 });
    expect(await under.store.receipt(again!.id)).toMatchObject({
      state: 'in_flight',
      deliveryId: 'dl_1',
      reason: { code: 'server_error' },
    });
  });

  it('an envelope that failed together with others is still sent alone', async () => {
    await open();
    await append(under.store, [aProfile({ keys: ['ea'] }), aProfile({ keys: ['ea'] })]);
    const items = await claim(under.store, {}, 'profiles');
    expect(items).toHaveLength(1);
    const apart = retry(0, { alone: true, countAttempt: false });
    await under.store.settle({ lane: 'profiles', settled: settledAs(items, apart) });
    await restart();
    expect((await claim(under.store, {}, 'profiles'))[0]).toHaveLength(1);
  });

  it('a profile that waited for another of its identity still waits', async () => {
    await open();
    await append(under.store, [aProfile({ keys: ['ea'], text: 'older' })]);
    const items = await claim(under.store, {}, 'profiles');
    await append(under.store, [aProfile({ keys: ['ea'], text: 'newer' })]);
    await under.store.settle({ lane: 'profiles', settled: settledAs(items, retry(1000)) });
    await restart();
    expect(await claim(under.store, {}, 'profiles')).toEqual([]);
    await under.clock.advance(1000);
    expect(toClaimed(await claim(under.store, {}, 'profiles'))).toEqual([['older', 'newer']]);
  });

  it('a retry that is due does not bring forward envelopes behind others', async () => {
    await open();
    await append(under.store, [aProfile({ keys: ['ea'], text: 'a1' })]);
    const first = await claim(under.store, {}, 'profiles');
    await append(under.store, [aProfile({ keys: ['ea'], text: 'a2' })]);
    await append(under.store, [
      aProfile({ keys: ['eb'], text: 'b1' }),
      aProfile({ keys: ['ea'], text: 'a3' }),
    ]);
    const second = await claim(under.store, {}, 'profiles');
    expect(toClaimed(second)).toEqual([['b1']]);
    await under.store.settle({ lane: 'profiles', settled: settledAs(first, ack) });
    await under.store.settle({ lane: 'profiles', settled: settledAs(second, retry(0)) });
    await restart();
    expect(toClaimed(await claim(under.store, {}, 'profiles'))).toEqual([['a2', 'a3'], ['b1']]);
  });

  it('receipts, the delivery log and dead letters are the same', async () => {
    await open();
    const [delivered, second, dead] = await appendIds(under.store, someEvents(3));
    const [a, b, c] = await claim(under.store);
    const delivery = aDelivery({ id: 'dl_1', reason: { code: 'x', detail: 'y', status: 400 } });
    await under.store.settle({
      lane: 'events',
      delivery,
      settled: [
        ...settledAs([a!], ack),
        ...settledAs([b!], merged),
        ...settledAs([c!], deadLetter()),
      ],
    });
    const receipts = () =>
      Promise.all([delivered, second, dead].map((id) => under.store.receipt(id!)));
    const before = {
      receipts: await receipts(),
      letter: await under.store.deadLetter(dead!),
      history: under.store.laneTotals('events'),
    };
    await restart();
    expect(await receipts()).toEqual(before.receipts);
    expect(await under.store.deadLetter(dead!)).toEqual(before.letter);
    expect((await under.store.deliveries({}, { limit: 10 })).data).toEqual([delivery]);
    expect(before.history).toEqual({
      accepted: 3,
      delivered: 1,
      merged: 1,
      deadLettered: 1,
      erased: 0,
    });
    expect(under.store.laneTotals('events')).toEqual(before.history);
  });

  it('an envelope names its own delivery if two that ended together failed alike', async () => {
    await open();
    const ids = await appendIds(under.store, someEvents(2));
    const items = await claim(under.store);
    const verdict = retry(60_000);
    const deliveries = [aDelivery(), aDelivery()];
    await Promise.all(
      deliveries.map((delivery, index) => {
        const settled = settledAs([items[index]!], verdict);
        return under.store.settle({ lane: 'events', delivery, settled });
      }),
    );
    await restart();
    const receipts = await Promise.all(ids.map((id) => under.store.receipt(id)));
    expect(receipts.map((receipt) => receipt?.deliveryId)).toEqual(deliveries.map(({ id }) => id));
  });

  it('new ids and new deliveries do not repeat old ones', async () => {
    await open();
    const before = await appendIds(under.store, someEvents(2));
    await settleAll(under.store, { lane: 'events', verdict: ack });
    await restart();
    const after = await appendIds(under.store, someEvents(2));
    await settleAll(under.store, { lane: 'events', verdict: ack });
    expect(new Set([...before, ...after]).size).toBe(4);
    expect((await under.store.deliveries({}, { limit: 10 })).data).toHaveLength(2);
    for (const id of [...before, ...after]) {
      expect((await under.store.receipt(id))?.state).toBe('delivered');
    }
  });

  it('a repeat is found for the rest of its time in the window', async () => {
    await open({ dedupe: { maxAgeMs: hour, maxCount: 1000 } });
    const event = anEvent({ keys: ['ea'], acceptedAt: under.clock.now() });
    const [id] = await appendIds(under.store, [event]);
    await settleAll(under.store, { lane: 'events', verdict: ack });
    await under.clock.advance(hour / 2);
    await restart();
    expect(await append(under.store, [anEvent({ keys: ['ea'] })])).toEqual([
      { id, duplicate: true },
    ]);
    await under.clock.advance(hour / 2);
    expect((await append(under.store, [anEvent({ keys: ['ea'] })]))[0]!.duplicate).toBe(false);
  });

  it('a unique_id that a dead letter freed can be posted again, and one that was redriven cannot', async () => {
    await open();
    await append(under.store, [anEvent({ keys: ['ea'] }), anEvent({ keys: ['eb'] })]);
    await deadLetterAll(under.store);
    const { data } = await under.store.deadLetters({}, { limit: 10 });
    await under.store.redrive({ ids: [data[0]!.id] }, { dryRun: false });
    await restart();
    const [a, b] = await append(under.store, [
      anEvent({ keys: ['ea'] }),
      anEvent({ keys: ['eb'] }),
    ]);
    expect(a!.duplicate).toBe(false);
    expect(b).toEqual({ id: data[0]!.id, duplicate: true });
  });

  it('redriven envelopes are claimed first, oldest first, with their old ids', async () => {
    await open();
    const ids = await appendIds(under.store, someEvents(3));
    await deadLetterAll(under.store);
    await append(under.store, someEvents(1, 'fresh'));
    await under.store.redrive({}, { dryRun: false });
    await restart();
    expect(under.store.depth('events')).toMatchObject({ count: 4, deadLetters: 0 });
    expect((await under.store.receipt(ids[1]!))?.state).toBe('buffered');
    const items = await claim(under.store);
    expect(items.flat().map(toText)).toEqual(['n0', 'n1', 'n2', 'fresh0']);
    expect(
      items
        .flat()
        .map(({ id }) => id)
        .slice(0, 3),
    ).toEqual(ids);
  });

  it('an import job is still polled, with the items that were sent', async () => {
    await open();
    await append(under.store, [
      aProfile({ keys: ['ea'], text: 'a1' }),
      aProfile({ keys: ['eb'], text: 'b1' }),
      aProfile({ keys: ['ea'], text: 'a2' }),
      aProfile({ keys: ['ec'], text: 'c1' }),
    ]);
    const items = await claim(under.store, {}, 'profiles');
    const delivery = aDelivery({ id: 'dl_1', lane: 'profiles', result: 'pending' });
    const pending = items.slice(0, 2);
    await under.store.settle({
      lane: 'profiles',
      delivery,
      settled: [
        ...settledAs(pending, { kind: 'poll', ref: 'job-1' }),
        ...settledAs(items.slice(2), ack),
      ],
    });
    await append(under.store, [aProfile({ keys: ['ea'], text: 'a3' })]);
    await restart();

    const [unfinished, ...others] = await under.store.unfinishedImportJobs();
    expect(others).toEqual([]);
    expect(unfinished).toMatchObject({ lane: 'profiles', ref: 'job-1', delivery });
    expect(toClaimed(unfinished!.items)).toEqual([['a1', 'a2'], ['b1']]);
    // Their identities are taken until the job ends.
    expect(await claim(under.store, {}, 'profiles')).toEqual([]);
    await under.store.settle({
      lane: 'profiles',
      delivery: { ...delivery, result: 'delivered' },
      settled: settledAs(unfinished!.items, ack),
    });
    expect(await under.store.unfinishedImportJobs()).toEqual([]);
    expect(toClaimed(await claim(under.store, {}, 'profiles'))).toEqual([['a3']]);
    await restart();
    expect(await under.store.unfinishedImportJobs()).toEqual([]);
    expect(under.store.depth('profiles').count).toBe(1);
  });

  it('an import job has an item of its own for each profile that failed alone', async () => {
    await open();
    await append(under.store, [
      aProfile({ keys: ['ea'], text: 'a1' }),
      aProfile({ keys: ['eb'], text: 'b1' }),
    ]);
    const together = await claim(under.store, {}, 'profiles');
    const alone = settledAs(together, retry(0, { alone: true }));
    await under.store.settle({ lane: 'profiles', settled: alone });
    await under.clock.advance(1);
    const items = [
      ...(await claim(under.store, {}, 'profiles')),
      ...(await claim(under.store, {}, 'profiles')),
    ];
    expect(toClaimed(items)).toEqual([['a1'], ['b1']]);
    const delivery = aDelivery({ lane: 'profiles', result: 'pending' });
    const settled = settledAs(items, { kind: 'poll', ref: 'job-1' });
    await under.store.settle({ lane: 'profiles', delivery, settled });
    await restart();
    const [unfinished] = await under.store.unfinishedImportJobs();
    expect(toClaimed(unfinished!.items)).toEqual([['a1'], ['b1']]);
  });

  it('that follows an open import job finds what was measured of it, until the job has ended', async () => {
    await open();
    await append(under.store, [aProfile({ text: 'a1' })]);
    const items = await claim(under.store, {}, 'profiles');
    const importJob = { id: 'job-1', status: 'queued', completed: null, failed: null } as const;
    const delivery = aDelivery({ lane: 'profiles', result: 'pending', importJob });
    const followed = settledAs(items, { kind: 'poll', ref: 'job-1' });
    await under.store.settle({ lane: 'profiles', delivery, settled: followed });
    const pause = { at: 1, forMs: 2 };
    const seen = { ...delivery, following: { openMs: 12_345.5, wasRead: true, pause } };
    await under.store.settle({ lane: 'profiles', delivery: seen, settled: [] });
    await restart();
    const [unfinished] = await under.store.unfinishedImportJobs();
    expect(unfinished).toMatchObject({ ref: 'job-1', delivery: seen });
    expect(toClaimed(unfinished!.items)).toEqual([['a1']]);
    expect(under.store.depth('profiles').count).toBe(1);
    const settled = settledAs(unfinished!.items, ack);
    await under.store.settle({ lane: 'profiles', delivery, settled });
    // Too late: there is no such job any more.
    await under.store.settle({ lane: 'profiles', delivery: seen, settled: [] });
    await restart();
    expect(await under.store.unfinishedImportJobs()).toEqual([]);
  });

  it('takes 600 bytes of memory for each envelope beside its payload', async () => {
    await open({ maxWorkingSetBytes: (6000 * 16) / 7 });
    for (let index = 0; index < 30; index++) await append(under.store, [anEvent({ text: '{}' })]);
    await restart();
    // The lane has 7/16 of the memory: 6000 bytes. The tenth envelope still fits, the eleventh does not.
    expect((await claim(under.store, { maxCount: 30 })).flat()).toHaveLength(10);
    expect(under.store.depth('events').count).toBe(30);
  });

  it('envelopes beyond the memory are claimed in order, also profiles of one identity', async () => {
    await open({ maxWorkingSetBytes: 40_000 });
    const profiles = Array.from({ length: 500 }, (_, index) =>
      aProfile({ keys: [`e${index % 7}`], text: `${index % 7}/${index}` }),
    );
    for (let from = 0; from < 500; from += 25) {
      await append(under.store, profiles.slice(from, from + 25));
    }
    await restart();
    expect(under.store.depth('profiles').count).toBe(500);
    const left: string[] = [];
    while (under.store.depth('profiles').count > 0) {
      const items = await claim(under.store, { maxCount: 20 }, 'profiles');
      left.push(...items.flat().map(toText));
      await under.store.settle({ lane: 'profiles', settled: settledAs(items, ack) });
    }
    expect(left).toHaveLength(500);
    for (let identity = 0; identity < 7; identity++) {
      const numbers = left
        .filter((text) => text.startsWith(`${identity}/`))
        .map((text) => Number(text.split('/')[1]));
      expect(numbers).toEqual([...numbers].sort((a, b) => a - b));
    }
  });
});

describe('a wall clock that was set while the relay was down', () => {
  it.each([
    ['back by an hour makes no retry wait longer than it was to', -hour, 5000],
    ['ahead by a day loses and sticks none', 24 * hour, 0],
  ])('%s', async (_name, jumpMs, waitsMs) => {
    await open();
    await append(under.store, someEvents(1));
    await settleAll(under.store, { lane: 'events', verdict: retry(5000) });
    under.clock.jump(jumpMs);
    await under.crash();
    expect(under.store.claimable('events').nextDueMs ?? 0).toBe(waitsMs);
    await under.clock.advance(waitsMs);
    expect(await claim(under.store)).toHaveLength(1);
  });

  it.each([
    ['on disk alone', {}],
    ['in memory, as blocks with a retry are', { isTried: true }],
  ])(
    'back by an hour lets envelopes %s age from the start of the process on',
    async (_name, { isTried = false }: { isTried?: boolean }) => {
      await open();
      under.clock.jump(hour);
      const acceptedAt = under.clock.now();
      await append(under.store, [anEvent({ acceptedAt }), anEvent({ acceptedAt })]);
      if (isTried) {
        const settled = settledAs(await claim(under.store, { maxCount: 1 }), retry(0));
        await under.store.settle({ lane: 'events', settled });
      }
      under.clock.jump(-hour);
      await under.crash();
      await under.clock.advance(1500);
      await append(under.store, [anEvent({ acceptedAt: under.clock.now() })]);
      await under.clock.advance(500);
      expect(under.store.claimable('events').oldestAgeMs).toBe(2000);
      expect(under.store.depth('events').oldestAgeMs).toBe(2000);
      expect(await claim(under.store)).toHaveLength(3);
    },
  );

  it.each([
    ['ahead by eight days', 8 * 24 * hour],
    ['back by eight days', -8 * 24 * hour],
  ])('%s at two starts keeps repeats, deliveries and receipts', async (_name, jumpMs) => {
    const day = 24 * hour;
    await open({ dedupe: { maxAgeMs: day, maxCount: 10 }, log: { maxCount: 10, maxAgeMs: day } });
    const post = (key: string) =>
      append(under.store, [anEvent({ keys: [key], acceptedAt: under.clock.now() })]);
    const deliver = async (id: string): Promise<void> => {
      const settled = settledAs(await claim(under.store), ack);
      const delivery = aDelivery({ id, at: under.clock.now() });
      await under.store.settle({ lane: 'events', delivery, settled });
    };
    const [before] = await post('ea');
    await deliver('dl_1');
    await under.clock.advance(hour);
    under.clock.jump(jumpMs);
    await under.crash();
    expect(await post('ea')).toEqual([{ ...before, duplicate: true }]);
    expect((await under.store.receipt(before!.id))?.state).toBe('delivered');
    await post('eb');
    under.clock.jump(-jumpMs);
    await under.crash();
    expect([await post('ea'), await post('eb')].flat().map(({ duplicate }) => duplicate)).toEqual([
      true,
      true,
    ]);
    expect((await under.store.receipt(before!.id))?.deliveryId).toBe('dl_1');
  });

  it('set back by an hour keeps the dedupe window', async () => {
    await open({ dedupe: { maxAgeMs: hour, maxCount: 10 } });
    await append(under.store, [anEvent({ keys: ['ea'], acceptedAt: under.clock.now() })]);
    under.clock.jump(-hour);
    await under.crash();
    expect((await append(under.store, [anEvent({ keys: ['ea'] })]))[0]!.duplicate).toBe(true);
    await under.clock.advance(hour);
    expect((await append(under.store, [anEvent({ keys: ['ea'] })]))[0]!.duplicate).toBe(false);
  });
});

describe('a wall clock that is set while the relay runs', () => {
  it.each([
    ['back by an hour', -hour],
    ['ahead by eight days', 8 * 24 * hour],
  ])('%s changes no age, in memory or on disk alone', async (_name, jumpMs) => {
    // Room in memory for the first block alone.
    await open({ maxWorkingSetBytes: 2 });
    const appendNow = (text: string) =>
      append(under.store, [anEvent({ text, acceptedAt: under.clock.now() })]);
    await appendNow('in memory');
    await under.clock.advance(1000);
    await appendNow('on disk');
    under.clock.jump(jumpMs);
    await under.clock.advance(1000);
    await appendNow('on disk, after the jump');
    await under.clock.advance(1000);
    const ages: (number | null)[] = [];
    for (let left = 3; left > 0; left--) {
      ages.push(under.store.depth('events').oldestAgeMs);
      const settled = settledAs(await claim(under.store, { maxCount: 1 }), ack);
      await under.store.settle({ lane: 'events', settled });
    }
    expect(ages).toEqual([3000, 2000, 1000]);
    expect(under.store.depth('events').oldestAgeMs).toBeNull();
  });
});

describe('the delivery log', () => {
  it('drops nothing because the wall clock is fast for a while, or set back', async () => {
    await open({ log: { maxCount: 100, maxAgeMs: 10_000 } });
    const write = (id: string) =>
      under.store.settle({
        lane: 'events',
        delivery: aDelivery({ id, at: under.clock.now() }),
        settled: [],
      });
    const ids = async () =>
      (await under.store.deliveries({}, { limit: 10 })).data.map(({ id }) => id);
    await write('dl_1');
    for (const [index, jumpMs] of [8, -8, -8].entries()) {
      under.clock.jump(jumpMs * 24 * hour);
      await write(`dl_${index + 2}`);
      expect(await ids()).toHaveLength(index + 2);
    }
    expect(await under.store.delivery('dl_1')).not.toBeNull();
  });
});
