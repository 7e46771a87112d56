import { describe, expect, it } from 'vitest';
import { createLocalLimiter } from '../../src/delivery/limiter/limiter.js';
import type { UnfinishedImportJob } from '../../src/model/delivery.js';
import type { RateWindow } from '../../src/model/limiter.js';
import {
  aDelivery,
  anEvent,
  anItem,
  aProfile,
  delivered,
  pending,
  rejected,
  retryable,
  someEvents,
  someProfiles,
  startMs,
  throttled,
  unattributed,
} from '../support/builders.js';
import { createManualClock, type ManualClock } from '../support/manual-clock.js';
import { buffered, useEngines } from './fixture.js';
import { mapLanes } from '../../src/model/lane.js';

const start = useEngines();

describe('the delivery loop', () => {
  it('sends waiting envelopes in full batches, oldest first', async () => {
    const { advance, append, store, requests } = await start(() => delivered);
    await append(someEvents(250));
    await advance(1000);
    expect(requests.map(({ texts }) => texts.length)).toEqual([100, 100, 50]);
    expect(requests.flatMap(({ texts }) => texts)).toEqual(
      Array.from({ length: 250 }, (_, index) => `n${index}`),
    );
    expect(buffered(store)).toBe(0);
  });

  it('sends the same bytes again after a failed request', async () => {
    const { advance, append, store, requests } = await start((_text, _request, number) =>
      number === 1 ? retryable() : delivered,
    );
    await append(someEvents(3));
    await advance(5000);
    expect(requests.map(({ texts }) => texts)).toEqual([
      ['n0', 'n1', 'n2'],
      ['n0', 'n1', 'n2'],
    ]);
    expect(buffered(store)).toBe(0);
  });

  it('delivers the events while the profiles fail', async () => {
    const { advance, append, store, requests } = await start((_text, { lane }) =>
      lane === 'profiles' ? retryable() : delivered,
    );
    await append(someProfiles(10));
    for (let round = 0; round < 50; round++) {
      await append([anEvent()]);
      await advance(200);
    }
    expect(store.depth('events').count).toBe(0);
    expect(store.depth('profiles').count).toBe(10);
    const events = requests.filter(({ lane }) => lane === 'events');
    expect(events).toHaveLength(50);
  });

  it('pauses the lane after a 429 for as long as Klaviyo requests', async () => {
    const { advance, append, requests } = await start((_text, _request, number) =>
      number === 1 ? throttled(5000) : delivered,
    );
    await append(someEvents(1));
    await advance(20_000);
    expect(requests).toHaveLength(2);
    expect(requests[1]!.at - requests[0]!.at).toBeGreaterThanOrEqual(5000);
  });

  it('sends small probes in an outage, and full batches after it', async () => {
    let down = true;
    const { advance, append, store, requests } = await start(() =>
      down ? retryable() : delivered,
    );
    await append(someEvents(1000));
    await advance(60_000);
    const probes = requests.slice(8);
    expect(probes.length).toBeGreaterThan(3);
    expect(probes.length).toBeLessThan(60);
    expect(Math.max(...probes.map(({ texts }) => texts.length))).toBeLessThanOrEqual(10);
    down = false;
    const before = requests.length;
    await advance(30_000);
    expect(buffered(store)).toBe(0);
    expect(Math.max(...requests.slice(before).map(({ texts }) => texts.length))).toBe(100);
  });

  it('isolates an event that always makes Klaviyo fail, and delivers all others', async () => {
    const { advance, append, store, requests } = await start((_text, { texts }) =>
      texts.includes('n37') ? retryable() : delivered,
    );
    await append(someEvents(100));
    await advance(120_000);
    expect(buffered(store)).toBe(1);
    expect(requests.at(-1)?.texts).toEqual(['n37']);
  });

  it('keeps the order of the envelopes when it halves a batch', async () => {
    const { advance, append, store, requests } = await start((_text, { texts }) => {
      if (!texts.includes('n5')) return delivered;
      return texts.length === 1 ? rejected : unattributed('bisect');
    });
    await append(someEvents(8));
    await advance(1000);
    expect(requests.map(({ texts }) => texts.join(' '))).toEqual([
      'n0 n1 n2 n3 n4 n5 n6 n7',
      'n0 n1 n2 n3',
      'n4 n5 n6 n7',
      'n4 n5',
      'n4',
      'n5',
      'n6 n7',
    ]);
    expect(store.depth('events')).toMatchObject({ count: 0, deadLetters: 1 });
  });

  it('cancels a permit that is not used for a request', async () => {
    const clock = createManualClock();
    const windows = [{ limit: 3, windowMs: 1000 }];
    const limiter = createLocalLimiter({
      clock,
      bucket: { perSecond: 1000, burst: 1000 },
      windows: { events: [], profiles: windows, imports: [] },
    });
    const { advance, append, requests } = await start(
      (text) => (text === 'b' ? delivered : pending('job-1')),
      { clock, jobs: () => null, overrides: { limiter } },
    );
    // All but the first are due, but the store does not release them until the import job of the first has ended.
    for (let round = 0; round < 5; round++) {
      await append([aProfile({ keys: ['ea'], text: 'a' })]);
      await advance(1000);
    }
    await append([aProfile({ text: 'b' })]);
    await advance(1000);
    expect(requests.map(({ texts }) => texts)).toEqual([['a'], ['b']]);
  });

  it('returns the undecided parts of a split batch to the store when it stops', async () => {
    const { advance, append, store, stop, requests } = await start(() => unattributed('bisect'), {
      latencyMs: 1000,
    });
    await append(someEvents(64));
    await advance(1500);
    await stop();
    expect(requests.length).toBeLessThan(5);
    expect(store.depth('events')).toMatchObject({ count: 64, deadLetters: 0 });
    expect(store.claimable('events').count).toBe(64);
  });
});

