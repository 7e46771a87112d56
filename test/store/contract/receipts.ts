import { describe, expect, it } from 'vitest';
import {
  ack,
  aDelivery,
  anEvent,
  aProfile,
  aReason,
  merged,
  retry,
  settledAs,
  someEvents,
} from '../../support/builders.js';
import { append, appendIds, deadLetterAll, claim, type Open, settleAll } from './harness.js';

export function describeReceipts(open: Open): void {
  describe('a receipt', () => {
    it('follows an envelope to its delivery, with the reason of the last attempt', async () => {
      const { store, clock } = await open();
      const [id] = await appendIds(store, [anEvent()]);
      const base = { id, lane: 'events', deliveryId: null, reason: null, merged: false };
      expect(await store.receipt(id!)).toEqual({ ...base, state: 'buffered' });

      const first = await claim(store);
      expect(await store.receipt(id!)).toEqual({ ...base, state: 'in_flight' });

      const reason = aReason({ code: 'timeout' });
      const tried = aDelivery({ id: 'dl_tried', result: 'retried' });
      const settled = settledAs(first, retry(1000, { reason }));
      await store.settle({ lane: 'events', delivery: tried, settled });
      const afterOne = { ...base, deliveryId: 'dl_tried', reason };
      expect(await store.receipt(id!)).toEqual({ ...afterOne, state: 'buffered' });

      await clock.advance(1000);
      const second = await claim(store);
      expect(await store.receipt(id!)).toEqual({ ...afterOne, state: 'in_flight' });

      const done = aDelivery({ id: 'dl_done' });
      await store.settle({ lane: 'events', delivery: done, settled: settledAs(second, ack) });
      expect(await store.receipt(id!)).toEqual({
        ...base,
        state: 'delivered',
        deliveryId: 'dl_done',
      });
    });

    it('shows that a profile was merged into a newer one', async () => {
      const { store } = await open();
      const ids = await appendIds(store, [
        aProfile({ keys: ['ea'] }),
        aProfile({ keys: ['ea'] }),
        aProfile({ keys: ['eb'] }),
      ]);
      const [pair, single] = await claim(store, {}, 'profiles');
      const settled = [
        { envelope: pair![0], verdict: merged },
        { envelope: pair![1]!, verdict: ack },
        { envelope: single![0], verdict: ack },
      ];
      const delivery = aDelivery({ id: 'dl_1', lane: 'profiles' });
      await store.settle({ lane: 'profiles', delivery, settled });
      const receipts = await Promise.all(ids.map((id) => store.receipt(id)));
      expect(receipts.map((receipt) => receipt?.merged)).toEqual([true, false, false]);
      expect(receipts.map((receipt) => receipt?.state)).toEqual(Array(3).fill('delivered'));
      expect(receipts.map((receipt) => receipt?.deliveryId)).toEqual(Array(3).fill('dl_1'));
    });

    it('has the delivery of an envelope while its import job runs', async () => {
      const { store } = await open();
      const [id] = await appendIds(store, [aProfile()]);
      const items = await claim(store, {}, 'profiles');
      const delivery = aDelivery({ id: 'dl_job', lane: 'profiles', result: 'pending' });
      const settled = settledAs(items, { kind: 'poll', ref: 'job-1' });
      await store.settle({ lane: 'profiles', delivery, settled });
      expect(await store.receipt(id!)).toMatchObject({ state: 'in_flight', deliveryId: 'dl_job' });
    });

    it('has the reason of a dead letter', async () => {
      const { store } = await open();
      const [id] = await appendIds(store, [anEvent()]);
      const deliveryId = await deadLetterAll(store, 'events', 'bad_phone');
      expect(await store.receipt(id!)).toMatchObject({
        state: 'dead_lettered',
        deliveryId,
        reason: { code: 'bad_phone' },
      });
    });

    it('is buffered again after a redrive and absent after a discard', async () => {
      const { store } = await open();
      const ids = await appendIds(store, someEvents(2));
      await deadLetterAll(store);
      await store.redrive({ ids: [ids[0]!] }, { dryRun: false });
      await store.discard({ ids: [ids[1]!] }, { dryRun: false });
      expect(await store.receipt(ids[0]!)).toMatchObject({ state: 'buffered', reason: null });
      expect(await store.receipt(ids[1]!)).toBeNull();
    });

    it('is found for each of many envelopes, whatever order they were settled in', async () => {
      const { store } = await open();
      const ids = await appendIds(store, someEvents(20));
      const items = await claim(store);
      const of = (index: number): string => `dl_${index % 3}`;
      for (const part of [2, 0, 1]) {
        const mine = items.filter((_, index) => index % 3 === part);
        const delivery = aDelivery({ id: `dl_${part}` });
        await store.settle({ lane: 'events', delivery, settled: settledAs(mine, ack) });
      }
      const receipts = await Promise.all(ids.map((id) => store.receipt(id)));
      expect(receipts.map((receipt) => receipt?.deliveryId)).toEqual(ids.map((_, i) => of(i)));
    });

    it('is null for an id that was never assigned', async () => {
      const { store } = await open();
      const [id] = await appendIds(store, [anEvent()]);
      for (const unknown of ['', 'nonsense', 'ev_zzzzzz_1', `${id}0`, id!.replace('ev_', 'pr_')]) {
        expect(await store.receipt(unknown)).toBeNull();
      }
    });

    it('is removed with its delivery at the count and the age bound of the log', async () => {
      const { store, clock } = await open({ log: { maxCount: 2, maxAgeMs: 10_000 } });
      const ids: string[] = [];
      for (let turn = 0; turn < 3; turn++) {
        ids.push(...(await appendIds(store, [anEvent()])));
        const items = await claim(store);
        const delivery = aDelivery({ at: clock.now() });
        await store.settle({ lane: 'events', delivery, settled: settledAs(items, ack) });
        await clock.advance(1000);
      }
      const states = async () =>
        (await Promise.all(ids.map((id) => store.receipt(id)))).map((one) => one?.state);
      expect(await states()).toEqual([undefined, 'delivered', 'delivered']);

      await clock.advance(20_000);
      await append(store, [aProfile()]);
      const items = await claim(store, {}, 'profiles');
      const delivery = aDelivery({ lane: 'profiles', at: clock.now() });
      await store.settle({ lane: 'profiles', delivery, settled: settledAs(items, ack) });
      expect(await states()).toEqual([undefined, undefined, undefined]);
    });

    it('is kept for unsettled envelopes and dead letters, however full the log is', async () => {
      const { store } = await open({ log: { maxCount: 1, maxAgeMs: 10_000 } });
      const [dead] = await appendIds(store, [anEvent()]);
      await deadLetterAll(store);
      const [waits] = await appendIds(store, [aProfile()]);
      for (let turn = 0; turn < 3; turn++) {
        await append(store, [anEvent()]);
        await settleAll(store, { lane: 'events', verdict: ack });
      }
      expect((await store.receipt(dead!))?.state).toBe('dead_lettered');
      expect((await store.receipt(waits!))?.state).toBe('buffered');
    });
  });
}
