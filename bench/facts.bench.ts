import { createHash } from 'node:crypto';
import { mkdirSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { afterAll, expect, it } from 'vitest';
import type { Fact, FactKind } from '../src/model/fact.js';
import { MemoryStore } from '../src/store/memory.js';
import type { Store } from '../src/model/store.js';
import { atMost, wideBounds } from '../test/store/contract/harness.js';
import { openTestJournal } from '../test/store/journal/under-test.js';
import { openTestRedis } from '../test/store/redis/under-test.js';
import { createManualClock } from '../test/support/manual-clock.js';
import { startRedis } from '../test/support/redis-server.js';

/**
 * What facts of one kind cost where they are kept, at the default of MEMO_MAX_COUNT: buyers of orders
 * with an e-mail address, a phone number and an id, and deliveries seen. docs/operations/capacity.md states it.
 */

const count = 100_000;
const perCall = 10;

const results: object[] = [];
afterAll(() => {
  mkdirSync(new URL('results/', import.meta.url), { recursive: true });
  const path = new URL('results/facts.json', import.meta.url);
  writeFileSync(path, `${JSON.stringify({ node: process.version, count, results }, null, 2)}\n`);
});

function toFact(kind: FactKind, number: number): Fact {
  const key = createHash('sha256').update(`${kind} ${number}`).digest('base64url');
  if (kind === 'delivery') return { kind, key, value: '1' };
  const person = {
    email: `some.body.${number}@klaviyo-demo.com`,
    distinct_id: String(7_000_000_000_000 + number),
    phone_number: `+1617555${String(number).padStart(5, '0')}`,
  };
  return { kind, key, value: JSON.stringify(person) };
}

/** Ms that a call takes, of those that come one after the other. */
async function putAll(store: Store, kind: FactKind): Promise<number> {
  const from = performance.now();
  for (let number = 0; number < count; number += perCall) {
    const facts = Array.from({ length: perCall }, (_, index) => toFact(kind, number + index));
    expect(await store.putFacts(facts)).toEqual({ ok: true });
  }
  return (performance.now() - from) / (count / perCall);
}

function heapBytes(): number {
  setFlagsFromString('--expose-gc');
  const collect = runInNewContext('gc') as () => void;
  collect();
  return process.memoryUsage().heapUsed;
}

const kinds: readonly FactKind[] = ['order', 'delivery'];
const bounds = { ...wideBounds, facts: atMost(count) };

it.each(kinds)('journal: %s', async (kind) => {
  const under = await openTestJournal(bounds);
  const size = (): number => statSync(join(under.directory, 'journal.mdb')).size;
  const before = size();
  const msPerCall = await putAll(under.store, kind);
  const bytesPerFact = (size() - before) / count;
  // The same number once more: pages of those that went are used again.
  for (let number = count; number < 2 * count; number += 500) {
    const facts = Array.from({ length: 500 }, (_, index) => toFact(kind, number + index));
    await under.store.putFacts(facts);
  }
  const bytesPerFactLater = (size() - before) / count;
  results.push({ store: 'journal', kind, bytesPerFact, bytesPerFactLater, msPerCall });
  await under.close();
});

it.each(kinds)('redis: %s', async (kind) => {
  const server = await startRedis({ settings: { appendfsync: 'everysec' } });
  const under = await openTestRedis({ url: server.url, timeoutMs: 30_000, ...bounds });
  const used = async (): Promise<number> =>
    Number(/^used_memory:(\d+)/m.exec(String(await under.connection.call('INFO', 'memory')))?.[1]);
  const before = await used();
  const msPerCall = await putAll(under.store, kind);
  results.push({
    store: 'redis',
    kind,
    bytesPerFact: ((await used()) - before) / count,
    msPerCall,
  });
  await under.close();
  await server.close();
});

it.each(kinds)('memory: %s', async (kind) => {
  const options = { ...bounds, random: () => 0.5, onDeadLetterDropped: () => undefined };
  const store = new MemoryStore({ ...options, clock: createManualClock() });
  const before = heapBytes();
  const msPerCall = await putAll(store, kind);
  results.push({
    store: 'memory',
    kind,
    bytesPerFact: (heapBytes() - before) / count,
    msPerCall,
  });
  await store.close();
});
