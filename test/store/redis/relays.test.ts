import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import type { Delivery } from '../../../src/model/delivery.js';
import type { Draft } from '../../../src/model/envelope.js';
import type { RedisConnection } from '../../../src/redis/connection.js';
import {
  ack,
  aDelivery,
  anEvent,
  aProfile,
  aReason,
  deadLetter,
  merged,
  retry,
  settledAs,
  someEvents,
  toText,
} from '../../support/builders.js';
import { createManualClock, type ManualClock } from '../../support/manual-clock.js';
import { startRedis, type RedisServer } from '../../support/redis-server.js';
import { append, appendIds, claim, toClaimed } from '../contract/harness.js';
import { createFaultyConnection } from './faulty-connection.js';
import { openTestRedis, type RedisSettings, type RedisUnderTest } from './under-test.js';

let server: RedisServer;
let clock: ManualClock;
let opened: RedisUnderTest[] = [];
let prefixes = 0;
let prefix: string;

beforeAll(async () => {
  server = await startRedis({ settings: { appendfsync: 'no' } });
});
afterEach(async () => {
  for (const each of opened) {
    expect(each.faults).toEqual([]);
    await each.close();
  }
  opened = [];
});
afterAll(() => server.close());

const leaseMs = 10_000;

/** Relays on one buffer and one clock. */
async function open(
  count: number,
  settings: Partial<RedisSettings> = {},
): Promise<RedisUnderTest[]> {
  clock = createManualClock();
  prefix = `{relays-${prefixes++}}`;
  for (let relay = 0; relay < count; relay++) opened.push(await another(settings));
  return opened;
}

const another = (settings: Partial<RedisSettings> = {}): Promise<RedisUnderTest> =>
  openTestRedis({ url: server.url, prefix, clock, leaseMs, ...settings });

/** A relay whose way to the server can be cut, and one that lives on. */
async function openApart() {
  const { state, wrap } = createFaultyConnection();
  const [a] = await open(1, { wrap });
  const b = await another();
  opened.push(b);
  return { state, a: a!, b };
}

/** Time passes for all of them. */
async function pass(ms: number, living: readonly RedisUnderTest[] = opened): Promise<void> {
  const [first] = living;
  // In steps, so that each looks as often as it would.
  for (let left = ms; left > 0; left -= 1000) {
    await first!.clock.advance(Math.min(1000, left));
    for (const each of living) await each.session.heartbeat();
  }
}

describe('several relays', () => {
  it('never claim the same, and see what the others hold', async () => {
    const [a, b] = await open(2);
    await append(a!.store, someEvents(5));
    const first = await claim(b!.store, { maxCount: 2 });
    const second = await claim(a!.store);
    expect(toClaimed(first).flat()).toEqual(['n0', 'n1']);
    expect(toClaimed(second).flat()).toEqual(['n2', 'n3', 'n4']);
    expect(await claim(b!.store)).toEqual([]);
    expect(b!.store.depth('events').count).toBe(5);
  });

  it('know a repeat whichever of them took the first, and find it under its id', async () => {
    const [a, b] = await open(2);
    const [id] = await appendIds(a!.store, [anEvent({ keys: ['ea'] })]);
    expect(await append(b!.store, [anEvent({ keys: ['ea'] })])).toEqual([{ id, duplicate: true }]);
    expect(await b!.store.receipt(id!)).toMatchObject({ state: 'buffered' });
  });

  it('keep the order of an identity, whoever sends it', async () => {
    const [a, b] = await open(2);
    await append(a!.store, [aProfile({ keys: ['ea'], text: 'old' })]);
    const old = await claim(a!.store, {}, 'profiles');
    await append(b!.store, [aProfile({ keys: ['ea'], text: 'new' })]);
    expect(await claim(b!.store, {}, 'profiles')).toEqual([]);
    await a!.store.settle({ lane: 'profiles', settled: settledAs(old, ack) });
    await b!.session.heartbeat();
    expect(toClaimed(await claim(b!.store, {}, 'profiles'))).toEqual([['new']]);
  });

  it('share the bound of the buffer', async () => {
    const [a, b] = await open(2, { capacity: { maxCount: 10, maxBytes: 1_000_000 } });
    await append(a!.store, someEvents(10));
    await b!.session.heartbeat();
    expect(await b!.store.append([anEvent()])).toMatchObject({ backpressure: { reason: 'full' } });
    expect(b!.store.backpressure()?.reason).toBe('full');
    await a!.session.heartbeat();
    expect(a!.store.backpressure()?.reason).toBe('full');
  });

  it('share dead letters and the delivery log', async () => {
    const [a, b] = await open(2);
    await append(a!.store, someEvents(2));
    const [bad, good] = await claim(a!.store);
    const delivery = aDelivery({ id: 'dl_shared' });
    const settled = [...settledAs([bad!], deadLetter('no')), ...settledAs([good!], ack)];
    await a!.store.settle({ lane: 'events', delivery, settled });
    expect(await b!.store.delivery('dl_shared')).toEqual(delivery);
    expect(await b!.store.redrive({}, { dryRun: false })).toBe(1);
    await a!.session.heartbeat();
    expect(a!.store.depth('events')).toMatchObject({ count: 1, deadLetters: 0 });
    expect(toClaimed(await claim(a!.store))).toEqual([['n0']]);
  });
});

