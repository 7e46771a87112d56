import { describe, expect, it } from 'vitest';
import type { DeadLetter } from '../../src/model/dead-letter.js';
import { MemoryStore } from '../../src/store/memory.js';
import { aDelivery, anEvent } from '../support/builders.js';
import { createManualClock } from '../support/manual-clock.js';
import { describeStore } from './contract.js';
import { append, factBounds, type OpenStore, useStores } from './contract/harness.js';

const openMemory: OpenStore = (bounds) => {
  const clock = createManualClock();
  const dropped: DeadLetter[] = [];
  const store = new MemoryStore({
    ...bounds,
    clock,
    random: () => 0.5,
    onDeadLetterDropped: (letter) => void dropped.push(letter),
  });
  return Promise.resolve({ store, clock, dropped, close: () => store.close() });
};

describeStore('memory', openMemory);

describe('the memory store alone', () => {
  const open = useStores(openMemory);

  it('reports that nothing survives the process', async () => {
    const { store } = await open();
    expect(store).toMatchObject({ durability: 'process', durable: false });
    expect(await store.unfinishedImportJobs()).toEqual([]);
  });

  it('uses a new epoch for each instance, so that an old id never matches a new envelope', async () => {
    const options = { clock: createManualClock(), onDeadLetterDropped: () => undefined };
    const { store } = await open();
    const other = new MemoryStore({
      ...options,
      random: () => 0.25,
      capacity: { maxCount: 10, maxBytes: 1000 },
      dedupe: { maxAgeMs: 1000, maxCount: 10 },
      log: { maxCount: 10, maxAgeMs: 1000 },
      maxDeadLetters: 10,
      facts: factBounds(),
    });
    const [taken] = await append(store, [anEvent()]);
    await append(other, [anEvent()]);
    expect(await other.receipt(taken!.id)).toBeNull();
    await other.close();
  });

  it('drops no delivery because the wall clock is fast for a while, or set back', async () => {
    const { store, clock } = await open({ log: { maxCount: 100, maxAgeMs: 10_000 } });
    for (const days of [0, 8, -8, -8]) {
      clock.jump(days * 86_400_000);
      const delivery = aDelivery({ id: `dl_${days}`, at: clock.now() });
      await store.settle({ lane: 'events', delivery, settled: [] });
      await store.settle({ lane: 'events', delivery: aDelivery({ at: clock.now() }), settled: [] });
    }
    expect(await store.delivery('dl_0')).not.toBeNull();
    expect((await store.deliveries({}, { limit: 10 })).data).toHaveLength(7);
  });
});
