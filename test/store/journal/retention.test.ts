import { statSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, describe, expect, it } from 'vitest';
import { openTables } from '../../../src/store/journal/tables.js';
import {
  ack,
  aDelivery,
  anEvent,
  aReason,
  retry,
  settledAs,
  someEvents,
} from '../../support/builders.js';
import { append, appendIds, deadLetterAll, claim, settleAll } from '../contract/harness.js';
import { openTestJournal, type JournalSettings, type JournalUnderTest } from './under-test.js';

let under: JournalUnderTest;
afterEach(() => under.close());

async function open(settings: JournalSettings = {}): Promise<JournalUnderTest> {
  under = await openTestJournal(settings);
  return under;
}

const file = (): string => join(under.directory, 'journal.mdb');

/** How many entries each table has, as they lie on disk. */
async function countEntries(): Promise<Record<string, number>> {
  await under.store.close();
  const { environment, ...tables } = openTables(file());
  const counts = Object.entries(tables).map(([name, table]) => [name, table.getKeysCount()]);
  await environment.close();
  return Object.fromEntries(counts) as Record<string, number>;
}

describe('the data on disk', () => {
  it('is one block for each lane of an append, and one entry for each delivery with a thousand receipts', async () => {
    await open();
    const ids = await appendIds(under.store, someEvents(1000));
    await settleAll(under.store, { lane: 'events', verdict: ack });
    expect((await under.store.receipt(ids[500]!))?.state).toBe('delivered');
    expect(await countEntries()).toMatchObject({
      blocks: 0,
      states: 0,
      deliveries: 1,
      settled: 1,
      dedupe: 1,
    });
  });

  it('is one block for requests of the same group', async () => {
    await open();
    await Promise.all(Array.from({ length: 50 }, () => append(under.store, [anEvent()])));
    expect(await countEntries()).toMatchObject({ blocks: 1, dedupe: 1 });
  });

  it('has one entry for what a delivery did to a block, including retries', async () => {
    await open();
    await append(under.store, someEvents(1000));
    const items = await claim(under.store);
    await under.store.settle({
      lane: 'events',
      delivery: aDelivery(),
      settled: [
        ...settledAs(items.slice(0, 400), ack),
        ...settledAs(items.slice(400), retry(60_000)),
      ],
    });
    expect(await countEntries()).toMatchObject({ blocks: 1, states: 1, settled: 1 });
  });

  it('has the state of a retry once for all envelopes that failed alike', async () => {
    await open();
    const ids = await appendIds(under.store, someEvents(6));
    const items = await claim(under.store);
    const [reason, other] = [aReason(), aReason({ code: 'other' })];
    const alike = retry(60_000, { reason });
    await under.store.settle({
      lane: 'events',
      delivery: aDelivery(),
      settled: [
        ...settledAs(items.slice(0, 4), alike),
        ...settledAs(items.slice(4), retry(60_000, { reason: other })),
      ],
    });
    await under.store.close();
    const tables = openTables(file());
    const stored = [...tables.states.getRange()].map(({ value }) => value);
    await tables.environment.close();
    expect(stored).toMatchObject([
      {
        runs: [
          [4, 2],
          [2, 3],
        ],
        trials: [{ attempts: 1 }, { attempts: 1 }],
      },
    ]);
    await under.reopen();
    const receipts = await Promise.all(ids.map((id) => under.store.receipt(id)));
    const codes = receipts.map((receipt) => receipt?.reason?.code);
    expect(codes).toEqual([...Array<string>(4).fill(reason.code), 'other', 'other']);
  });

  it('is one entry of states, written with one sync, for settlements of the same group', async () => {
    let syncs = 0;
    await open({ onSynced: () => syncs++ });
    await append(under.store, someEvents(1000));
    const items = await claim(under.store);
    syncs = 0;
    await Promise.all(
      [0, 300, 600].map((from) =>
        under.store.settle({
          lane: 'events',
          delivery: aDelivery(),
          settled: settledAs(items.slice(from, from + 300), ack),
        }),
      ),
    );
    expect(syncs).toBe(1);
    expect(await countEntries()).toMatchObject({ blocks: 1, states: 1, deliveries: 3, settled: 3 });
  });

  it('is synced separately for settlements that are too large for one group', async () => {
    let syncs = 0;
    await open({ onSynced: () => syncs++ });
    await append(under.store, someEvents(12_000));
    const items = await claim(under.store, { maxCount: 12_000 });
    syncs = 0;
    await Promise.all(
      [0, 4000, 8000].map((from) => {
        const settled = settledAs(items.slice(from, from + 4000), ack);
        return under.store.settle({ lane: 'events', delivery: aDelivery(), settled });
      }),
    );
    expect(syncs).toBe(2);
    expect(under.store.depth('events').count).toBe(0);
  });

  it('is removed at the bounds of the delivery log, with receipts and ids', async () => {
    await open({ log: { maxCount: 5, maxAgeMs: 86_400_000 } });
    for (let round = 0; round < 40; round++) {
      await append(under.store, someEvents(3));
      await settleAll(under.store, { lane: 'events', verdict: ack });
    }
    const { deliveries, deliveryOrders, settled } = await countEntries();
    expect(deliveries).toBe(5);
    expect(deliveryOrders).toBe(5);
    expect(settled).toBe(5);
  });

  it('is also removed at the bounds if many deliveries end at once', async () => {
    await open({ log: { maxCount: 5, maxAgeMs: 86_400_000 } });
    for (let round = 0; round < 10; round++) {
      await append(under.store, someEvents(20));
      const items = await claim(under.store);
      await Promise.all(
        items.map((item) => {
          const settled = settledAs([item], ack);
          return under.store.settle({ lane: 'events', delivery: aDelivery(), settled });
        }),
      );
    }
    // What a group adds itself goes with the next one.
    const { blocks, states, deliveries } = await countEntries();
    expect({ blocks, states }).toEqual({ blocks: 0, states: 0 });
    expect(deliveries).toBeLessThanOrEqual(25);
  });

  it('is removed when keys leave the dedupe window', async () => {
    await open({ dedupe: { maxAgeMs: 86_400_000, maxCount: 10 } });
    for (let round = 0; round < 40; round++) await append(under.store, someEvents(2));
    const { dedupe } = await countEntries();
    expect(dedupe).toBeLessThanOrEqual(6);
  });

  it('is removed with dead letters that are dropped, redriven or discarded', async () => {
    await open({ maxDeadLetters: 10 });
    await append(under.store, someEvents(30));
    await deadLetterAll(under.store);
    await under.store.discard({ ids: [(await first()).id] }, { dryRun: false });
    await under.store.redrive({ ids: [(await first()).id] }, { dryRun: false });
    const { deadLetters, deadLetterOrders, blocks } = await countEntries();
    expect([deadLetters, deadLetterOrders, blocks]).toEqual([8, 8, 1]);
  });

  it('does not grow with settled envelopes, since pages are reused', async () => {
    await open({
      log: { maxCount: 20, maxAgeMs: 86_400_000 },
      dedupe: { maxAgeMs: 86_400_000, maxCount: 2000 },
    });
    const sizes: number[] = [];
    for (let round = 0; round < 300; round++) {
      await append(under.store, someEvents(200, 'x'.repeat(400)));
      await settleAll(under.store, { lane: 'events', verdict: ack });
      sizes.push(statSync(file()).size);
    }
    // What it grows by at first is enough, though 8 MB of payload go through in each hundred rounds.
    expect(sizes[299]).toBeLessThanOrEqual(sizes[99]! * 1.1);
    expect(sizes[299]).toBeLessThan(4_300_000);
  });
});

const first = async () => (await under.store.deadLetters({}, { limit: 1 })).data[0]!;