describe('a dead letter at intake in Redis', () => {
  const aBuried = (text: string, overrides: Partial<Draft> = {}): Draft =>
    anEvent({ text, deadLetterReason: aReason({ code: 'no_identity' }), ...overrides });

  it('is a dead letter for all relays, and the one that it pushes out is told by one of them', async () => {
    const [a, b] = await open(2, { maxDeadLetters: 2 });
    const [first] = await appendIds(a!.store, [aBuried('a'), aBuried('b')]);
    expect(await b!.store.receipt(first!)).toMatchObject({ state: 'dead_lettered' });
    const [, third] = await appendIds(b!.store, [anEvent({ text: 'sent' }), aBuried('c')]);
    expect(await a!.store.deadLetter(third!)).toMatchObject({ attempts: 0, deliveryId: null });
    expect(await a!.store.receipt(first!)).toBeNull();
    expect([...a!.dropped, ...b!.dropped].map(({ id }) => id)).toEqual([first]);
    await a!.session.heartbeat();
    const books = { accepted: 4, delivered: 0, merged: 0, deadLettered: 3, erased: 0 };
    expect([a!.store.laneTotals('events'), b!.store.laneTotals('events')]).toEqual([books, books]);
    expect(a!.store.depth('events')).toMatchObject({ count: 1, deadLetters: 2 });
  });

  it('is taken with the other requests of its turn, each whole or not at all', async () => {
    const [a] = await open(1, { capacity: { maxCount: 2, maxBytes: 1_000_000 } });
    const answers = await Promise.all([
      a!.store.append([anEvent(), aBuried('a')]),
      a!.store.append([anEvent(), aBuried('b')]),
      a!.store.append([anEvent()]),
    ]);
    expect(answers.map(({ ok }) => ok)).toEqual([true, false, true]);
    expect(a!.store.depth('events')).toMatchObject({ count: 2, deadLetters: 1 });
  });

  it('keeps its place behind older ones once it is redriven, however many there are', async () => {
    const [a] = await open(1, { maxDeadLetters: 100_000, dedupe: { maxAgeMs: 0, maxCount: 0 } });
    // One more than a claim looks at.
    const many = Array.from({ length: 20_001 }, (_, index) =>
      aBuried('old', { keys: [`e${index}`] }),
    );
    for (let from = 0; from < many.length; from += 1000) {
      await append(a!.store, many.slice(from, from + 1000));
    }
    await append(a!.store, [anEvent({ text: 'new', keys: ['e20000'] })]);
    expect(await a!.store.redrive({}, { dryRun: false })).toBe(many.length);
    const bounds = { maxCount: 100_000, maxBytes: 1e9 };
    const first = (await claim(a!.store, bounds)).flat();
    expect(first.map(toText).filter((text) => text === 'new')).toEqual([]);
    const second = (await claim(a!.store, bounds)).flat();
    expect(first.length + second.length).toBe(many.length);
    expect(second.map(toText)).toContain('old');
    expect(second.map(toText)).not.toContain('new');
  });
});

