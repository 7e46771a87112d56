import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { startRedis, type RedisServer } from '../support/redis-server.js';
import { describeStore } from './contract.js';
import { useStores } from './contract/harness.js';
import { openTestRedis } from './redis/under-test.js';

let server: RedisServer;
beforeAll(async () => {
  // The contract is about what is kept, and syncs would only slow it down.
  server = await startRedis({ settings: { appendfsync: 'no' } });
});
afterAll(() => server.close());

describeStore('redis', (bounds) => openTestRedis({ ...bounds, url: server.url }), {
  modelRuns: 30,
});

describe('the redis store alone', () => {
  const open = useStores((bounds) => openTestRedis({ ...bounds, url: server.url }));

  it('says that it survives the process, at a server', async () => {
    const { store } = await open();
    expect(store).toMatchObject({ durability: 'server', durable: true });
    expect(await store.unfinishedImportJobs()).toEqual([]);
  });
});
