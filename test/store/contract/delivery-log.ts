import { describe, expect, it } from 'vitest';
import type { Delivery, DeliveryFilter } from '../../../src/model/delivery.js';
import type { Store } from '../../../src/model/store.js';
import { aDelivery, startMs } from '../../support/builders.js';
import type { Open } from './harness.js';

const write = async (store: Store, overrides: Partial<Delivery>): Promise<void> => {
  const delivery = aDelivery(overrides);
  await store.settle({ lane: delivery.lane, delivery, settled: [] });
};

const ids = async (store: Store, filter: DeliveryFilter = {}): Promise<readonly string[]> =>
  (await store.deliveries(filter, { limit: 100 })).data.map(({ id }) => id);

export function describeDeliveryLog(open: Open): void {
  describe('the delivery log', () => {
    it('returns each delivery as it was written, newest first', async () => {
      const { store } = await open();
      const delivery = aDelivery({
        id: 'dl_full',
        reason: { code: 'x', detail: 'y', status: 400 },
      });
      await write(store, { id: 'dl_a' });
      await store.settle({ lane: 'events', delivery, settled: [] });
      expect(await store.delivery('dl_full')).toEqual(delivery);
      expect(await ids(store)).toEqual(['dl_full', 'dl_a']);
      expect(await store.delivery('dl_none')).toBeNull();
    });

    it('replaces a delivery in its place once its import job ended', async () => {
      const { store } = await open();
      await write(store, { id: 'dl_a', result: 'pending' });
      await write(store, { id: 'dl_b' });
      await write(store, { id: 'dl_a', result: 'delivered' });
      expect(await ids(store)).toEqual(['dl_b', 'dl_a']);
      expect((await store.delivery('dl_a'))?.result).toBe('delivered');
    });

    it('is filtered by lane, result and time', async () => {
      const { store } = await open();
      await write(store, { id: 'dl_1', at: startMs });
      await write(store, { id: 'dl_2', at: startMs + 10, lane: 'profiles' });
      await write(store, { id: 'dl_3', at: startMs + 20, result: 'retried' });
      await write(store, { id: 'dl_4', at: startMs + 30 });
      expect(await ids(store, { lane: 'events' })).toEqual(['dl_4', 'dl_3', 'dl_1']);
      expect(await ids(store, { result: 'retried' })).toEqual(['dl_3']);
      expect(await ids(store, { since: startMs + 10, until: startMs + 20 })).toEqual([
        'dl_3',
        'dl_2',
      ]);
      expect(await ids(store, { lane: 'events', since: startMs + 20 })).toEqual(['dl_4', 'dl_3']);
      expect(await ids(store, { lane: undefined, until: startMs - 1 })).toEqual([]);
    });

    it('shows each delivery once over several pages while others are added', async () => {
      const { store } = await open();
      for (let number = 0; number < 7; number++) await write(store, { id: `dl_${number}` });
      const seen: string[] = [];
      let cursor: string | null | undefined;
      do {
        const page = await store.deliveries({}, { limit: 3, cursor: cursor ?? undefined });
        seen.push(...page.data.map(({ id }) => id));
        cursor = page.next;
        await write(store, {});
      } while (cursor !== null);
      expect(seen).toEqual(['dl_6', 'dl_5', 'dl_4', 'dl_3', 'dl_2', 'dl_1', 'dl_0']);
    });

    it('returns no cursor after a last page that is exactly full', async () => {
      const { store } = await open();
      await write(store, { id: 'dl_1' });
      await write(store, { id: 'dl_2', lane: 'profiles' });
      await write(store, { id: 'dl_3' });
      const page = await store.deliveries({ lane: 'events' }, { limit: 2 });
      expect(page.data).toHaveLength(2);
      expect(page.next).toBeNull();
    });

    it('continues at its cursor although older deliveries were dropped meanwhile', async () => {
      const { store } = await open({ log: { maxCount: 4, maxAgeMs: 1_000_000 } });
      for (let number = 0; number < 4; number++) await write(store, { id: `dl_${number}` });
      const first = await store.deliveries({}, { limit: 2 });
      expect(first.data.map(({ id }) => id)).toEqual(['dl_3', 'dl_2']);
      await write(store, {});
      const second = await store.deliveries({}, { limit: 2, cursor: first.next ?? undefined });
      expect(second.data.map(({ id }) => id)).toEqual(['dl_1']);
      expect(second.next).toBeNull();
    });

    it('shows nothing for an invalid cursor', async () => {
      const { store } = await open();
      await write(store, {});
      expect(await store.deliveries({}, { limit: 2, cursor: '!' })).toEqual({
        data: [],
        next: null,
      });
    });

    it('is bounded by count and by age', async () => {
      const { store, clock } = await open({ log: { maxCount: 3, maxAgeMs: 10_000 } });
      for (let number = 0; number < 5; number++) {
        await write(store, { id: `dl_${number}`, at: clock.now() });
        await clock.advance(1000);
      }
      expect(await ids(store)).toEqual(['dl_4', 'dl_3', 'dl_2']);
      await clock.advance(9000);
      await write(store, { id: 'dl_5', at: clock.now() });
      expect(await ids(store)).toEqual(['dl_5', 'dl_4']);
      expect(await store.delivery('dl_2')).toBeNull();
    });
  });
}
