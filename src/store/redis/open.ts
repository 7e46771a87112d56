import { systemClock } from '../../clock.js';
import type { RedisAddress } from '../../redis/address.js';
import { readDurability, type Durability } from '../../redis/durability.js';
import { createLink } from '../../redis/create-link.js';
import { UnavailableError } from '../../redis/link.js';
import { toEpoch } from '../ids.js';
import type { StoreOptions } from '../options.js';
import { RedisStore, type RedisOptions } from './redis.js';
import { Session, type SessionOptions } from './session.js';

export type OpenRedisOptions = StoreOptions &
  Pick<RedisOptions, 'requiresDurable' | 'onSynced'> &
  Pick<SessionOptions, 'leaseMs' | 'time' | 'onTakenOver' | 'onLeaseLost' | 'onFault'> & {
    readonly address: RedisAddress;
    /** Without the hash tag's braces. */
    readonly keyPrefix: string;
    readonly timeoutMs: number;
    readonly stated: 'auto' | 'yes' | 'no';
    /** The server takes what is written, or does not any more, and why. */
    readonly onServer: SessionOptions['onChange'];
    /** Read at each connection. */
    readonly onDurability: (durability: Durability) => void;
  };

/** Resolves also where the server is away: intake is refused until it is back. */
export async function openRedis(options: OpenRedisOptions): Promise<RedisStore> {
  const { address, timeoutMs, random, keyPrefix, onServer, stated, onDurability } = options;
  // A server hangs in real time, whatever clock the relay runs on.
  const link = createLink({ address, clock: systemClock, timeoutMs });
  const relay = toEpoch(random()) + toEpoch(random());
  let isDurable = false;

  const ask = async (): Promise<void> => {
    try {
      const durability = await readDurability(link, stated);
      ({ isDurable } = durability);
      onDurability(durability);
    } catch (error) {
      // It went away again, and is asked when it is back.
      if (!(error instanceof UnavailableError)) throw error;
    }
  };
  link.onChange((isUp) => {
    if (isUp) ask().catch(options.onFault);
    // Another server may answer next time.
    else isDurable = false;
  });
  const session = new Session({
    ...options,
    link,
    relay,
    prefix: `{${keyPrefix}}`,
    newEpoch: () => toEpoch(random()),
    onChange: onServer,
  });
  const store = new RedisStore({
    ...options,
    session,
    relay,
    isDurable: () => isDurable,
    closeLink: () => link.close(),
  });
  if (await link.untilUp(timeoutMs)) await session.look();
  else onServer(false, 'it is not connected');
  return store;
}
