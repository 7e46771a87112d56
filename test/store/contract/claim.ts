import { describe, expect, it } from 'vitest';
import type { Store } from '../../../src/model/store.js';
import {
  ack,
  anEvent,
  retry,
  settledAs,
  someEvents,
  someProfiles,
} from '../../support/builders.js';
import { append, claim, type Open, settleAll, toClaimed } from './harness.js';

/** Sends everything back `times` times, so that it has that many attempts behind it. */
async function failTimes(store: Store, advance: () => Promise<void>, times: number): Promise<void> {
  for (let time = 0; time < times; time++) {
    await settleAll(store, { lane: 'events', verdict: retry(0) });
    await advance();
  }
}

export function describeClaim(open: Open): void {
  describe('claim', () => {
    it('returns nothing if nothing can be claimed', async () => {
      const { store } = await open();
      expect(await claim(store)).toEqual([]);
    });

    it('returns unclaimed envelopes, oldest first, up to the maximum count', async () => {
      const { store } = await open();
      await append(store, someEvents(5));
      expect(toClaimed(await claim(store, { maxCount: 2 })).flat()).toEqual(['n0', 'n1']);
      expect(toClaimed(await claim(store, { maxCount: 2 })).flat()).toEqual(['n2', 'n3']);
      expect(toClaimed(await claim(store, { maxCount: 2 })).flat()).toEqual(['n4']);
      expect(await claim(store)).toEqual([]);
    });

    it('returns as many envelopes as fit into the maximum bytes, each with a separator', async () => {
      const { store } = await open();
      await append(store, someEvents(3, '12345678'));
      // Nine characters and a separator each.
      expect(await claim(store, { maxBytes: 20 })).toHaveLength(2);
    });

    it('returns nothing that is younger than an envelope that does not fit', async () => {
      const { store } = await open();
      await append(store, [
        anEvent({ text: 'small' }),
        anEvent({ text: 'x'.repeat(100) }),
        anEvent({ text: 'tiny' }),
      ]);
      expect(toClaimed(await claim(store, { maxBytes: 50 })).flat()).toEqual(['small']);
      expect(toClaimed(await claim(store, { maxBytes: 50 })).flat()).toEqual(['x'.repeat(100)]);
      expect(toClaimed(await claim(store, { maxBytes: 50 })).flat()).toEqual(['tiny']);
    });

    it('returns at least one envelope, whatever its size', async () => {
      const { store } = await open();
      await append(store, [anEvent({ text: 'x'.repeat(1000) })]);
      expect(await claim(store, { maxBytes: 10 })).toHaveLength(1);
    });

    it('returns envelopes of one lane only', async () => {
      const { store } = await open();
      await append(store, [...someEvents(1, 'event'), ...someProfiles(1, 'profile')]);
      expect(toClaimed(await claim(store, {}, 'profiles'))).toEqual([['profile0']]);
      expect(toClaimed(await claim(store, {}, 'events'))).toEqual([['event0']]);
    });

    it('returns a retry when it is due, and then before fresh envelopes', async () => {
      const { store, clock } = await open();
      await append(store, someEvents(2, 'old'));
      const items = await claim(store);
      await store.settle({ lane: 'events', settled: settledAs(items, retry(5000)) });
      await append(store, someEvents(2, 'new'));
      await clock.advance(4999);
      expect(toClaimed(await claim(store, { maxCount: 1 })).flat()).toEqual(['new0']);
      await clock.advance(1);
      expect(toClaimed(await claim(store)).flat()).toEqual(['old0', 'old1', 'new1']);
    });

    it('measures the delay of a retry by the monotonic clock', async () => {
      const { store, clock } = await open();
      await append(store, [anEvent()]);
      await settleAll(store, { lane: 'events', verdict: retry(1000) });
      clock.jump(-3_600_000);
      await clock.advance(1000);
      expect(await claim(store)).toHaveLength(1);
    });

    it('returns retries that are due oldest first, whatever their delays were', async () => {
      const { store, clock } = await open();
      await append(store, someEvents(3));
      const [first, second, third] = await claim(store);
      await store.settle({ lane: 'events', settled: settledAs([third!], retry(10)) });
      await store.settle({ lane: 'events', settled: settledAs([first!], retry(30)) });
      await store.settle({ lane: 'events', settled: settledAs([second!], retry(20)) });
      await clock.advance(30);
      expect(toClaimed(await claim(store)).flat()).toEqual(['n0', 'n1', 'n2']);
    });

    it('halves the batch of an isolated envelope with each further attempt, until it is alone', async () => {
      const { store, clock } = await open();
      await append(store, someEvents(16));
      const sizes: number[] = [];
      for (let attempts = 0; attempts < 8; attempts++) {
        const items = await claim(store, { maxCount: 16 });
        sizes.push(items.length);
        const [isolated, ...others] = items;
        const settled = [...settledAs([isolated!], retry(0)), ...settledAs(others, ack)];
        await store.settle({ lane: 'events', settled });
        await append(store, someEvents(16));
        await clock.advance(1);
      }
      expect(sizes).toEqual([16, 16, 16, 8, 4, 2, 1, 1]);
    });

    it('returns an envelope that failed alone in a claim of its own', async () => {
      const { store, clock } = await open();
      await append(store, someEvents(3));
      const [first, second] = (await claim(store, { maxCount: 2 })).flat();
      const settled = [first!, second!].map((envelope, index) => {
        return { envelope, verdict: retry(0, index === 1 ? { alone: true } : {}) };
      });
      await store.settle({ lane: 'events', settled });
      await clock.advance(1);
      const sizes: string[][] = [];
      for (let time = 0; time < 3; time++) sizes.push(toClaimed(await claim(store)).flat());
      expect(sizes).toEqual([['n0'], ['n1'], ['n2']]);
    });

    it('returns a profile that is no longer merged together with others until an attempt fails', async () => {
      const { store, clock } = await open();
      await append(store, someEvents(2));
      const verdict = retry(0, { alone: true, countAttempt: false });
      await settleAll(store, { lane: 'events', verdict });
      await clock.advance(1);
      expect(toClaimed(await claim(store)).flat()).toEqual(['n0', 'n1']);
    });

    it('adds an isolated envelope only to a batch of the size that its attempts permit', async () => {
      const { store, clock } = await open();
      await append(store, someEvents(1, 'isolated'));
      await failTimes(store, () => clock.advance(1), 6);
      await append(store, someEvents(20, 'fresh'));
      expect(toClaimed(await claim(store, { maxCount: 16 })).flat()).toEqual(['isolated0']);
      expect(await claim(store, { maxCount: 16 })).toHaveLength(16);
    });
  });

  describe('the claimable state', () => {
    it('has the count, the bytes and the age of what can be claimed now', async () => {
      const { store, clock } = await open();
      expect(store.claimable('events')).toEqual({
        count: 0,
        bytes: 0,
        oldestAgeMs: null,
        nextDueMs: null,
      });
      await clock.advance(1000);
      await append(store, [anEvent({ text: '1234' })]);
      await clock.advance(70);
      await append(store, [anEvent({ text: '12' })]);
      await clock.advance(30);
      expect(store.claimable('events')).toEqual({
        count: 2,
        bytes: 8,
        oldestAgeMs: 100,
        nextDueMs: null,
      });
      expect(store.claimable('profiles').count).toBe(0);
    });

    it('has the age of a retry that is due and older than all fresh envelopes', async () => {
      const { store, clock } = await open();
      await append(store, someEvents(1));
      await settleAll(store, { lane: 'events', verdict: retry(5) });
      await clock.advance(10);
      await append(store, someEvents(1));
      await clock.advance(5);
      expect(store.claimable('events')).toMatchObject({ count: 2, oldestAgeMs: 15 });
    });

    it('does not count envelopes in flight, and has the time until the next retry is due', async () => {
      const { store, clock } = await open();
      await append(store, someEvents(2));
      const [first, second] = await claim(store);
      expect(store.claimable('events').count).toBe(0);
      await store.settle({ lane: 'events', settled: settledAs([first!], retry(900)) });
      await store.settle({ lane: 'events', settled: settledAs([second!], retry(400)) });
      await clock.advance(100);
      expect(store.claimable('events')).toMatchObject({
        count: 0,
        oldestAgeMs: null,
        nextDueMs: 300,
      });
    });

    it('reaches the listeners when a retry is due, and not before', async () => {
      const { store, clock } = await open();
      await append(store, someEvents(1));
      await settleAll(store, { lane: 'events', verdict: retry(500) });
      let heard = 0;
      store.onClaimable(() => heard++);
      await clock.advance(499);
      expect(heard).toBe(0);
      await clock.advance(1);
      expect(heard).toBeGreaterThan(0);
      expect(store.claimable('events').count).toBe(1);
    });

    it('needs no timer after the store is closed', async () => {
      const { store, clock } = await open();
      await append(store, someEvents(2));
      const [first, second] = await claim(store);
      await store.settle({ lane: 'events', settled: settledAs([first!], retry(60_000)) });
      await store.close();
      // A request that was in flight when the time to stop ran out may still end.
      await store
        .settle({ lane: 'events', settled: settledAs([second!], retry(0)) })
        .catch(() => null);
      expect(clock.pending()).toBe(0);
    });
  });
}
