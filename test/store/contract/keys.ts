import { describe, expect, it } from 'vitest';
import { ack, anEvent, aProfile, merged, retry, settledAs } from '../../support/builders.js';
import { append, claim, type Open, toClaimed } from './harness.js';

/** Repeats are let in, as they are where the first one is older than the window. */
const noDedupe = { dedupe: { maxAgeMs: 0, maxCount: 0 } };

export function describeKeys(open: Open): void {
  describe('events that share a key', () => {
    it('never travel together; the second waits until the first is settled', async () => {
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

    it('tell who listens when the one that waited can go on', async () => {
      const { store } = await open(noDedupe);
      await append(store, [anEvent({ keys: ['ea'] }), anEvent({ keys: ['ea'] })]);
      const items = await claim(store);
      let heard = 0;
      store.onClaimable(() => heard++);
      await store.settle({ lane: 'events', settled: settledAs(items, ack) });
      expect(heard).toBeGreaterThan(0);
    });

    it('keep their order while the first is tried again', async () => {
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

    it('are not overtaken by what shares another key with the one that waits', async () => {
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

    it('do not hold up the others', async () => {
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
    it('leave as one item, oldest first, and count once', async () => {
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

    it('become one where they add to what is known of a person', async () => {
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

    it('leave one after the other where they contradict each other in an identifier', async () => {
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

    it('leave one after the other where one would join two persons', async () => {
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

    it('are merged while they wait for one in flight, not with it', async () => {
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

    it('that came meanwhile join a item that is tried again', async () => {
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

    it('stay within the bytes of a claim: what does not fit waits its turn', async () => {
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

    it('stay by themselves through a retry, once they failed in company', async () => {
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

    it('travel by themselves, in order, once they failed in company', async () => {
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
