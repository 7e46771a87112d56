import { describe, expect, it } from 'vitest';
import { ack, anEvent, aProfile, someEvents, toText } from '../../support/builders.js';
import {
  append,
  appendIds,
  deadLetterAll,
  claim,
  type Open,
  settleAll,
  toClaimed,
} from './harness.js';

export function describeAppend(open: Open): void {
  describe('append', () => {
    it('answers for every draft in order, each with an id of its own', async () => {
      const { store } = await open();
      const taken = await append(store, [anEvent(), aProfile(), anEvent()]);
      expect(taken.map(({ duplicate }) => duplicate)).toEqual([false, false, false]);
      expect(new Set(taken.map(({ id }) => id)).size).toBe(3);
      expect(taken.map(({ id }) => id.replace(/_\w{6}_/, '_'))).toEqual(['ev_1', 'pr_1', 'ev_2']);
    });

    it('keeps id, keys, time and bytes, and starts with no attempts', async () => {
      const { store } = await open();
      const draft = anEvent({ keys: ['ea', 'xb'], acceptedAt: 1234, text: '{"é":"😀"}' });
      const [id] = await appendIds(store, [draft]);
      const [envelope] = (await claim(store)).flat();
      expect(envelope).toMatchObject({
        id,
        lane: 'events',
        keys: ['ea', 'xb'],
        acceptedAt: 1234,
        attempts: 0,
      });
      expect(toText(envelope!)).toBe('{"é":"😀"}');
    });

    it('keeps the order of acceptance, over several appends', async () => {
      const { store } = await open();
      await append(store, someEvents(3, 'a'));
      await append(store, someEvents(2, 'b'));
      expect(toClaimed(await claim(store)).flat()).toEqual(['a0', 'a1', 'a2', 'b0', 'b1']);
    });

    it('takes nothing and refuses nothing where there is nothing to take', async () => {
      const { store } = await open();
      expect(await append(store, [])).toEqual([]);
      expect(store.depth('events').count).toBe(0);
    });

    it('tells who listens, naming the lane, until they stop listening', async () => {
      const { store } = await open();
      const heard: string[] = [];
      const stop = store.onClaimable((lane) => void heard.push(lane));
      await append(store, [anEvent()]);
      expect(new Set(heard)).toEqual(new Set(['events']));
      await append(store, [aProfile()]);
      expect(new Set(heard)).toEqual(new Set(['events', 'profiles']));
      stop();
      const before = heard.length;
      await append(store, [anEvent()]);
      expect(heard).toHaveLength(before);
    });

    it('takes nothing once it is closed, and closing twice is harmless', async () => {
      const { store } = await open();
      await append(store, [anEvent()]);
      await store.close();
      await store.close();
      expect(store.backpressure()?.reason).toBe('closed');
      expect(await store.append([anEvent()])).toMatchObject({
        ok: false,
        backpressure: { reason: 'closed' },
      });
    });
  });

  describe('a repeated event', () => {
    it('is known by any key it shares, and answered with the id of the first', async () => {
      const { store } = await open();
      const [first] = await appendIds(store, [anEvent({ keys: ['ea', 'p1'] })]);
      const [byPhone, byEmail] = await append(store, [
        anEvent({ keys: ['p1', 'xz'] }),
        anEvent({ keys: ['ea'] }),
      ]);
      expect(byPhone).toEqual({ id: first, duplicate: true });
      expect(byEmail).toEqual({ id: first, duplicate: true });
      expect(store.depth('events').count).toBe(1);
    });

    it('is known within one append', async () => {
      const { store } = await open();
      const [one, two] = await append(store, [
        anEvent({ keys: ['ea'] }),
        anEvent({ keys: ['ea'] }),
      ]);
      expect(two).toEqual({ id: one!.id, duplicate: true });
    });

    it('does not store its other keys', async () => {
      const { store } = await open();
      await append(store, [anEvent({ keys: ['ea'] }), anEvent({ keys: ['ea', 'xb'] })]);
      const [taken] = await append(store, [anEvent({ keys: ['xb'] })]);
      expect(taken!.duplicate).toBe(false);
    });

    it('is known while in flight and after it was delivered', async () => {
      const { store } = await open();
      await append(store, [anEvent({ keys: ['ea'] })]);
      await settleAll(store, { lane: 'events', verdict: ack });
      const [again] = await append(store, [anEvent({ keys: ['ea'] })]);
      expect(again!.duplicate).toBe(true);
    });

    it('is new again once the first is older than the window', async () => {
      const { store, clock } = await open({ dedupe: { maxAgeMs: 1000, maxCount: 100 } });
      await append(store, [anEvent({ keys: ['ea'] })]);
      await clock.advance(999);
      expect((await append(store, [anEvent({ keys: ['ea'] })]))[0]!.duplicate).toBe(true);
      await clock.advance(1);
      expect((await append(store, [anEvent({ keys: ['ea'] })]))[0]!.duplicate).toBe(false);
    });

    it('is new again once newer ones pushed it out of the window', async () => {
      const { store } = await open({ dedupe: { maxAgeMs: 60_000, maxCount: 2 } });
      const [a, b, c] = [['ea'], ['eb'], ['ec']].map((keys) => ({ keys }));
      await append(store, [anEvent(a), anEvent(b)]);
      expect((await append(store, [anEvent(a)]))[0]!.duplicate).toBe(true);
      await append(store, [anEvent(c)]);
      expect((await append(store, [anEvent(b)]))[0]!.duplicate).toBe(true);
      expect((await append(store, [anEvent(a)]))[0]!.duplicate).toBe(false);
    });

    it('is never known where the window is off', async () => {
      const { store } = await open({ dedupe: { maxAgeMs: 0, maxCount: 100 } });
      const taken = await append(store, [anEvent({ keys: ['ea'] }), anEvent({ keys: ['ea'] })]);
      expect(taken.map(({ duplicate }) => duplicate)).toEqual([false, false]);
    });

    it('is new once the first became a dead letter, so that it can be posted corrected', async () => {
      const { store } = await open();
      await append(store, [anEvent({ keys: ['ea'] })]);
      await deadLetterAll(store);
      const [corrected] = await append(store, [anEvent({ keys: ['ea'] })]);
      expect(corrected!.duplicate).toBe(false);
    });

    it('stays known by a newer one when an older one of its keys becomes a dead letter', async () => {
      const { store, clock } = await open({ dedupe: { maxAgeMs: 1000, maxCount: 100 } });
      await append(store, [anEvent({ keys: ['ea'] })]);
      await clock.advance(1000);
      const [newer] = await appendIds(store, [anEvent({ keys: ['ea'] })]);
      await deadLetterAll(store);
      expect(await append(store, [anEvent({ keys: ['ea'] })])).toEqual([
        { id: newer, duplicate: true },
      ]);
    });

    it('is among the newest again once its dead letter is redriven', async () => {
      const { store } = await open({ dedupe: { maxAgeMs: 60_000, maxCount: 2 } });
      const [a, b, c] = [['ea'], ['eb'], ['ec']].map((keys) => ({ keys }));
      await append(store, [anEvent(a)]);
      await deadLetterAll(store);
      await append(store, [anEvent(a), anEvent(b)]);
      await store.redrive({}, { dryRun: false });
      await append(store, [anEvent(c)]);
      expect((await append(store, [anEvent(a)]))[0]!.duplicate).toBe(true);
      expect((await append(store, [anEvent(b)]))[0]!.duplicate).toBe(false);
    });

    it('is known again once its dead letter is redriven', async () => {
      const { store } = await open();
      const [id] = await appendIds(store, [anEvent({ keys: ['ea'] })]);
      await deadLetterAll(store);
      await store.redrive({}, { dryRun: false });
      expect(await append(store, [anEvent({ keys: ['ea'] })])).toEqual([{ id, duplicate: true }]);
    });
  });

  it('takes every profile: a repeat is an update', async () => {
    const { store } = await open();
    const taken = await append(store, [aProfile({ keys: ['ea'] }), aProfile({ keys: ['ea'] })]);
    expect(taken.map(({ duplicate }) => duplicate)).toEqual([false, false]);
    expect(new Set(taken.map(({ id }) => id)).size).toBe(2);
  });
}
