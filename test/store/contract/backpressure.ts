import { describe, expect, it } from 'vitest';
import { ack, anEvent, aProfile, settledAs, someEvents } from '../../support/builders.js';
import { append, claim, type Open, settleAll } from './harness.js';

const tenFit = { capacity: { maxCount: 10, maxBytes: 1_000_000 } };

export function describeRefusal(open: Open): void {
  describe('a full buffer', () => {
    it('accepts exactly as many envelopes as its bound, over all lanes', async () => {
      const { store } = await open(tenFit);
      await append(store, [...someEvents(9), aProfile()]);
      expect(await store.append([anEvent()])).toMatchObject({
        ok: false,
        backpressure: { reason: 'full' },
      });
      expect(store.backpressure()?.reason).toBe('full');
    });

    it('accepts all drafts of an append or none', async () => {
      const { store } = await open(tenFit);
      await append(store, someEvents(9));
      expect((await store.append(someEvents(2))).ok).toBe(false);
      expect(store.depth('events').count).toBe(9);
      expect(await claim(store)).toHaveLength(9);
    });

    it('is bounded by payload bytes, with a separator for each envelope', async () => {
      const { store } = await open({ capacity: { maxCount: 100, maxBytes: 20 } });
      await append(store, [anEvent({ text: '123456789' })]);
      expect((await store.append([anEvent({ text: '1234567890' })])).ok).toBe(false);
      await append(store, [anEvent({ text: '123456789' })]);
      expect(store.capacityBytes()).toBe(20);
    });

    it('rejects an append that is too large by itself, and still accepts smaller ones', async () => {
      const { store } = await open(tenFit);
      expect((await store.append(someEvents(11))).ok).toBe(false);
      expect(store.backpressure()).toBeNull();
      expect((await store.append(someEvents(1))).ok).toBe(true);
    });

    it('accepts again only when a tenth of the capacity is free', async () => {
      const { store } = await open({ capacity: { maxCount: 20, maxBytes: 1_000_000 } });
      await append(store, someEvents(20));
      expect((await store.append([anEvent()])).ok).toBe(false);
      const [first, second] = await claim(store);
      await store.settle({ lane: 'events', settled: settledAs([first!], ack) });
      expect(store.backpressure()?.reason).toBe('full');
      await store.settle({ lane: 'events', settled: settledAs([second!], ack) });
      expect(store.backpressure()).toBeNull();
      await append(store, someEvents(2));
    });

    it('counts envelopes in flight, and does not count dead letters', async () => {
      const { store } = await open(tenFit);
      await append(store, someEvents(10));
      const items = await claim(store);
      expect((await store.append([anEvent()])).ok).toBe(false);
      await store.settle({
        lane: 'events',
        settled: settledAs(items, { kind: 'dead-letter', reason: { code: 'x', detail: 'x' } }),
      });
      expect((await store.append(someEvents(10))).ok).toBe(true);
    });

    it('does not count duplicates', async () => {
      const { store } = await open(tenFit);
      await append(store, [anEvent({ keys: ['ea'] }), ...someEvents(7)]);
      for (let turn = 0; turn < 3; turn++) {
        const [repeat] = await append(store, [anEvent({ keys: ['ea'] })]);
        expect(repeat!.duplicate).toBe(true);
      }
      expect((await store.append(someEvents(2))).ok).toBe(true);
      expect((await store.append(someEvents(1))).ok).toBe(false);
    });

    it('has capacity for exactly the bytes that were settled', async () => {
      const { store } = await open({ capacity: { maxCount: 100, maxBytes: 100 } });
      await append(store, [anEvent({ text: 'x'.repeat(39) }), anEvent({ text: 'x'.repeat(39) })]);
      await settleAll(store, { lane: 'events', verdict: ack });
      expect((await store.append([anEvent({ text: 'x'.repeat(100) })])).ok).toBe(false);
      expect((await store.append([anEvent({ text: 'x'.repeat(99) })])).ok).toBe(true);
    });

    it('counts a redriven dead letter again', async () => {
      const { store } = await open(tenFit);
      await append(store, someEvents(10));
      await settleAll(store, {
        lane: 'events',
        verdict: { kind: 'dead-letter', reason: { code: 'x', detail: 'x' } },
      });
      await store.redrive({}, { dryRun: false });
      expect((await store.append([anEvent()])).ok).toBe(false);
    });

    it('reports the time until there is capacity, from the recent rate of settlement', async () => {
      const { store, clock } = await open({ capacity: { maxCount: 1000, maxBytes: 1_000_000 } });
      // 10 a second for two minutes: long enough for the rate to be known.
      for (let second = 0; second < 120; second++) {
        await append(store, someEvents(10));
        await settleAll(store, { lane: 'events', verdict: ack });
        await clock.advance(1000);
      }
      await append(store, someEvents(1000));
      const appended = await store.append([anEvent()]);
      if (appended.ok) throw new Error('it was taken');
      // A tenth of 1,000 at 10 a second takes 10 s.
      expect(appended.backpressure.retryAfterMs).toBeGreaterThan(8_000);
      expect(appended.backpressure.retryAfterMs).toBeLessThan(13_000);
    });

    it('reports the longest wait if nothing is settled', async () => {
      const { store } = await open(tenFit);
      await append(store, someEvents(10));
      await store.append([anEvent()]);
      expect(store.backpressure()?.retryAfterMs).toBe(120_000);
    });
  });
}
