import { afterEach, describe, expect, it } from 'vitest';
import type { Draft } from '../../src/model/envelope.js';
import { createAcceptFromSource } from '../../src/ingest/accept-from-source.js';
import { SourceActivity } from '../../src/ingest/source-activity.js';
import type { SourcePost } from '../../src/ingest/source-entry.js';
import {
  createWaitingEntries,
  toCheckIntervalMs,
  type WaitingEntries,
  WaitingBounds,
} from '../../src/ingest/waiting.js';
import { createMetrics } from '../../src/metrics.js';
import { MemoryStore } from '../../src/store/memory.js';
import type { Store } from '../../src/model/store.js';
import { toText } from '../support/builders.js';
import { createManualClock, type ManualClock } from '../support/manual-clock.js';
import { newestRules } from '../support/revisions.js';
import { atMost, wideBounds } from '../store/contract/harness.js';

const minute = 60_000;
const day = 24 * 60 * minute;

const opened: (() => Promise<void>)[] = [];
afterEach(async () => {
  for (const close of opened.splice(0)) await close();
});

type Settings = {
  readonly clock?: ManualClock;
  readonly maxAgeMs?: number;
  readonly maxCount?: number;
  readonly bounds?: Partial<typeof wideBounds>;
  /** Stands between the accept half and the store. */
  readonly wrap?: (store: Store) => Partial<Store>;
};

/** The accept half of sources over a memory store on a manual clock, with what waits. */
function createFixture({
  clock = createManualClock(),
  maxAgeMs = 3 * day,
  maxCount = 1e6,
  bounds = {},
  wrap = () => ({}),
}: Settings = {}) {
  const store = new MemoryStore({
    ...wideBounds,
    ...bounds,
    clock,
    random: () => 0.5,
    onDeadLetterDropped: () => undefined,
  });
  const metrics = createMetrics('test');
  const appended: Draft[] = [];
  const lookUps: string[][] = [];
  const errors: unknown[] = [];
  const watched: Pick<
    Store,
    'append' | 'claim' | 'settle' | 'onClaimable' | 'putFacts' | 'getFacts' | 'stillOwned'
  > = {
    async append(drafts) {
      const response = await store.append(drafts);
      if (response.ok) appended.push(...drafts);
      return response;
    },
    claim: (lane, limits) => store.claim(lane, limits),
    settle: (settlement) => store.settle(settlement),
    onClaimable: (listener) => store.onClaimable(listener),
    putFacts: (facts) => store.putFacts(facts),
    getFacts(keys) {
      lookUps.push([...keys]);
      return store.getFacts(keys);
    },
    ...wrap(store),
  };
  let made = 0;
  const deps = {
    store: watched,
    clock,
    metrics,
    activity: new SourceActivity({ clock, metrics }),
    eventRules: () => newestRules,
    backfillAfterMs: Infinity,
    newId: () => `made-${++made}`,
  };
  const waiting: WaitingEntries = createWaitingEntries({
    store: watched,
    accept: createAcceptFromSource(deps),
    clock,
    maxAgeMs,
    checkEveryMs: toCheckIntervalMs(maxAgeMs),
    metrics,
    log: { info: () => undefined, error: (fields) => void errors.push(fields) },
  });
  const room = { maxCount, maxBytes: 1e9, depth: () => store.depth('waiting') };
  const accept = createAcceptFromSource({
    ...deps,
    waitingBounds: new WaitingBounds(room),
    onFacts: (keys) => waiting.onFactsPut(keys),
  });
  waiting.start();
  const events = () =>
    appended
      .filter(({ lane, deadLetterReason }) => lane === 'events' && deadLetterReason === undefined)
      .map(toText);
  const deadLetters = async () => (await store.deadLetters({}, { limit: 100 })).data;
  const counted = async (name: 'ingest' | 'settled') =>
    (await metrics[name].get()).values
      .filter(({ value }) => value > 0)
      .map(({ labels, value }) => [labels.lane, labels.outcome, value].join(' '))
      .sort();
  const fixture = {
    store,
    clock,
    accept: (post: SourcePost) => accept(post, { strict: false }),
    waiting,
    events,
    deadLetters,
    counted,
    errors,
    lookUps,
  };
  opened.push(async () => {
    await waiting.stop();
    await store.close();
    expect(clock.pending()).toBe(0);
  });
  return fixture;
}

