import { systemClock } from '../clock.js';
import type { Config } from '../config/config.js';
import { toSentinelAuth, type RedisAddress } from '../redis/address.js';
import { bad, ok, warn, type Finding } from './finding.js';
import { toErrorMessage } from '../error.js';

type RedisSettings = Pick<
  Config,
  | 'STORE'
  | 'REDIS_URL'
  | 'RATE_LIMIT_REDIS_URL'
  | 'REDIS_TIMEOUT_MS'
  | 'REDIS_DURABLE'
  | 'REDIS_WAIT_REPLICAS'
  | 'REDIS_KEY_PREFIX'
  | 'REDIS_SENTINEL_USERNAME'
  | 'REDIS_SENTINEL_PASSWORD'
>;

/** Checks whether each configured Redis responds, and which of its settings could lose events. */
export async function checkRedis(config: RedisSettings): Promise<readonly Finding[]> {
  const findings: Finding[] = [];
  if (config.STORE === 'redis' && config.REDIS_URL !== undefined) {
    findings.push(...(await checkServer('REDIS_URL', config.REDIS_URL, config)));
  }
  if (config.RATE_LIMIT_REDIS_URL !== undefined) {
    findings.push(
      ...(await checkServer('RATE_LIMIT_REDIS_URL', config.RATE_LIMIT_REDIS_URL, config)),
    );
  }
  return findings;
}

async function checkServer(
  name: string,
  address: RedisAddress,
  config: RedisSettings,
): Promise<readonly Finding[]> {
  const { REDIS_TIMEOUT_MS: timeoutMs, REDIS_KEY_PREFIX: prefix } = config;
  const sentinelAuth = toSentinelAuth(config);
  // The client is loaded only if a Redis is configured.
  const { createRedisConnection } = await import('../redis/create-connection.js');
  const { readDurability } = await import('../redis/durability.js');
  const connection = createRedisConnection({
    address,
    sentinelAuth,
    timeoutMs,
    key: `{${prefix}}`,
    clock: systemClock,
  });
  try {
    if (!(await connection.untilUp(2 * timeoutMs)))
      return [bad(name, connection.failure()?.why ?? 'it does not respond')];
    const { server, findings } = await readDurability(connection, {
      stated: config.REDIS_DURABLE,
      waitReplicas: config.REDIS_WAIT_REPLICAS,
    });
    // The requirements for a store do not apply to the limiter, whose data lives for a minute.
    const isStore = name === 'REDIS_URL';
    return [ok(name, server), ...(isStore ? findings.map((text) => warn(name, text)) : [])];
  } catch (error) {
    return [bad(name, toErrorMessage(error))];
  } finally {
    await connection.close();
  }
}