describe('a relay that dies', () => {
  it('has what it held sent by others when its lease is over, and not before', async () => {
    const [a, b] = await open(2);
    await append(a!.store, [anEvent({ keys: ['ea'], text: 'held' })]);
    expect(await claim(a!.store)).toHaveLength(1);
    await a!.die();
    await pass(leaseMs - 1000, [b!]);
    expect(await claim(b!.store)).toEqual([]);
    await pass(1000, [b!]);
    expect(toClaimed(await claim(b!.store))).toEqual([['held']]);
  });

  it('keeps the delays and the attempts of what it sent back', async () => {
    const [a, b] = await open(2);
    await append(a!.store, someEvents(1));
    const items = await claim(a!.store);
    await a!.store.settle({ lane: 'events', settled: settledAs(items, retry(30_000)) });
    await a!.die();
    await pass(29_000, [b!]);
    expect(await claim(b!.store)).toEqual([]);
    await pass(1000, [b!]);
    expect((await claim(b!.store)).flat()[0]).toMatchObject({ attempts: 1 });
  });

  it('leaves its import jobs to one that follows them, merged as they were sent', async () => {
    const [a, b] = await open(2);
    const heard: number[] = [];
    b!.store.onUnfinishedImportJobs(() => void heard.push(1));
    const drafts = [
      aProfile({ keys: ['ea'] }),
      aProfile({ keys: ['ea'] }),
      aProfile({ keys: ['eb'] }),
    ];
    const ids = await appendIds(a!.store, drafts);
    const items = await claim(a!.store, {}, 'profiles');
    const delivery = aDelivery({ lane: 'profiles', result: 'pending' });
    const followed = settledAs(items, { kind: 'poll', ref: 'import-1' });
    await a!.store.settle({ lane: 'profiles', delivery, settled: followed });
    await a!.die();
    expect(await b!.store.unfinishedImportJobs()).toEqual([]);
    await pass(leaseMs, [b!]);
    expect(heard.length).toBeGreaterThan(0);
    expect(await claim(b!.store, {}, 'profiles')).toEqual([]);
    const [unfinished, ...others] = await b!.store.unfinishedImportJobs();
    expect(others).toEqual([]);
    expect(unfinished).toMatchObject({ lane: 'profiles', ref: 'import-1', delivery });
    expect(unfinished!.items.map((item) => item.map(({ id }) => id))).toEqual([
      [ids[0], ids[1]],
      [ids[2]],
    ]);
    const settled = unfinished!.items.flatMap((item) =>
      item.map((envelope, index) => ({
        envelope,
        verdict: index < item.length - 1 ? merged : ack,
      })),
    );
    await b!.store.settle({ lane: 'profiles', delivery, settled });
    expect(b!.store.depth('profiles').count).toBe(0);
    expect(await b!.store.receipt(ids[0]!)).toMatchObject({ state: 'delivered', merged: true });
  });

  it('leaves what it measured of its import jobs to the one that follows them', async () => {
    const [a, b] = await open(2);
    const [id] = await appendIds(a!.store, [aProfile({ keys: ['ea'] })]);
    const items = await claim(a!.store, {}, 'profiles');
    const importJob = { id: 'job-1', status: 'queued', completed: null, failed: null } as const;
    const reason = { code: 'x', detail: 'a "seqs":[7]} in words', faults: [] };
    const delivery = aDelivery({ lane: 'profiles', result: 'pending', importJob, reason });
    const followed = settledAs(items, { kind: 'poll', ref: 'job-1' });
    await a!.store.settle({ lane: 'profiles', delivery, settled: followed });
    const pause = { at: 1_768_478_400_123, forMs: 2 };
    const seen = { ...delivery, following: { openMs: 12_345.5, wasRead: true, pause } };
    await a!.store.settle({ lane: 'profiles', delivery: seen, settled: [] });
    await a!.die();
    await pass(leaseMs, [b!]);
    const [unfinished] = await b!.store.unfinishedImportJobs();
    expect(unfinished).toMatchObject({ ref: 'job-1', delivery: seen });
    expect(unfinished!.items.flat().map((one) => one.id)).toEqual([id]);
    const settled = settledAs(unfinished!.items, ack);
    await b!.store.settle({ lane: 'profiles', delivery, settled });
    // Too late: there is no such job any more.
    await b!.store.settle({ lane: 'profiles', delivery: seen, settled: [] });
    expect(await b!.connection.call('EXISTS', `${prefix}:profiles:imports`)).toBe(0);
  });

  it('is not one that is slow and lives', async () => {
    const [a, b] = await open(2);
    await append(a!.store, someEvents(1));
    const items = await claim(a!.store);
    await pass(10 * leaseMs);
    expect(await claim(b!.store)).toEqual([]);
    await a!.store.settle({ lane: 'events', settled: settledAs(items, ack) });
    expect(a!.store.depth('events').count).toBe(0);
  });

  it('and was not dead after all changes nothing of what others hold by now', async () => {
    const { state, a, b } = await openApart();
    await append(a.store, someEvents(1));
    const stale = await claim(a.store);
    state.isCutOff = true;
    await pass(leaseMs, [b]);
    const fresh = await claim(b.store);
    expect(fresh).toHaveLength(1);
    state.isCutOff = false;
    await pass(100);
    await a.store.settle({ lane: 'events', settled: settledAs(stale, deadLetter()) });
    expect(a.store.depth('events')).toMatchObject({ count: 1, deadLetters: 0 });
    await b.store.settle({ lane: 'events', settled: settledAs(fresh, ack) });
    expect(b.store.depth('events').count).toBe(0);
    // It is one of them again.
    await append(b.store, someEvents(1));
    expect(await claim(a.store)).toHaveLength(1);
  });

  it.each([1, 2, 3])(
    'and comes back learns what it lost, though %i answers that would say so are lost',
    async (lostReplies) => {
      const { state, a, b } = await openApart();
      await append(a.store, [aProfile({ keys: ['ea'] })]);
      const held = (await claim(a.store, {}, 'profiles')).flat();
      expect(a.store.stillOwned(held)).toBe(true);
      state.isCutOff = true;
      await pass(leaseMs, [b]);
      state.isCutOff = false;
      state.lostHeartbeats = lostReplies;
      for (let look = 0; look <= lostReplies; look++) await a.session.heartbeat();
      expect(state.lostHeartbeats).toBe(0);
      expect(a.session.hasLease()).toBe(true);
      expect(a.store.stillOwned(held)).toBe(false);
      expect(await claim(a.store, {}, 'profiles')).toHaveLength(1);
    },
  );

  it('and comes back neither ends an import job that others take over, nor is left with one of its own', async () => {
    const { state, a, b } = await openApart();
    await append(a.store, [aProfile({ keys: ['ea'] })]);
    const items = await claim(a.store, {}, 'profiles');
    const delivery = aDelivery({ lane: 'profiles', result: 'pending' });
    const followed = settledAs(items, { kind: 'poll', ref: 'import-1' });
    await a.store.settle({ lane: 'profiles', delivery, settled: followed });
    state.isCutOff = true;
    await pass(leaseMs, [b]);
    state.isCutOff = false;
    const late: Delivery = { ...delivery, result: 'partial', retried: 1 };
    await a.store.settle({ lane: 'profiles', delivery: late, settled: settledAs(items, ack) });
    // The log is not told by it either.
    expect(await b.store.delivery(delivery.id)).toEqual(delivery);
    const [unfinished] = await b.store.unfinishedImportJobs();
    expect(unfinished).toMatchObject({ ref: 'import-1' });
    const ended: Delivery = { ...delivery, result: 'delivered', delivered: 1 };
    const settled = settledAs(unfinished!.items, ack);
    await b.store.settle({ lane: 'profiles', delivery: ended, settled });
    expect(await a.store.delivery(delivery.id)).toEqual(ended);
    expect(b.store.depth('profiles').count).toBe(0);
    expect(await b.connection.call('EXISTS', `${prefix}:profiles:imports`)).toBe(0);
  });

  it('and comes back leaves no import job behind that it began for others', async () => {
    const { state, a, b } = await openApart();
    await append(a.store, [aProfile({ keys: ['ea'] })]);
    const stale = await claim(a.store, {}, 'profiles');
    state.isCutOff = true;
    await pass(leaseMs, [b]);
    state.isCutOff = false;
    const delivery = aDelivery({ lane: 'profiles', result: 'pending' });
    const followed = settledAs(stale, { kind: 'poll', ref: 'import-1' });
    await a.store.settle({ lane: 'profiles', delivery, settled: followed });
    expect(await b.connection.call('EXISTS', `${prefix}:profiles:imports`)).toBe(0);
    expect(await claim(b.store, {}, 'profiles')).toHaveLength(1);
  });

  it('and has claimed the same again settles it by the later attempt alone', async () => {
    const { state, a, b } = await openApart();
    await append(a.store, someEvents(1));
    const stale = await claim(a.store);
    state.isCutOff = true;
    await pass(leaseMs, [b]);
    state.isCutOff = false;
    await pass(100);
    const fresh = await claim(a.store);
    expect(fresh).toHaveLength(1);
    await a.store.settle({ lane: 'events', settled: settledAs(stale, deadLetter()) });
    expect(a.store.depth('events')).toMatchObject({ count: 1, deadLetters: 0 });
    await a.store.settle({ lane: 'events', settled: settledAs(fresh, ack) });
    expect(a.store.depth('events').count).toBe(0);
  });

  it.each([
    ['a delivery', ack],
    ['an import job', { kind: 'poll', ref: 'import-1' }],
  ] as const)(
    'and waited for the server to settle %s knows what it has claimed again meanwhile',
    async (_what, verdict) => {
      const { state, a, b } = await openApart();
      await append(a.store, [aProfile({ keys: ['ea'] })]);
      const stale = await claim(a.store, {}, 'profiles');
      state.isCutOff = true;
      const delivery = aDelivery({ lane: 'profiles' });
      const settling = a.store.settle({
        lane: 'profiles',
        delivery,
        settled: settledAs(stale, verdict),
      });
      await pass(leaseMs, [b]);
      state.isCutOff = false;
      await a.session.heartbeat();
      const fresh = await claim(a.store, {}, 'profiles');
      expect(fresh).toHaveLength(1);
      await pass(1000);
      await settling;
      await a.store.settle({ lane: 'profiles', settled: settledAs(fresh, ack) });
      expect(a.store.depth('profiles').count).toBe(0);
    },
  );

  it('and comes back knows what it holds no more, and what it has claimed again', async () => {
    const { state, a, b } = await openApart();
    await append(a.store, someEvents(1));
    const stale = (await claim(a.store)).flat();
    expect(a.store.stillOwned(stale)).toBe(true);
    state.isCutOff = true;
    await pass(leaseMs, [b]);
    // It cannot ask, and must not go on.
    expect(a.store.stillOwned(stale)).toBe(false);
    state.isCutOff = false;
    await a.session.heartbeat();
    expect(a.store.stillOwned(stale)).toBe(false);
    const fresh = (await claim(a.store)).flat();
    expect(a.store.stillOwned(fresh)).toBe(true);
    expect(a.store.stillOwned(stale)).toBe(false);
  });

  it('and comes back takes nothing until it is heard of again: callers have asked others meanwhile', async () => {
    const { state, a, b } = await openApart();
    await append(a.store, someEvents(1));
    state.isCutOff = true;
    await pass(leaseMs, [b]);
    state.isCutOff = false;
    // It has not looked yet.
    expect(a.store.backpressure()).toMatchObject({ reason: 'unavailable' });
    expect(await a.store.append(someEvents(1))).toMatchObject({ ok: false });
    expect(b.store.laneTotals('events').accepted).toBe(1);
    await a.session.heartbeat();
    expect(a.store.backpressure()).toBeNull();
    await append(a.store, someEvents(1));
  });

  it('and comes back in the middle of a takeover of very much holds nothing of it, and the rest is free', async () => {
    const { state, a, b } = await openApart();
    const many = 7000;
    for (let left = many; left > 0; left -= 1000) await append(a.store, someEvents(1000));
    const bounds = { maxCount: many, maxBytes: 1e9 };
    const stale = (await claim(a.store, bounds)).flat();
    expect(stale).toHaveLength(many);
    state.isCutOff = true;
    await pass(leaseMs);
    // One look takes over a part.
    await b.session.heartbeat();
    state.isCutOff = false;
    await a.session.heartbeat();
    expect(stale.some((one) => a.store.stillOwned([one]))).toBe(false);
    await b.session.heartbeat();
    expect((await claim(b.store, bounds)).flat()).toHaveLength(many);
  });

  it('gives back what it holds at once where it stops in order', async () => {
    const [a, b] = await open(2);
    await append(a!.store, someEvents(2));
    await claim(a!.store);
    await a!.store.close();
    await b!.session.heartbeat();
    expect(await claim(b!.store)).toHaveLength(2);
  });
});

