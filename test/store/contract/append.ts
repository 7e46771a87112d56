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
    it('returns one result for each draft, in order, each with its own id', async () => {
      const { store } = await open();
      const taken = await append(store, [anEvent(), aProfile(), anEvent()]);
      expect(taken.map(({ duplicate }) => duplicate)).toEqual([false, false, false]);
      expect(new Set(taken.map(({ id }) => id)).size).toBe(3);
      expect(taken.map(({ id }) => id.replace(/_\w{6}_/, '_'))).toEqual(['ev_1', 'pr_1', 'ev_2']);
    });

    it('keeps the id, keys, time and bytes of an envelope, which starts with no attempts', async () => {
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

    it('keeps the order of acceptance over several calls', async () => {
      const { store } = await open();
      await append(store, someEvents(3, 'a'));
      await append(store, someEvents(2, 'b'));
      expect(toClaimed(await claim(store)).flat()).toEqual(['a0', 'a1', 'a2', 'b0', 'b1']);
    });

    it('accepts an empty list of drafts and stores nothing', async () => {
      const { store } = await open();
      expect(await append(store, [])).toEqual([]);
      expect(store.depth('events').count).toBe(0);
    });

    it('calls each listener with the lane until the listener is removed', async () => {
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

    it('reports backpressure after the store is closed, and the store can be closed twice', async () => {
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
    it('is found by any key that it shares, and its result has the id of the first event', async () => {
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

    it('is found within one append', async () => {
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

    it('is found while the first event is in flight and after its delivery', async () => {
      const { store } = await open();
      await append(store, [anEvent({ keys: ['ea'] })]);
      await settleAll(store, { lane: 'events', verdict: ack });
      const [again] = await append(store, [anEvent({ keys: ['ea'] })]);
      expect(again!.duplicate).toBe(true);
    });

    it('is accepted as new when the first event is older than the window', async () => {
      const { store, clock } = await open({ dedupe: { maxAgeMs: 1000, maxCount: 100 } });
      await append(store, [anEvent({ keys: ['ea'] })]);
      await clock.advance(999);
      expect((await append(store, [anEvent({ keys: ['ea'] })]))[0]!.duplicate).toBe(true);
      await clock.advance(1);
      expect((await append(store, [anEvent({ keys: ['ea'] })]))[0]!.duplicate).toBe(false);
    });

    it('is accepted as new when newer events have filled the window', async () => {
      const { store } = await open({ dedupe: { maxAgeMs: 60_000, maxCount: 2 } });
      const [a, b, c] = [['ea'], ['eb'], ['ec']].map((keys) => ({ keys }));
      await append(store, [anEvent(a), anEvent(b)]);
      expect((await append(store, [anEvent(a)]))[0]!.duplicate).toBe(true);
      await append(store, [anEvent(c)]);
      expect((await append(store, [anEvent(b)]))[0]!.duplicate).toBe(true);
      expect((await append(store, [anEvent(a)]))[0]!.duplicate).toBe(false);
    });

    it('is always accepted as new when the window is off', async () => {
      const { store } = await open({ dedupe: { maxAgeMs: 0, maxCount: 100 } });
      const taken = await append(store, [anEvent({ keys: ['ea'] }), anEvent({ keys: ['ea'] })]);
      expect(taken.map(({ duplicate }) => duplicate)).toEqual([false, false]);
    });

    it('is accepted as new after the first event became a dead letter, so that a corrected event can be posted', async () => {
      const { store } = await open();
      await append(store, [anEvent({ keys: ['ea'] })]);
      await deadLetterAll(store);
      const [corrected] = await append(store, [anEvent({ keys: ['ea'] })]);
      expect(corrected!.duplicate).toBe(false);
    });

    it('is still found by a newer event after an older one with its key became a dead letter', async () => {
      const { store, clock } = await open({ dedupe: { maxAgeMs: 1000, maxCount: 100 } });
      await append(store, [anEvent({ keys: ['ea'] })]);
      await clock.advance(1000);
      const [newer] = await appendIds(store, [anEvent({ keys: ['ea'] })]);
      await deadLetterAll(store);
      expect(await append(store, [anEvent({ keys: ['ea'] })])).toEqual([
        { id: newer, duplicate: true },
      ]);
    });

    it('counts as one of the newest events after its dead letter is redriven', async () => {
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

    it('is found again after the dead letter of the first event is redriven', async () => {
      const { store } = await open();
      const [id] = await appendIds(store, [anEvent({ keys: ['ea'] })]);
      await deadLetterAll(store);
      await store.redrive({}, { dryRun: false });
      expect(await append(store, [anEvent({ keys: ['ea'] })])).toEqual([{ id, duplicate: true }]);
    });
  });

  it('a repeated profile is stored, because it is an update', async () => {
    const { store } = await open();
    const taken = await append(store, [aProfile({ keys: ['ea'] }), aProfile({ keys: ['ea'] })]);
    expect(taken.map(({ duplicate }) => duplicate)).toEqual([false, false]);
    expect(new Set(taken.map(({ id }) => id)).size).toBe(2);
  });
}
