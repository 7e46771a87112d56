import { randomUUID } from 'node:crypto';
import { systemClock, type Clock } from '../clock.js';
import type { Config } from '../config/config.js';
import { createLocalLimiter, type LimiterOptions } from '../delivery/limiter/limiter.js';
import type { Limiter } from '../model/limiter.js';
import { restoreRequests, restorePauses } from '../delivery/limiter/restore.js';
import type { RateWindow } from '../model/limiter.js';
import { toSentinelAuth } from '../redis/address.js';
import { findEviction } from '../redis/durability.js';
import { SettingError, type RedisConnection } from '../redis/connection.js';
import { SharedLimiter } from '../redis/shared-limiter.js';
import type { Store } from '../model/store.js';

export type OpenLimiterDeps = {
  readonly config: Config;
  readonly clock: Clock;
  readonly store: Pick<Store, 'deliveries' | 'unfinishedImportJobs'>;
  /** Seconds a permit was waited for. */
  readonly onWaited: (seconds: number) => void;
  /** The limiter's Redis came, or cannot be used any more, and why. */
  readonly onServer: (isUp: boolean, why: string) => void;
  /** A setting of that Redis needs the operator. */
  readonly onFinding: (finding: string) => void;
  /** Ms that stand in for the clock of Redis, in tests. */
  readonly serverTime?: (() => number) | undefined;
};

export type OpenedLimiter = {
  readonly limiter: Limiter;
  /** Where relays share it: what else they have to count together. */
  readonly shared: {
    readonly connection: RedisConnection;
    readonly prefix: string;
    /** Why its Redis cannot be used; null while it can. */
    outage(): string | null;
  } | null;
  close(): Promise<void>;
};

/** Commands around a request: the answer to its grant, its claim, and the word that it ended. */
const commandsAround = 3;

/** One limiter for this relay, or one for all that share an account, where they have a Redis in common. */
export async function openLimiter(deps: OpenLimiterDeps): Promise<OpenedLimiter> {
  const address = toAddress(deps.config);
  return address === undefined ? openOwn(deps) : openShared(deps, address);
}

function toAddress({ STORE, REDIS_URL, RATE_LIMIT_REDIS_URL }: Config): Config['REDIS_URL'] {
  return RATE_LIMIT_REDIS_URL ?? (STORE === 'redis' ? REDIS_URL : undefined);
}

async function openOwn({
  config,
  clock,
  store,
  onWaited,
}: OpenLimiterDeps): Promise<OpenedLimiter> {
  const limiter = createLocalLimiter({ clock, onWaited, ...toLimits(config) });
  const windows = [...config.EVENT_RATE_WINDOWS, ...config.PROFILE_RATE_WINDOWS];
  await restoreRequests({
    limiter,
    log: store,
    now: clock.now(),
    longestWindowMs: Math.max(0, ...windows.map(({ windowMs }) => windowMs)),
    mostPerWindow: Math.max(1, ...windows.map(({ limit }) => limit)),
    timeoutMs: config.KLAVIYO_TIMEOUT_MS,
    unknown: config.DELIVERY_CONCURRENCY,
  });
  const concurrency = config.DELIVERY_CONCURRENCY;
  await restorePauses({ limiter, store, clock, concurrency });
  return { limiter, shared: null, close: () => Promise.resolve() };
}

async function openShared(
  deps: OpenLimiterDeps,
  address: NonNullable<Config['REDIS_URL']>,
): Promise<OpenedLimiter> {
  const { config, clock, onWaited, onServer, onFinding } = deps;
  // Its client takes time and memory that a relay by itself need not spend.
  const { createRedisConnection: createLink } = await import('../redis/create-connection.js');
  const timeoutMs = config.REDIS_TIMEOUT_MS;
  const isApart = config.RATE_LIMIT_REDIS_URL !== undefined;
  const setting = isApart ? 'RATE_LIMIT_REDIS_URL' : 'REDIS_URL';
  // A server hangs in real time, whatever clock the relay runs on.
  const prefix = `{${config.REDIS_KEY_PREFIX}}`;
  const connection = createLink({
    ...{ address, setting, key: prefix, clock: systemClock, timeoutMs },
    sentinelAuth: toSentinelAuth(config),
  });
  connection.onChange((isUp) => {
    if (isUp) onServer(true, '');
    // A store on the same server reports this and more.
    if (isUp && isApart) void reportEviction(connection, onFinding);
  });
  connection.onFailure(({ why }) => onServer(false, why));
  const share = config.RATE_LIMIT_STATIC_SHARE;
  const limits = toLimits(config);
  const limiter = new SharedLimiter({
    ...limits,
    connection,
    clock,
    onWaited,
    key: `${prefix}:limiter`,
    relay: randomUUID(),
    permitMs: config.KLAVIYO_TIMEOUT_MS + commandsAround * config.REDIS_TIMEOUT_MS,
    time: deps.serverTime,
    onTrouble: (why) => onServer(why === null, why ?? ''),
    ...(share !== undefined && { local: createLocalLimiter({ clock, ...toShare(limits, share) }) }),
  });
  const close = async (): Promise<void> => {
    await limiter.close();
    await connection.close();
  };
  // With a store on the same server this is known by now.
  if (isApart) await connection.untilUp(timeoutMs);
  const failure = connection.failure();
  if (failure?.isCertain === true) {
    await close();
    throw new SettingError(setting, failure.why);
  }
  const outage = (): string | null => connection.failure()?.why ?? limiter.trouble;
  return { limiter, shared: { connection, prefix, outage }, close };
}

/** At each connection: what comes back may be another server, or one that was set otherwise. */
async function reportEviction(
  connection: RedisConnection,
  onFinding: (finding: string) => void,
): Promise<void> {
  const finding = await findEviction(connection).catch(() => null);
  if (finding !== null) onFinding(finding);
}

type Bounds = Pick<LimiterOptions, 'bucket' | 'windows'>;

function toLimits(config: Config): Bounds {
  return {
    bucket: { perSecond: config.RATE_LIMIT_PER_SECOND, burst: config.RATE_LIMIT_BURST },
    windows: {
      events: config.EVENT_RATE_WINDOWS,
      profiles: config.PROFILE_RATE_WINDOWS,
      imports: config.PROFILE_RATE_WINDOWS,
    },
  };
}

/** A part of every limit, never more: where a window has less than one request for it, the window is longer. */
export function toShare({ bucket, windows }: Bounds, share: number): Bounds {
  const ofWindow = ({ limit, windowMs }: RateWindow): RateWindow => {
    const part = Math.floor(limit * share);
    return part >= 1
      ? { limit: part, windowMs }
      : { limit: 1, windowMs: Math.ceil(windowMs / (limit * share)) };
  };
  const of = (all: readonly RateWindow[]): readonly RateWindow[] => all.map(ofWindow);
  return {
    bucket: {
      perSecond: bucket.perSecond * share,
      burst: Math.max(1, Math.floor(bucket.burst * share)),
    },
    windows: {
      events: of(windows.events),
      profiles: of(windows.profiles),
      imports: of(windows.imports),
    },
  };
}