type Fixture = ReturnType<typeof createFixture>;

/** Work in slices takes real turns of the event loop. */
async function untilDone(isDone: () => boolean): Promise<void> {
  for (let turns = 0; !isDone(); turns++) {
    if (turns === 5000) throw new Error('it never ends');
    await new Promise((resolve) => setImmediate(resolve));
  }
}

const aRefund = (order: string | number, entry: object = {}): SourcePost => ({
  source: 'shopify',
  entries: [
    {
      lane: 'events',
      index: 0,
      personKeys: [`order:${order}`],
      entry: { event_name: 'Refunded Order', insert_id: `refund-${order}`, value: 5, ...entry },
    },
  ],
  people: [],
  skipped: [],
});

const anOrder = (...orders: readonly (string | number)[]): SourcePost => ({
  source: 'shopify',
  entries: [],
  people: orders.map((order) => ({
    kind: 'order',
    key: `order:${order}`,
    person: { email: `${order}@klaviyo-demo.com` },
  })),
  skipped: [],
});

const depth = ({ store }: Fixture): number => store.depth('waiting').count;

describe('an entry whose person is unknown', () => {
  it('waits and is accepted as soon as a request identifies the person', async () => {
    const one = createFixture();
    expect(await one.accept(aRefund(1))).toMatchObject({ accepted: 0, waiting: 1, rejected: [] });
    await one.clock.advance(minute);
    expect([depth(one), one.events()]).toEqual([1, []]);
    expect(await one.accept(anOrder(1))).toMatchObject({ kind: 'accepted' });
    await one.clock.advance(0);
    expect(one.events()).toEqual([expect.stringContaining('1@klaviyo-demo.com')]);
    expect(depth(one)).toBe(0);
    expect(await one.deadLetters()).toEqual([]);
    expect(await one.counted('ingest')).toEqual(['events accepted 1', 'waiting accepted 1']);
    expect(await one.counted('settled')).toEqual(['waiting resolved 1']);
  });

  it('keeps the time and the id that it had when it was accepted', async () => {
    const one = createFixture();
    await one.accept(aRefund(1, { insert_id: undefined }));
    await one.clock.advance(day);
    await one.accept(anOrder(1));
    await one.clock.advance(0);
    expect(one.events()[0]).toContain('"unique_id":"made-1"');
    expect(one.events()[0]).toContain('"time":"2026-01-15T12:00:00.000Z"');
  });

  it('waits only for its own person', async () => {
    const one = createFixture();
    for (const order of [1, 2, 3]) await one.accept(aRefund(order));
    await one.accept(anOrder(2));
    await one.clock.advance(0);
    expect(one.events()).toEqual([expect.stringContaining('2@klaviyo-demo.com')]);
    expect(depth(one)).toBe(2);
  });

  it('is accepted once if two entries with the same id waited', async () => {
    const one = createFixture();
    await one.accept(aRefund(1));
    await one.accept(aRefund(1));
    expect(depth(one)).toBe(2);
    await one.accept(anOrder(1));
    await one.clock.advance(0);
    expect(depth(one)).toBe(0);
    expect(one.store.depth('events').count).toBe(1);
    expect(await one.counted('ingest')).toEqual([
      'events accepted 1',
      'events duplicate 1',
      'waiting accepted 2',
    ]);
  });

  it('becomes a dead letter at once if its fields are not valid', async () => {
    const one = createFixture();
    expect(await one.accept(aRefund(1, { value: 'five' }))).toMatchObject({
      waiting: 0,
      rejected: [{ code: 'not_valid' }],
    });
    expect(depth(one)).toBe(0);
  });

  it('becomes a dead letter at once if the bound of waiting entries is reached, even by concurrent requests', async () => {
    const one = createFixture({ maxCount: 3 });
    const all = await Promise.all([1, 2, 3, 4, 5].map((order) => one.accept(aRefund(order))));
    expect(all.filter((each) => each.kind === 'accepted' && each.waiting === 1)).toHaveLength(3);
    expect((await one.deadLetters()).map(({ reason }) => reason)).toMatchObject([
      { code: 'unknown_person', detail: expect.stringContaining('WAITING_MAX_COUNT') as string },
      { code: 'unknown_person' },
    ]);
    await one.accept(anOrder(1));
    await one.clock.advance(0);
    expect(await one.accept(aRefund(6))).toMatchObject({ waiting: 1 });
  });
});

