import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, describe, expect, it } from 'vitest';
import { loadConfig, type Environment } from '../../src/config/config.js';
import type { FactKind } from '../../src/model/fact.js';
import type { Store } from '../../src/model/store.js';
import { openStore } from '../../src/store/open.js';
import { anEvent, aReason, someEvents } from '../support/builders.js';
import { createManualClock, type ManualClock } from '../support/manual-clock.js';
import { append, deadLetterAll } from './contract/harness.js';

let closeAll: (() => Promise<void> | void)[] = [];
afterEach(async () => {
  for (const close of closeAll.reverse()) await close();
  closeAll = [];
});

async function open(environment: Environment): Promise<{ store: Store; clock: ManualClock }> {
  const clock = createManualClock();
  const ignore = (): void => undefined;
  const config = loadConfig({ KLAVIYO_API_KEY: 'pk_test_1', ...environment });
  const store = await openStore(config, {
    clock,
    random: () => 0.5,
    onDeadLetterDropped: ignore,
    onSynced: ignore,
    onFatal: ignore,
    onDiskSpace: ignore,
    onExposedFile: ignore,
    onServer: ignore,
    onDurability: ignore,
    onTakenOver: ignore,
    onLate: ignore,
    onLeaseLost: ignore,
    onBufferLost: ignore,
    account: () => Promise.resolve({ ok: false, reason: 'not asked' }),
  });
  closeAll.push(() => store.close());
  return { store, clock };
}

function createDirectory(): string {
  const directory = mkdtempSync(join(tmpdir(), 'relay-open-'));
  closeAll.push(() => rmSync(directory, { recursive: true }));
  return directory;
}

const accepts = async (store: Store, count: number): Promise<boolean> =>
  (await store.append(someEvents(count))).ok;

describe('openStore', () => {
  it('opens the memory store with 256 MiB by default', async () => {
    const { store } = await open({ STORE: 'memory' });
    expect(store.durability).toBe('process');
    expect(store.capacityBytes()).toBe(268_435_456);
  });

  it('opens the journal of DATA_DIR with 8 GiB by default', async () => {
    const { store } = await open({ STORE: 'journal', DATA_DIR: createDirectory() });
    expect(store.durability).toBe('disk');
    expect(store.capacityBytes()).toBe(8_589_934_592);
    await append(store, [anEvent()]);
  });

  it('rejects the Redis store without REDIS_URL', async () => {
    const config = loadConfig({ KLAVIYO_API_KEY: 'pk_test_1', STORE: 'memory' });
    expect(config.REDIS_URL).toBeUndefined();
    await expect(open({ STORE: 'redis' })).rejects.toThrow('REDIS_URL');
  });

  it('bounds the store by MAX_BUFFER_COUNT and MAX_BUFFER_BYTES', async () => {
    const { store } = await open({
      STORE: 'memory',
      MAX_BUFFER_COUNT: '100',
      MAX_BUFFER_BYTES: '2000000',
    });
    expect(store.capacityBytes()).toBe(2_000_000);
    expect(await accepts(store, 101)).toBe(false);
    expect(await accepts(store, 100)).toBe(true);
  });

  it.each([
    ['keeps all dead letters by default', {}, 3],
    [
      'drops the oldest dead letters at the bound with DEAD_LETTER_OVERFLOW=drop-oldest',
      { DEAD_LETTER_OVERFLOW: 'drop-oldest' },
      2,
    ],
  ])('%s', async (_name, overflow, kept) => {
    const { store } = await open({ STORE: 'memory', DEAD_LETTER_MAX_COUNT: '2', ...overflow });
    await append(store, someEvents(2));
    await deadLetterAll(store);
    await append(store, [anEvent({ deadLetterReason: aReason() })]);
    expect(store.depth('events').deadLetters).toBe(kept);
  });

  it('expires facts about deliveries and about people by their own settings, and no others', async () => {
    const { store, clock } = await open({
      STORE: 'memory',
      DELIVERY_FACT_MAX_AGE: '1h',
      FACT_MAX_AGE: '2h',
    });
    const kinds: readonly FactKind[] = ['delivery', 'order', 'other'];
    await store.putFacts(kinds.map((kind) => ({ kind, key: kind, value: '1' })));
    await clock.advance(3_600_000 - 1);
    expect(await store.getFacts(kinds)).toEqual(['1', '1', '1']);
    await clock.advance(1);
    expect(await store.getFacts(kinds)).toEqual([null, '1', '1']);
    await clock.advance(3_600_000);
    expect(await store.getFacts(kinds)).toEqual([null, null, '1']);
    await clock.advance(1e12);
    expect(await store.getFacts(kinds)).toEqual([null, null, '1']);
  });
});
