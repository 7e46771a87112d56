import { createHash } from 'node:crypto';
import { mkdirSync, writeFileSync } from 'node:fs';
import { cpus } from 'node:os';
import { afterAll, beforeAll, expect, it } from 'vitest';
import type { Cost } from '../scripts/capacity.js';
import type { Draft } from '../src/model/envelope.js';
import { ack, aDelivery, settledAs } from '../test/support/builders.js';
import { startRedis, type RedisServer } from '../test/support/redis-server.js';
import { openTestRedis, type RedisUnderTest } from '../test/store/redis/under-test.js';

/**
 * What an event costs the server: bytes of memory while it waits and while it is remembered, and
 * microseconds of its one thread from append to settlement. docs/operations/capacity.md is made from the result
 * (`npm run docs`).
 */

const events = 100_000;
const perRequest = 500;
const perBatch = 1000;
const singles = 20_000;

let server: RedisServer;
let under: RedisUnderTest;
let made = 0;
const costs: Cost[] = [];

beforeAll(async () => {
  // Syncs take the disk's time, not the thread's, and are the same whatever is written.
  server = await startRedis({ settings: { appendfsync: 'everysec' } });
});
afterAll(async () => {
  await server.close();
  const result = {
    node: process.version,
    cores: cpus().length,
    events,
    perRequest,
    perBatch,
    costs,
  };
  mkdirSync(new URL('results/', import.meta.url), { recursive: true });
  const path = new URL('results/redis-capacity.json', import.meta.url);
  writeFileSync(path, `${JSON.stringify(result, null, 2)}\n`);
});

function toDrafts(count: number, payloadBytes: number): readonly Draft[] {
  return Array.from({ length: count }, () => {
    const number = made++;
    const hash = createHash('sha256').update(String(number)).digest('base64url').slice(0, 22);
    const head = `{"n":${number},"pad":"`;
    const payload = Buffer.from(`${head.padEnd(payloadBytes - 2, 'x')}"}`);
    // An e-mail address and an id of the shop's, as most events have.
    return {
      lane: 'events',
      keys: [`e${hash}`, `x${hash}`],
      acceptedAt: 1_790_000_000_000,
      payload,
    };
  });
}

async function usedBytes(): Promise<number> {
  const info = String(await under.connection.call('INFO', 'memory'));
  return Number(/^used_memory:(\d+)/m.exec(info)?.[1]);
}

/** Time of the server's thread in scripts, since it was last asked. */
async function scriptMicros(): Promise<number> {
  const stats = String(await under.connection.call('INFO', 'commandstats'));
  await under.connection.call('CONFIG', 'RESETSTAT');
  return ['eval', 'evalsha'].reduce(
    (sum, name) =>
      sum + Number(new RegExp(`^cmdstat_${name}:.*usec=(\\d+)`, 'm').exec(stats)?.[1] ?? 0),
    0,
  );
}

async function appendAll(count: number, each: number, payloadBytes: number): Promise<void> {
  for (let left = count; left > 0; left -= each) {
    const { ok } = await under.store.append(toDrafts(each, payloadBytes));
    expect(ok).toBe(true);
  }
}

async function drain(): Promise<void> {
  while (under.store.depth('events').count > 0) {
    const bounds = { maxCount: perBatch, maxBytes: 5_000_000, isolateAfterAttempts: 3 };
    const settled = settledAs(await under.store.claim('events', bounds), ack);
    await under.store.settle({ lane: 'events', settled, delivery: aDelivery() });
  }
}

it.each([200, 400, 1000, 4000])('events of %i bytes', async (payloadBytes) => {
  under = await openTestRedis({
    url: server.url,
    timeoutMs: 30_000,
    capacity: { maxCount: 1e8, maxBytes: 1e12 },
  });
  const before = await usedBytes();
  await scriptMicros();
  await appendAll(events, perRequest, payloadBytes);
  const appendMicros = (await scriptMicros()) / events;
  const full = await usedBytes();
  await drain();
  const deliverMicros = (await scriptMicros()) / events;
  const drained = await usedBytes();
  await appendAll(singles, 1, payloadBytes);
  const singleAppendMicros = (await scriptMicros()) / singles;
  await drain();
  const rememberedBytes = (drained - before) / events;
  const waitingBytes = (full - drained) / events;
  costs.push({
    payloadBytes,
    waitingBytes,
    rememberedBytes,
    appendMicros,
    singleAppendMicros,
    deliverMicros,
  });
  await under.connection.call('FLUSHALL');
  await under.close();
});