describe('a fact without a notification', () => {
  it('that is stored between lookup and append is found right after the claim', async () => {
    let isFirst = true;
    const one: Fixture = createFixture({
      wrap: (store) => ({
        async append(drafts) {
          if (isFirst) {
            isFirst = false;
            await one.accept(anOrder(1));
            await one.clock.advance(0);
          }
          return store.append(drafts);
        },
      }),
    });
    expect(await one.accept(aRefund(1))).toMatchObject({ waiting: 1 });
    await one.clock.advance(0);
    expect(depth(one)).toBe(0);
    expect(one.store.depth('events').count).toBe(1);
  });

  it('of another relay is found by the next check', async () => {
    const one = createFixture();
    await one.accept(aRefund(1));
    await one.clock.advance(1000);
    // Without a word to what waits here.
    const other = createAcceptFromSource({
      store: one.store,
      clock: one.clock,
      metrics: createMetrics('test'),
      activity: { add: () => undefined },
      eventRules: () => newestRules,
      backfillAfterMs: Infinity,
      newId: () => 'x',
    });
    await other(anOrder(1), { strict: false });
    await one.clock.advance(5000);
    expect(one.events()).toEqual([]);
    await one.clock.advance(5000);
    expect(one.events()).toHaveLength(1);
  });

  it('is looked up every ten seconds, once for each key, and only while entries wait', async () => {
    const one = createFixture();
    await one.clock.advance(10 * minute);
    expect(one.lookUps).toEqual([]);
    await one.accept(aRefund(1));
    await one.accept(aRefund(1));
    await one.clock.advance(0);
    one.lookUps.splice(0);
    await one.clock.advance(minute);
    expect(one.lookUps).toHaveLength(6);
    expect(new Set(one.lookUps.map((keys) => keys.length))).toEqual(new Set([1]));
  });
});

describe('the maximum age of a waiting entry', () => {
  it('turns it into a dead letter of its own lane, which a redrive can ingest again', async () => {
    const one = createFixture({ maxAgeMs: day });
    await one.accept(aRefund(1));
    await one.clock.advance(day - 1000);
    expect([depth(one), await one.deadLetters()]).toEqual([1, []]);
    await one.clock.advance(20_000);
    expect(depth(one)).toBe(0);
    const [deadLetter] = await one.deadLetters();
    expect(deadLetter).toMatchObject({
      lane: 'events',
      attempts: 0,
      reason: { code: 'unknown_person' },
    });
    expect(JSON.parse(toText(deadLetter!))).toMatchObject({
      source: 'shopify',
      personKeys: ['order:1'],
      entry: { insert_id: 'refund-1' },
    });
    expect(await one.counted('settled')).toEqual(['events dead_lettered 1', 'waiting resolved 1']);
    expect(await one.counted('ingest')).toEqual(['events accepted 1', 'waiting accepted 1']);
  });

  it('does not follow a jump of the wall clock', async () => {
    const one = createFixture({ maxAgeMs: day });
    await one.accept(aRefund(1));
    await one.clock.advance(minute);
    one.clock.jump(1000 * day);
    await one.clock.advance(day - 2 * minute);
    expect(await one.deadLetters()).toEqual([]);
    await one.clock.advance(2 * minute);
    expect(await one.deadLetters()).toHaveLength(1);
  });

  it('leaves ten more minutes to an entry that is already old when it is claimed', async () => {
    const clock = createManualClock();
    const one = createFixture({ clock, maxAgeMs: day });
    await one.waiting.stop();
    await one.accept(aRefund(1));
    await clock.advance(5 * day);
    const { store } = one;
    const again = createFixture({
      clock,
      maxAgeMs: day,
      wrap: () => ({
        append: (drafts) => store.append(drafts),
        claim: (lane, limits) => store.claim(lane, limits),
        settle: (settlement) => store.settle(settlement),
        getFacts: (keys) => store.getFacts(keys),
      }),
    });
    await clock.advance(10 * minute - 20_000);
    expect((await store.deadLetters({}, { limit: 10 })).data).toEqual([]);
    await clock.advance(minute);
    expect((await store.deadLetters({}, { limit: 10 })).data).toHaveLength(1);
    expect(again.errors).toEqual([]);
  });

  it('is preceded by a last lookup of the fact', async () => {
    const one = createFixture({ maxAgeMs: 1000 });
    await one.accept(aRefund(1));
    await one.clock.advance(900);
    await one.store.putFacts([
      {
        kind: 'order',
        key: one.lookUps.at(-1)![0]!,
        value: '{"email":"1@klaviyo-demo.com"}',
      },
    ]);
    await one.clock.advance(1000);
    expect(one.events()).toHaveLength(1);
    expect(await one.deadLetters()).toEqual([]);
  });
});

