import { expect, it } from 'vitest';
import { startRedis } from '../support/redis-server.js';
import { startRelay } from '../support/relay.js';

const readLease = async (env: Record<string, string>): Promise<string | undefined> => {
  const relay = await startRelay({ env });
  try {
    const { body } = await relay.get('/metrics');
    return /^relay_store_lease_left_seconds (.+)$/m.exec(String(body.text))?.[1];
  } finally {
    await relay.stop();
  }
};

it('the metric of the remaining lease exists only with the redis store', async () => {
  const redis = await startRedis();
  try {
    expect(Number(await readLease({ STORE: 'redis', REDIS_URL: redis.url }))).toBeGreaterThan(14);
    expect(await readLease({ STORE: 'memory' })).toBeUndefined();
  } finally {
    await redis.close();
  }
});