it('requests of one turn share a round trip, and each has an answer of its own', async () => {
  const scripts: string[] = [];
  const wrap = (connection: RedisConnection): RedisConnection => ({
    ...connection,
    run: (script, key, args) => {
      scripts.push(script.name);
      return connection.run(script, key, args);
    },
  });
  const [a] = await open(1, { wrap, capacity: { maxCount: 3, maxBytes: 1_000_000 } });
  const requests = [2, 2, 1].map((count) => a!.store.append(someEvents(count)));
  const answers = await Promise.all(requests);
  expect(answers.map(({ ok }) => ok)).toEqual([true, false, true]);
  expect(scripts.filter((name) => name === 'append')).toHaveLength(1);
  expect(a!.store.depth('events').count).toBe(3);
});

describe('a claim whose answer is lost', () => {
  it('is given back as soon as the server answers again', async () => {
    const { state, wrap } = createFaultyConnection();
    const [a] = await open(1, { wrap });
    await append(a!.store, someEvents(3));
    state.claimFault = 'reply';
    expect(await claim(a!.store)).toEqual([]);
    await a!.session.heartbeat();
    await pass(100);
    expect(toClaimed(await claim(a!.store)).flat()).toEqual(['n0', 'n1', 'n2']);
  });

  it('claims nothing where it reaches the server only after it was given up', async () => {
    const { state, wrap } = createFaultyConnection();
    const [a] = await open(1, { wrap });
    await append(a!.store, someEvents(3));
    state.claimFault = 'script';
    expect(await claim(a!.store)).toEqual([]);
    await a!.session.heartbeat();
    await pass(100);
    await state.runLate();
    expect(await claim(a!.store)).toHaveLength(3);
  });

  it('comes too late where it is read when the lease may be over, and is given back', async () => {
    const { state, a, b } = await openApart();
    await append(a.store, someEvents(1));
    // The process stands still between the server's answer and its turn to read it.
    state.onClaimReply = () => pass(leaseMs + 1000, [b]);
    expect(await claim(a.store)).toEqual([]);
    expect(await claim(b.store)).toHaveLength(1);
  });

  it('claims nothing for a relay that was taken for dead meanwhile', async () => {
    const { state, wrap } = createFaultyConnection();
    const [a] = await open(1, { wrap });
    opened.push(await another());
    const b = opened[1]!;
    await append(b.store, someEvents(1));
    state.claimFault = 'script';
    await claim(a!.store);
    await pass(leaseMs, [b]);
    await state.runLate();
    expect(await claim(b.store)).toHaveLength(1);
  });
});