describe('a store that does not accept a waiting entry', () => {
  it('is tried again, and nothing is lost or settled meanwhile', async () => {
    let isFull = false;
    const one = createFixture({
      wrap: (store) => ({
        append: (drafts) =>
          isFull
            ? Promise.resolve({ ok: false, backpressure: { reason: 'full', retryAfterMs: 5000 } })
            : store.append(drafts),
      }),
    });
    await one.accept(aRefund(1));
    await one.clock.advance(0);
    await one.store.putFacts([]);
    isFull = true;
    await one.accept(anOrder(1));
    await one.clock.advance(minute);
    expect(depth(one)).toBe(1);
    isFull = false;
    await one.clock.advance(10_000);
    expect([depth(one), one.store.depth('events').count]).toEqual([0, 1]);
    expect(one.errors).toEqual([]);
  });

  it('is tried again after an error, which is logged once', async () => {
    let isAway = false;
    const one = createFixture({
      wrap: (store) => ({
        getFacts: (keys) =>
          isAway ? Promise.reject(new Error('it is away')) : store.getFacts(keys),
      }),
    });
    await one.accept(aRefund(1));
    await one.clock.advance(0);
    isAway = true;
    await one.store.putFacts([]);
    await one.clock.advance(10 * minute);
    expect(one.errors).toHaveLength(1);
    isAway = false;
    await one.accept(anOrder(1));
    await one.clock.advance(11_000);
    expect(depth(one)).toBe(0);
  });

  it('gets no entry that another relay may have taken over', async () => {
    let holds = true;
    const one = createFixture({ wrap: () => ({ stillOwned: () => holds }) });
    await one.accept(aRefund(1));
    await one.clock.advance(0);
    holds = false;
    await one.accept(anOrder(1));
    await one.clock.advance(minute);
    expect([one.events(), depth(one)]).toEqual([[], 1]);
  });
});

describe('five thousand waiting entries', () => {
  it('are all accepted once their facts are stored, with few lookups and without a busy loop', async () => {
    const one = createFixture({ bounds: { facts: atMost(10_000) } });
    const orders = Array.from({ length: 5000 }, (_, index) => index);
    for (const order of orders) await one.accept(aRefund(order));
    await one.clock.advance(0);
    expect(depth(one)).toBe(5000);
    one.lookUps.splice(0);
    await one.clock.advance(10_000);
    await untilDone(() => one.lookUps.length >= 25);
    expect(one.lookUps).toHaveLength(25);
    for (let from = 0; from < 5000; from += 1000) {
      await one.accept(anOrder(...orders.slice(from, from + 1000)));
    }
    await untilDone(() => depth(one) === 0);
    expect(one.store.depth('events').count).toBe(5000);
    await one.clock.advance(10_000);
    one.lookUps.splice(0);
    await one.clock.advance(minute);
    expect(one.lookUps).toEqual([]);
  });

  it('with unknown persons do not delay one whose person is identified', async () => {
    const one = createFixture();
    for (let order = 0; order < 2000; order++) await one.accept(aRefund(order));
    await one.accept(aRefund('last'));
    await one.accept(anOrder('last'));
    await one.clock.advance(0);
    expect(one.events()).toHaveLength(1);
  });
});