describe('the engine', () => {
  const klaviyoWindows = [
    { limit: 10, windowMs: 1000 },
    { limit: 150, windowMs: 60_000 },
  ];
  const limiterWith = (
    clock: ManualClock,
    windows: readonly RateWindow[],
    bucket = { perSecond: 1000, burst: 1000 },
  ) =>
    createLocalLimiter({
      clock,
      bucket,
      windows: { events: windows, profiles: windows, imports: [] },
    });

  it('gives each request an id of its time, a counter and random characters', async () => {
    const { advance, append, store, clock } = await start(() => delivered, {
      overrides: { random: () => 0.999_999_999 },
    });
    await append(someEvents(250));
    await advance(1000);
    const { data } = await store.deliveries({}, { limit: 10 });
    const ids = data.map(({ id }) => id).sort();
    expect(ids.map((id) => id.slice(12))).toEqual(['001zzzz', '002zzzz', '003zzzz']);
    for (const id of ids) {
      expect(id).toMatch(/^dl_[0-9a-z]{16}$/);
      const at = parseInt(id.slice(3, 12), 36);
      expect(at).toBeGreaterThanOrEqual(startMs);
      expect(at).toBeLessThanOrEqual(clock.now());
    }
  });

  it('logs and counts each request, and each split', async () => {
    const { advance, append, logged, metrics } = await start((_text, { texts }) =>
      texts.length > 5 ? unattributed('size') : delivered,
    );
    await append(someEvents(10));
    await advance(1000);
    expect(logged.map((line) => line.split(' {')[0])).toEqual([
      'delivery rejected',
      'delivery delivered',
      'delivery delivered',
    ]);
    expect((await metrics.splits.get()).values).toEqual([
      { labels: { lane: 'events', method: 'size' }, value: 1 },
    ]);
  });

  it('records what closed the batch when it is sent, and not when it was due', async () => {
    const clock = createManualClock();
    const limiter = limiterWith(clock, []);
    const { advance, append, store } = await start(() => delivered, {
      clock,
      overrides: { limiter },
    });
    limiter.pause('events', 1000);
    await append(someEvents(1));
    await advance(500);
    await append(someEvents(99));
    await advance(1000);
    const { data } = await store.deliveries({}, { limit: 10 });
    expect(data).toMatchObject([{ trigger: 'size', count: 100 }]);
  });

  it('ends the permit of each request, so that the next one can leave', async () => {
    const clock = createManualClock();
    const limiter = limiterWith(clock, [{ limit: 1, windowMs: 1000 }]);
    const { advance, append, requests } = await start(() => delivered, {
      clock,
      overrides: { limiter },
    });
    await append(someEvents(300));
    await advance(4000);
    expect(requests).toHaveLength(3);
  });

  it('sends a whole burst although its first requests have ended meanwhile', async () => {
    const clock = createManualClock();
    const limiter = limiterWith(clock, klaviyoWindows);
    const { advance, append, requests } = await start(() => delivered, {
      clock,
      latencyMs: 20,
      overrides: { limiter },
    });
    await clock.advance(60_000);
    await append(someEvents(700));
    await advance(100);
    expect(requests).toHaveLength(7);
  });

  it('takes no token for a lane that is paused by hand', async () => {
    const clock = createManualClock();
    const limiter = limiterWith(clock, [], { perSecond: 1 / 86_400, burst: 1 });
    const { engine, advance, append, requests } = await start(() => delivered, {
      clock,
      overrides: { limiter },
    });
    engine.pause('events');
    await append(someEvents(1));
    await advance(1000);
    engine.resume('events');
    await advance(1000);
    expect(requests).toHaveLength(1);
  });

  it('takes no token for the part of a batch that returns to the store because the lane is paused', async () => {
    const clock = createManualClock();
    const limiter = limiterWith(clock, [], { perSecond: 1 / 86_400, burst: 2 });
    const { engine, advance, append, requests } = await start(
      (_text, _request, number) => (number === 1 ? unattributed('bisect') : delivered),
      { clock, latencyMs: 200, overrides: { limiter } },
    );
    await append(someEvents(2));
    await advance(200);
    engine.pause('events');
    await advance(1000);
    expect(requests).toHaveLength(1);
    engine.resume('events');
    await advance(1000);
    expect(requests.map(({ texts }) => texts)).toEqual([
      ['n0', 'n1'],
      ['n0', 'n1'],
    ]);
  });

  it('probes with other envelopes after each failed probe, as long as others wait', async () => {
    const { advance, append, requests } = await start(() => retryable());
    await append(someEvents(1000));
    await advance(60_000);
    const probes = requests.slice(8).map(({ texts }) => texts);
    expect(probes.length).toBeGreaterThan(5);
    for (const [index, texts] of probes.slice(1).entries()) {
      expect(texts.filter((text) => probes[index]?.includes(text))).toEqual([]);
    }
  });

  it('probes with the same envelope at each end of the pause if no other waits', async () => {
    const { advance, append, requests } = await start(() => retryable());
    await append(someEvents(1));
    await advance(60_000);
    const gaps = requests.slice(1).map(({ at }, index) => at - requests[index]!.at);
    // The longest pause is three quarters of RETRY_MAX_DELAY_MS here.
    expect(Math.max(...gaps)).toBeLessThan(3300);
  });

  it('sends nothing while the dead letters are full', async () => {
    const { engine, advance, append, requests } = await start(() => delivered);
    engine.setDeadLettersFull({ code: 'dead_letters_full', detail: 'no space' });
    await append([...someEvents(1), ...someProfiles(1)]);
    await advance(10_000);
    expect(requests).toEqual([]);
    expect(engine.pauses()).toMatchObject({
      events: [{ kind: 'dead_letters_full' }],
      profiles: [{ kind: 'dead_letters_full' }],
    });
    engine.setDeadLettersFull(null);
    await advance(1000);
    expect(requests).toHaveLength(2);
    expect(engine.pauses()).toEqual(mapLanes(() => []));
  });

  it('stops only after the request in flight has ended, and then listens to no queue', async () => {
    let listeners = 0;
    const { engine, clock, append, store } = await start(() => delivered, {
      latencyMs: 5000,
      prepare(buffer) {
        const onClaimable = buffer.onClaimable.bind(buffer);
        buffer.onClaimable = (listener) => {
          listeners++;
          const remove = onClaimable(listener);
          return () => {
            listeners--;
            remove();
          };
        };
        return Promise.resolve();
      },
    });
    await append(someEvents(1));
    await clock.advance(1000);
    let isStopped = false;
    const stopped = engine.stop().then(() => (isStopped = true));
    await clock.advance(3000);
    expect(isStopped).toBe(false);
    await clock.advance(2000);
    await stopped;
    expect(store.depth('events').count).toBe(0);
    expect(listeners).toBeLessThanOrEqual(0);
  });

  it('polls the import jobs that another relay left, until it stops', async () => {
    const delivery = aDelivery({ lane: 'profiles', result: 'pending', delivered: 0 });
    let onLeft: () => void = () => undefined;
    let left: UnfinishedImportJob[] = [];
    const { engine, klaviyo, advance, stop, clock } = await start(() => delivered, {
      jobs: () => null,
      prepare(store) {
        Object.assign(store, {
          unfinishedImportJobs: () => Promise.resolve(left),
          onUnfinishedImportJobs: (listener: () => void) => (onLeft = listener),
        });
        return Promise.resolve();
      },
    });
    await advance(1000);
    expect(klaviyo.polls).toEqual([]);
    left = [{ lane: 'profiles', ref: 'job-left', delivery, items: [anItem('p1')] }];
    onLeft();
    await advance(1000);
    expect(klaviyo.polls[0]?.ref).toBe('job-left');
    expect(engine.openJobs().count).toBe(1);
    await stop();
    onLeft();
    await clock.advance(10_000);
    expect(engine.openJobs().count).toBe(0);
  });

  it('resolves importJobsEnded when the last import job has ended', async () => {
    let isOpen = true;
    const { engine, advance, append } = await start(() => pending('job-1'), {
      jobs: ({ texts }) => (isOpen ? null : texts.map(() => delivered)),
    });
    await append(someProfiles(1));
    await advance(1000);
    let hasEnded = false;
    void engine.importJobsEnded().then(() => (hasEnded = true));
    await advance(5000);
    expect(hasEnded).toBe(false);
    isOpen = false;
    await advance(5000);
    expect(hasEnded).toBe(true);
  });

  it('polls only the profiles that a request did not decide', async () => {
    const { klaviyo, advance, append, store } = await start(
      (text) => (text === 'n0' ? rejected : pending('job-1')),
      { jobs: ({ texts }) => texts.map(() => delivered) },
    );
    await append(someProfiles(3));
    await advance(2000);
    expect(klaviyo.polls.map(({ texts }) => texts)).toEqual([['n1', 'n2']]);
    expect(store.depth('profiles')).toMatchObject({ count: 0, deadLetters: 1 });
  });

  it('causes no listener warning when the parts of many batches wait for permits', async () => {
    const warnings: string[] = [];
    const onWarning = (warning: Error): void => void warnings.push(warning.name);
    process.on('warning', onWarning);
    const clock = createManualClock();
    const limiter = limiterWith(clock, [], { perSecond: 1 / 86_400, burst: 12 });
    const { advance, append, requests } = await start(() => unattributed('size'), {
      clock,
      latencyMs: 1000,
      overrides: { limiter, concurrency: 12 },
    });
    await append(someEvents(1200));
    await advance(3000);
    process.off('warning', onWarning);
    expect(requests).toHaveLength(12);
    expect(warnings).toEqual([]);
  });
});

