import { cpSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import type { BatchItem } from '../../../src/model/envelope.js';
import { ack, settledAs, someEvents } from '../../support/builders.js';
import { startRedis, type RedisServer } from '../../support/redis-server.js';
import { append, claim, toClaimed } from '../contract/harness.js';
import { openTestRedis, type RedisUnderTest } from './under-test.js';

// A replica that takes the place of its primary has what it had been sent by then: the server is set back.
let server: RedisServer;
let under: RedisUnderTest;
const leaseMs = 10_000;

beforeEach(async () => {
  server = await startRedis();
  under = await openTestRedis({ url: server.url, leaseMs });
});
afterEach(async () => {
  expect(under.faults).toEqual([]);
  await under.close();
  await server.close();
});

const place = (name: string): string => join(server.directory, name);
const keepState = (): void =>
  cpSync(place('appendonlydir'), place('kept'), { recursive: true, force: true });

async function fallBack(): Promise<void> {
  await server.kill();
  rmSync(place('appendonlydir'), { recursive: true });
  cpSync(place('kept'), place('appendonlydir'), { recursive: true });
  await server.start();
  await under.connection.untilUp(5000);
  await under.session.heartbeat();
}

const acknowledge = (items: readonly BatchItem[]): Promise<void> =>
  under.store.settle({ lane: 'events', settled: settledAs(items, ack) });

/** The lease under the name of before ends. */
async function untilLeaseIsOver(): Promise<void> {
  for (let ms = 0; ms <= 2 * leaseMs; ms += 1000) await under.clock.advance(1000);
}

it('what was settled and is claimed again after the server fell back is sent once more, and does not stay claimed', async () => {
  await append(under.store, someEvents(3));
  const items = await claim(under.store, { maxCount: 2 });
  keepState();
  await acknowledge(items);
  await fallBack();
  expect(under.leaseLosses).toEqual(['fallback']);
  expect(under.store.depth('events').count).toBe(3);
  await untilLeaseIsOver();
  const again = await claim(under.store);
  expect(toClaimed(again).flat()).toEqual(['n0', 'n1', 'n2']);
  await acknowledge(again);
  expect(under.store.depth('events').count).toBe(0);
});

it('what was claimed and is not any more after the server fell back is not held, and is claimed anew', async () => {
  await append(under.store, someEvents(2));
  keepState();
  const items = await claim(under.store);
  expect(under.store.stillOwned(items.flat())).toBe(true);
  await fallBack();
  expect(under.leaseLosses).toEqual(['fallback']);
  expect(under.store.stillOwned(items.flat())).toBe(false);
  expect(toClaimed(await claim(under.store)).flat()).toEqual(['n0', 'n1']);
});

it('a server that was killed and has everything leaves what is held with its relay', async () => {
  await append(under.store, someEvents(2));
  const [first, ...others] = await claim(under.store);
  await acknowledge([first!]);
  await server.kill();
  await server.start();
  await under.connection.untilUp(5000);
  await under.session.heartbeat();
  expect(under.leaseLosses).toEqual([]);
  expect(under.store.stillOwned(others.flat())).toBe(true);
});
