import { randomUUID } from 'node:crypto';
import { systemClock, type Clock } from '../clock.js';
import type { Config } from '../config/config.js';
import { createLocalLimiter, type LimiterOptions } from '../delivery/limiter/limiter.js';
import { selectLaneSettings } from '../config/lane-settings.js';
import { restoreRequests, restorePauses } from '../delivery/limiter/restore.js';
import { lanes } from '../model/lane.js';
import { mapEndpoints, type Endpoint, type Limiter, type RateWindow } from '../model/limiter.js';
import { toSentinelAuth } from '../redis/address.js';
import { findEviction } from '../redis/durability.js';
import { SettingError, type RedisConnection } from '../redis/connection.js';
import { SharedLimiter } from '../redis/shared-limiter.js';
import type { Store } from '../model/store.js';

export type OpenLimiterDeps = {
  readonly config: Config;
  readonly clock: Clock;
  readonly store: Pick<Store, 'deliveries' | 'unfinishedImportJobs'>;
  /** Called with the seconds that a permit was waited for. */
  readonly onWaited: (seconds: number) => void;
  /** Called when the Redis of the limiter becomes usable, and when it stops being usable, with the reason. */
  readonly onServer: (isUp: boolean, why: string) => void;
  /** Called with a text about a setting of that Redis that an operator has to change. */
  readonly onFinding: (finding: string) => void;
  /** Tests replace the clock of the Redis server with this one, in ms. */
  readonly serverTime?: (() => number) | undefined;
};

export type OpenedLimiter = {
  readonly limiter: Limiter;
  /** Set if relays share the limiter: the connection, for other counts that they share. */
  readonly shared: {
    readonly connection: RedisConnection;
    readonly prefix: string;
    /** Why the Redis cannot be used; null while it can. */
    outage(): string | null;
  } | null;
  close(): Promise<void>;
};

/** Redis commands that surround one request: the grant of the permit, the claim, and the end of the permit. */
const commandsPerRequest = 3;

/** Opens a limiter for this relay alone, or one in Redis that all relays of an account share. */
export async function openLimiter(deps: OpenLimiterDeps): Promise<OpenedLimiter> {
  const address = selectRedisAddress(deps.config);
  return address === undefined ? openOwn(deps) : openShared(deps, address);
}

function selectRedisAddress({
  STORE,
  REDIS_URL,
  RATE_LIMIT_REDIS_URL,
}: Config): Config['REDIS_URL'] {
  return RATE_LIMIT_REDIS_URL ?? (STORE === 'redis' ? REDIS_URL : undefined);
}

async function openOwn({
  config,
  clock,
  store,
  onWaited,
}: OpenLimiterDeps): Promise<OpenedLimiter> {
  const limiter = createLocalLimiter({ clock, onWaited, ...toLimits(config) });
  const windows = lanes.flatMap((lane) => selectRateWindows(config, lane));
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
  // Loaded on demand: the Redis client costs start time and memory that a single relay does not need.
  const { createRedisConnection: createRedisConnection } =
    await import('../redis/create-connection.js');
  const timeoutMs = config.REDIS_TIMEOUT_MS;
  const isApart = config.RATE_LIMIT_REDIS_URL !== undefined;
  const setting = isApart ? 'RATE_LIMIT_REDIS_URL' : 'REDIS_URL';
  // The system clock, whatever clock the relay runs on: timeouts of a server pass in real time.
  const prefix = `{${config.REDIS_KEY_PREFIX}}`;
  const connection = createRedisConnection({
    ...{ address, setting, key: prefix, clock: systemClock, timeoutMs },
    sentinelAuth: toSentinelAuth(config),
  });
  connection.onChange((isUp) => {
    if (isUp) onServer(true, '');
    // A store on the same server already reports this.
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
    permitMs: config.KLAVIYO_TIMEOUT_MS + commandsPerRequest * config.REDIS_TIMEOUT_MS,
    time: deps.serverTime,
    onOutage: (why) => onServer(why === null, why ?? ''),
    ...(share !== undefined && { local: createLocalLimiter({ clock, ...toShare(limits, share) }) }),
  });
  const close = async (): Promise<void> => {
    await limiter.close();
    await connection.close();
  };
  // With a store on the same server, the connection has been checked already.
  if (isApart) await connection.untilUp(timeoutMs);
  const failure = connection.failure();
  if (failure?.isCertain === true) {
    await close();
    throw new SettingError(setting, failure.why);
  }
  const outage = (): string | null => connection.failure()?.why ?? limiter.outage;
  return { limiter, shared: { connection, prefix, outage }, close };
}

/** Called at each connection, since the server can be another one, or can have other settings. */
async function reportEviction(
  connection: RedisConnection,
  onFinding: (finding: string) => void,
): Promise<void> {
  const finding = await findEviction(connection).catch(() => null);
  if (finding !== null) onFinding(finding);
}

type Bounds = Pick<LimiterOptions, 'bucket' | 'windows'>;

/** Klaviyo counts the polls of import jobs as it counts the imports. */
const selectRateWindows = (config: Config, endpoint: Endpoint): readonly RateWindow[] =>
  selectLaneSettings(config, endpoint === 'imports' ? 'profiles' : endpoint).rateWindows;

function toLimits(config: Config): Bounds {
  return {
    bucket: { perSecond: config.RATE_LIMIT_PER_SECOND, burst: config.RATE_LIMIT_BURST },
    windows: mapEndpoints((endpoint) => selectRateWindows(config, endpoint)),
  };
}

/** Returns a share of every limit. A window whose share is below one request gets a longer window instead. */
export function toShare({ bucket, windows }: Bounds, share: number): Bounds {
  const ofWindow = ({ limit, windowMs }: RateWindow): RateWindow => {
    const part = Math.floor(limit * share);
    return part >= 1
      ? { limit: part, windowMs }
      : { limit: 1, windowMs: Math.ceil(windowMs / (limit * share)) };
  };
  return {
    bucket: {
      perSecond: bucket.perSecond * share,
      burst: Math.max(1, Math.floor(bucket.burst * share)),
    },
    windows: mapEndpoints((endpoint) => (windows[endpoint] ?? []).map(ofWindow)),
  };
}
