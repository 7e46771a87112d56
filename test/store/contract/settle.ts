import { describe, expect, it } from 'vitest';
import type { Verdict } from '../../../src/model/outcome.js';
import {
  ack,
  aDelivery,
  anEnvelope,
  anEvent,
  aProfile,
  deadLetter,
  merged,
  retry,
  settledAs,
  someEvents,
  startMs,
} from '../../support/builders.js';
import { append, appendIds, claim, type Open, settleAll } from './harness.js';

export function describeSettle(open: Open): void {
  describe('settle', () => {
    it('removes envelopes that were delivered, merged or dead-lettered', async () => {
      const { store } = await open();
      await append(store, someEvents(4));
      const [first, second, third] = await claim(store);
      await store.settle({
        lane: 'events',
        delivery: aDelivery(),
        settled: [
          ...settledAs([first!], ack),
          ...settledAs([second!], merged),
          ...settledAs([third!], deadLetter()),
        ],
      });
      expect(store.depth('events')).toMatchObject({ count: 1, deadLetters: 1 });
      expect(await claim(store)).toEqual([]);
    });

    it('returns retried envelopes to the queue, and counts the attempt if the verdict says so', async () => {
      const { store, clock } = await open();
      await append(store, someEvents(2));
      const [counted, free] = await claim(store);
      await store.settle({
        lane: 'events',
        delivery: aDelivery(),
        settled: [
          ...settledAs([counted!], retry(0)),
          ...settledAs([free!], retry(0, { countAttempt: false })),
        ],
      });
      expect(store.depth('events').count).toBe(2);
      await clock.advance(0);
      const again = await claim(store);
      expect(again.flat().map(({ attempts }) => attempts)).toEqual([1, 0]);
    });

    it('keeps envelopes of an import job claimed, with their keys locked, until the job ends', async () => {
      const { store, clock } = await open();
      await append(store, [aProfile({ keys: ['ea'] }), aProfile({ keys: ['ea'] })]);
      const items = await claim(store, {}, 'profiles');
      const delivery = aDelivery({ lane: 'profiles', result: 'pending' });
      const settled = settledAs(items, { kind: 'poll', ref: 'job-1' });
      await store.settle({ lane: 'profiles', delivery, settled });
      await append(store, [aProfile({ keys: ['ea'] })]);
      await clock.advance(60_000);
      expect(await claim(store, {}, 'profiles')).toEqual([]);
      expect(store.depth('profiles').count).toBe(3);

      const ended = { ...delivery, result: 'delivered' as const };
      await store.settle({ lane: 'profiles', delivery: ended, settled: settledAs(items, ack) });
      expect(store.depth('profiles').count).toBe(1);
      expect(await claim(store, {}, 'profiles')).toHaveLength(1);
    });

    it.each([
      ['delivered', ack],
      ['buried', deadLetter()],
      ['sent back', retry(1000)],
    ])('is harmless the second time: %s', async (_name, verdict) => {
      const { store, clock } = await open();
      await append(store, someEvents(3));
      const items = await claim(store, { maxCount: 2 });
      const delivery = aDelivery();
      await store.settle({ lane: 'events', delivery, settled: settledAs(items, verdict) });
      const depth = store.depth('events');
      const waiting = store.claimable('events');
      await store.settle({ lane: 'events', delivery, settled: settledAs(items, verdict) });
      await store.settle({ lane: 'events', delivery, settled: settledAs(items, ack) });
      expect(store.depth('events')).toEqual(depth);
      expect(store.claimable('events')).toEqual(waiting);
      await clock.advance(1000);
      expect(await claim(store)).toHaveLength(store.depth('events').count);
    });

    it('ignores envelopes that are unknown or not claimed', async () => {
      const { store } = await open();
      const [id] = await appendIds(store, [anEvent()]);
      const unknown = [anEnvelope({ id: 'ev_zzzzzz_1' }), anEnvelope({ id: 'nonsense' })];
      const unclaimed = anEnvelope({ id: id! });
      await store.settle({
        lane: 'events',
        settled: [...unknown, unclaimed].map((envelope) => ({ envelope, verdict: ack })),
      });
      expect(store.depth('events').count).toBe(1);
      expect(await claim(store)).toHaveLength(1);
    });

    it('applies the first of several simultaneous settlements of an envelope', async () => {
      const { store, clock } = await open();
      const ids = await appendIds(store, someEvents(5));
      const items = await claim(store);
      const settle = (from: number, to: number, verdict: Verdict): Promise<void> => {
        const settled = settledAs(items.slice(from, to), verdict);
        return store.settle({ lane: 'events', delivery: aDelivery(), settled });
      };
      await Promise.all([
        settle(0, 2, ack),
        settle(1, 4, retry(0)),
        settle(2, 5, deadLetter()),
        settle(0, 5, ack),
      ]);
      const receipts = await Promise.all(ids.map((id) => store.receipt(id)));
      expect(receipts.map((receipt) => receipt?.state)).toEqual([
        'delivered',
        'delivered',
        'buffered',
        'buffered',
        'dead_lettered',
      ]);
      expect(store.depth('events')).toMatchObject({ count: 2, deadLetters: 1 });
      await clock.advance(0);
      expect((await claim(store)).flat().map(({ id }) => id)).toEqual(ids.slice(2, 4));
    });

    it('can settle the envelopes of a delivery in parts, also at the same time', async () => {
      const { store } = await open();
      const ids = await appendIds(store, someEvents(2));
      const items = await claim(store);
      const delivery = aDelivery();
      await Promise.all(
        items.map((item) =>
          store.settle({ lane: 'events', delivery, settled: settledAs([item], ack) }),
        ),
      );
      expect((await store.deliveries({}, { limit: 10 })).data).toHaveLength(1);
      for (const id of ids) expect((await store.receipt(id))?.deliveryId).toBe(delivery.id);
    });

    it('works without a delivery: envelopes that a stop returns are not in the log', async () => {
      const { store, clock } = await open();
      await append(store, someEvents(2));
      const items = await claim(store);
      await store.settle({ lane: 'events', settled: settledAs(items, retry(0)) });
      await clock.advance(0);
      expect(await claim(store)).toHaveLength(2);
      expect((await store.deliveries({}, { limit: 10 })).data).toEqual([]);
    });
  });

  describe('depth', () => {
    it('counts everything that is not settled: waiting, delayed, in flight, or waiting for a key', async () => {
      const { store } = await open({ dedupe: { maxAgeMs: 0, maxCount: 0 } });
      await append(store, [
        anEvent({ text: '1', keys: ['ea'] }),
        anEvent({ text: '12', keys: ['ea'] }),
        anEvent({ text: '123' }),
        anEvent({ text: '1234' }),
      ]);
      expect(store.depth('events')).toMatchObject({ count: 4, bytes: 14 });
      const [, third] = await claim(store, { maxCount: 2 });
      expect(store.depth('events')).toMatchObject({ count: 4, bytes: 14 });
      await store.settle({ lane: 'events', settled: settledAs([third!], retry(1000)) });
      expect(store.depth('events')).toMatchObject({ count: 4, bytes: 14 });
      expect(store.depth('profiles')).toEqual({
        count: 0,
        bytes: 0,
        oldestAgeMs: null,
        deadLetters: 0,
      });
    });

    it('has the age of the oldest unsettled envelope', async () => {
      const { store, clock } = await open();
      for (let second = 0; second < 3; second++) {
        await append(store, [anEvent({ acceptedAt: clock.now() })]);
        await clock.advance(1000);
      }
      const [first, second] = await claim(store);
      expect(store.depth('events').oldestAgeMs).toBe(3000);
      await store.settle({ lane: 'events', settled: settledAs([second!], ack) });
      expect(store.depth('events').oldestAgeMs).toBe(3000);
      await store.settle({ lane: 'events', settled: settledAs([first!], ack) });
      expect(store.depth('events').oldestAgeMs).toBe(1000);
    });

    it('counts a redriven dead letter as accepted at the time of the redrive', async () => {
      const { store, clock } = await open();
      await append(store, [anEvent({ acceptedAt: startMs })]);
      await settleAll(store, { lane: 'events', verdict: deadLetter() });
      await clock.advance(5000);
      await append(store, [anEvent({ acceptedAt: clock.now() })]);
      await clock.advance(5000);
      await store.redrive({}, { dryRun: false });
      expect(store.depth('events')).toMatchObject({ count: 2, oldestAgeMs: 5000 });
    });
  });
}
