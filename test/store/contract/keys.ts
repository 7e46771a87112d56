import { describe, expect, it } from 'vitest';
import { ack, anEvent, aProfile, merged, retry, settledAs } from '../../support/builders.js';
import { append, claim, type Open, toClaimed } from './harness.js';

/** Repeats are let in, as they are where the first one is older than the window. */
const noDedupe = { dedupe: { maxAgeMs: 0, maxCount: 0 } };

export function describeKeys(open: Open): void {
  describe('events that share a key', () => {
    it('are never in one claim: the second waits until the first is settled', async () => {
      const { store } = await open(noDedupe);
      await append(store, [
        anEvent({ keys: ['ea'], text: 'first' }),
        anEvent({ keys: ['eb'], text: 'other' }),
        anEvent({ keys: ['ea'], text: 'second' }),
      ]);
      const items = await claim(store);
      expect(toClaimed(items)).toEqual([['first'], ['other']]);
      expect(await claim(store)).toEqual([]);
      expect(store.claimable('events').count).toBe(0);
      expect(store.depth('events').count).toBe(3);
      await store.settle({ lane: 'events', settled: settledAs(items, ack) });
      expect(store.claimable('events').count).toBe(1);
      expect(toClaimed(await claim(store))).toEqual([['second']]);
    });

    it('reach the listeners when the event that waited can be claimed', async () => {
      const { store } = await open(noDedupe);
      await append(store, [anEvent({ keys: ['ea'] }), anEvent({ keys: ['ea'] })]);
      const items = await claim(store);
      let heard = 0;
      store.onClaimable(() => heard++);
      await store.settle({ lane: 'events', settled: settledAs(items, ack) });
      expect(heard).toBeGreaterThan(0);
    });

    it('keep their order while the first is retried', async () => {
      const { store, clock } = await open(noDedupe);
      await append(store, [anEvent({ keys: ['ea'], text: 'first' })]);
      const items = await claim(store);
      await append(store, [anEvent({ keys: ['ea'], text: 'second' })]);
      await store.settle({ lane: 'events', settled: settledAs(items, retry(1000)) });
      expect(await claim(store)).toEqual([]);
      await clock.advance(1000);
      const again = await claim(store);
      expect(toClaimed(again)).toEqual([['first']]);
      await store.settle({ lane: 'events', settled: settledAs(again, ack) });
      expect(toClaimed(await claim(store))).toEqual([['second']]);
    });

    it('are not overtaken by an event that shares another key with the waiting one', async () => {
      const { store } = await open(noDedupe);
      await append(store, [
        anEvent({ keys: ['ea'], text: 'first' }),
        anEvent({ keys: ['ea', 'xb'], text: 'second' }),
        anEvent({ keys: ['xb'], text: 'third' }),
      ]);
      for (const text of ['first', 'second', 'third']) {
        const items = await claim(store);
        expect(toClaimed(items)).toEqual([[text]]);
        await store.settle({ lane: 'events', settled: settledAs(items, ack) });
      }
    });

    it('do not delay events with other keys', async () => {
      const { store } = await open(noDedupe);
      await append(store, [anEvent({ keys: ['ea'] })]);
      await claim(store);
      await append(store, [
        anEvent({ keys: ['ea'], text: 'waits' }),
        anEvent({ keys: ['eb'], text: 'goes' }),
      ]);
      expect(toClaimed(await claim(store))).toEqual([['goes']]);
    });
  });

  describe('profiles that share a key', () => {
    it('are claimed as one item, oldest first, which counts once', async () => {
      const { store } = await open();
      await append(store, [
        aProfile({ keys: ['ea'], text: 'a1' }),
        aProfile({ keys: ['eb'], text: 'b1' }),
        aProfile({ keys: ['ea'], text: 'a2' }),
        aProfile({ keys: ['ea'], text: 'a3' }),
        aProfile({ keys: ['ec'], text: 'c1' }),
      ]);
      const items = await claim(store, { maxCount: 2 }, 'profiles');
      expect(toClaimed(items)).toEqual([['a1', 'a2', 'a3'], ['b1']]);
      expect(toClaimed(await claim(store, {}, 'profiles'))).toEqual([['c1']]);
    });

    it('are merged if each adds an identifier of the same person', async () => {
      const { store } = await open();
      await append(store, [
        aProfile({ keys: ['ea'], text: 'email' }),
        aProfile({ keys: ['ea', 'p1'], text: 'and phone' }),
        aProfile({ keys: ['p1', 'xi'], text: 'and id' }),
      ]);
      expect(toClaimed(await claim(store, {}, 'profiles'))).toEqual([
        ['email', 'and phone', 'and id'],
      ]);
    });

    it('are claimed one after the other if they contradict each other in an identifier', async () => {
      const { store } = await open();
      await append(store, [
        aProfile({ keys: ['ea', 'xi'], text: 'old address' }),
        aProfile({ keys: ['eb', 'xi'], text: 'new address' }),
      ]);
      const items = await claim(store, {}, 'profiles');
      expect(toClaimed(items)).toEqual([['old address']]);
      await store.settle({ lane: 'profiles', settled: settledAs(items, ack) });
      expect(toClaimed(await claim(store, {}, 'profiles'))).toEqual([['new address']]);
    });

    it('are claimed one after the other if merging would join two persons', async () => {
      const { store } = await open();
      await append(store, [
        aProfile({ keys: ['ea'], text: 'by email' }),
        aProfile({ keys: ['p1'], text: 'by phone' }),
        aProfile({ keys: ['ea', 'p1'], text: 'both' }),
      ]);
      const items = await claim(store, {}, 'profiles');
      expect(toClaimed(items)).toEqual([['by email'], ['by phone']]);
      await store.settle({ lane: 'profiles', settled: settledAs(items.slice(0, 1), ack) });
      expect(await claim(store, {}, 'profiles')).toEqual([]);
      await store.settle({ lane: 'profiles', settled: settledAs(items.slice(1), ack) });
      expect(toClaimed(await claim(store, {}, 'profiles'))).toEqual([['both']]);
    });

    it('are merged with each other, and not with a profile in flight', async () => {
      const { store } = await open();
      await append(store, [aProfile({ keys: ['ea'], text: 'a1' })]);
      const items = await claim(store, {}, 'profiles');
      await append(store, [
        aProfile({ keys: ['ea'], text: 'a2' }),
        aProfile({ keys: ['ea'], text: 'a3' }),
      ]);
      expect(await claim(store, {}, 'profiles')).toEqual([]);
      await store.settle({ lane: 'profiles', settled: settledAs(items, ack) });
      expect(toClaimed(await claim(store, {}, 'profiles'))).toEqual([['a2', 'a3']]);
    });

    it('that were accepted meanwhile are merged with an item that is retried', async () => {
      const { store, clock } = await open();
      await append(store, [
        aProfile({ keys: ['ea'], text: 'a1' }),
        aProfile({ keys: ['ea'], text: 'a2' }),
      ]);
      const items = await claim(store, {}, 'profiles');
      await append(store, [aProfile({ keys: ['ea'], text: 'a3' })]);
      await store.settle({ lane: 'profiles', settled: settledAs(items, retry(100)) });
      await clock.advance(100);
      expect(toClaimed(await claim(store, {}, 'profiles'))).toEqual([['a1', 'a2', 'a3']]);
    });

    it('are merged only within the maximum bytes of a claim', async () => {
      const { store } = await open();
      await append(store, [
        aProfile({ keys: ['ea'], text: '123456789' }),
        aProfile({ keys: ['ea'], text: '123456789' }),
      ]);
      const items = await claim(store, { maxBytes: 15 }, 'profiles');
      expect(toClaimed(items)).toEqual([['123456789']]);
      await store.settle({ lane: 'profiles', settled: settledAs(items, ack) });
      expect(await claim(store, { maxBytes: 15 }, 'profiles')).toHaveLength(1);
    });

    it('are not merged again after a retry, once they failed together', async () => {
      const { store, clock } = await open();
      await append(store, [aProfile({ keys: ['ea'], text: 'a1' })]);
      for (const overrides of [{ alone: true }, {}]) {
        const items = await claim(store, {}, 'profiles');
        await store.settle({ lane: 'profiles', settled: settledAs(items, retry(0, overrides)) });
        await clock.advance(1);
      }
      await append(store, [aProfile({ keys: ['ea'], text: 'a2' })]);
      expect(toClaimed(await claim(store, {}, 'profiles'))).toEqual([['a1']]);
    });

    it('are claimed one by one and in order once they failed together', async () => {
      const { store, clock } = await open();
      await append(
        store,
        ['a1', 'a2', 'a3'].map((text) => aProfile({ keys: ['ea'], text })),
      );
      const company = await claim(store, {}, 'profiles');
      const apart = retry(0, { countAttempt: false, alone: true });
      await store.settle({ lane: 'profiles', settled: settledAs(company, apart) });
      await append(store, [aProfile({ keys: ['ea'], text: 'a4' })]);
      await clock.advance(1);
      for (const text of ['a1', 'a2', 'a3', 'a4']) {
        const items = await claim(store, {}, 'profiles');
        expect(toClaimed(items)).toEqual([[text]]);
        await store.settle({ lane: 'profiles', settled: settledAs(items, merged) });
      }
    });
  });
}
