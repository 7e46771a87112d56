import { describe, expect, it } from 'vitest';
import { createLocalLimiter } from '../../src/delivery/limiter/limiter.js';
import {
  anEvent,
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
import { createManualClock } from '../support/manual-clock.js';
import { buffered, useEngines } from './fixture.js';

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
    const [letter] = (await store.deadLetters({}, { limit: 1 })).data;
    expect(letter?.reason.code).toBe('too_old');
  });
});