describe('the delivery loop with a wrong or jumping wall clock', () => {
  const days = 86_400_000;
  const policy = { baseMs: 500, maxDelayMs: 4000, maxAttempts: 0, maxAgeMs: 7 * days };
  const old = () => someEvents(50).map((draft) => ({ ...draft, acceptedAt: startMs - 8 * days }));

  it('does not dead-letter an old envelope that fails only for a short time', async () => {
    const { store, append, advance } = await start(
      (_text, _request, number) => (number <= 8 ? retryable() : delivered),
      { overrides: { policy } },
    );
    await append(old());
    await advance(60_000);
    expect(store.depth('events')).toMatchObject({ count: 0, deadLetters: 0 });
  });

  it.each([8, -8])(
    'dead-letters no envelope when the clock jumps by %i days during an outage',
    async (jump) => {
      let isDown = true;
      const { clock, store, append, advance } = await start(
        () => (isDown ? retryable() : delivered),
        { overrides: { policy } },
      );
      await append(someEvents(50));
      await advance(30_000);
      clock.jump(jump * days);
      await advance(300_000);
      isDown = false;
      await advance(30_000);
      expect(store.depth('events')).toMatchObject({ count: 0, deadLetters: 0 });
    },
  );

  it('dead-letters an envelope that is too old and fails for ten minutes', async () => {
    const { store, append, advance } = await start(() => retryable(), { overrides: { policy } });
    await append(old().slice(0, 3));
    await advance(590_000);
    expect(store.depth('events')).toMatchObject({ count: 3, deadLetters: 0 });
    await advance(30_000);
    expect(store.depth('events')).toMatchObject({ count: 0, deadLetters: 3 });
    const [deadLetter] = (await store.deadLetters({}, { limit: 1 })).data;
    expect(deadLetter?.reason.code).toBe('too_old');
  });
});
