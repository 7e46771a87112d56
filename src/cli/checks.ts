import { constants } from 'node:fs';
import { access, stat, statfs } from 'node:fs/promises';
import { createServer } from 'node:net';
import { dirname, resolve } from 'node:path';
import { systemClock } from '../clock.js';
import type { Config } from '../config/config.js';
import { toErrorMessage } from '../error.js';
import { lanes, type Lane } from '../model/lane.js';
import { type RedisAddress, toSentinelAuth } from '../redis/address.js';
import { Directory } from '../store/journal/directory.js';

/** One line of `klaviyo-relay check`. BAD: `start` would fail, or lose or misplace data. */
export type Finding = {
  readonly level: 'ok' | 'WARN' | 'BAD';
  readonly what: string;
  readonly detail: string;
};

const at =
  (level: Finding['level']) =>
  (what: string, detail: string): Finding => ({
    level,
    what,
    detail,
  });

export const ok = at('ok');
export const warn = at('WARN');
export const bad = at('BAD');

type DirectorySettings = Pick<Config, 'DATA_DIR' | 'DISK_RESERVE_BYTES'>;

/**
 * Checks whether `start` can use the data directory and whether its disk has space. Does not create
 * the directory. `isRunning`: a relay listens on the configured port and may hold the directory.
 */
export async function checkDataDirectory(
  { DATA_DIR: path, DISK_RESERVE_BYTES: reserveBytes }: DirectorySettings,
  isRunning: boolean,
): Promise<readonly Finding[]> {
  const existing = await findExisting(resolve(path));
  const directory =
    existing === resolve(path) ? tryDirectory(path, isRunning) : await checkParent(path, existing);
  return [directory, await checkDiskSpace(existing, reserveBytes)];
}

function tryDirectory(path: string, isRunning: boolean): Finding {
  try {
    Directory.open(path, { create: true, now: systemClock.now() }).release();
    return ok('data directory', `${path} can be used`);
  } catch (error) {
    const message = toErrorMessage(error);
    const isHeld = isRunning && message.includes('is held by');
    return (isHeld ? warn : bad)('data directory', message);
  }
}

async function checkParent(path: string, parent: string): Promise<Finding> {
  try {
    await access(parent, constants.W_OK | constants.X_OK);
    if (!(await stat(parent)).isDirectory()) throw new Error(`${parent} is not a directory`);
    return ok('data directory', `${path} does not exist yet and can be created`);
  } catch (error) {
    return bad('data directory', `${path} cannot be created: ${toErrorMessage(error)}`);
  }
}

async function checkDiskSpace(path: string, reserveBytes: number): Promise<Finding> {
  try {
    const { bavail, bsize } = await statfs(path);
    const free = `${toMegabytes(bavail * bsize)} MB free`;
    return bavail * bsize >= reserveBytes
      ? ok('disk', free)
      : bad(
          'disk',
          `${free}: below DISK_RESERVE_BYTES (${toMegabytes(reserveBytes)} MB), the relay would respond with 503`,
        );
  } catch (error) {
    return warn('disk', `the free space cannot be read: ${toErrorMessage(error)}`);
  }
}

const toMegabytes = (bytes: number): number => Math.floor(bytes / 1_000_000);

/** Returns the path itself or its nearest existing parent. */
async function findExisting(path: string): Promise<string> {
  for (let at = path; ; at = dirname(at)) {
    if (
      await stat(at).then(
        () => true,
        () => at === dirname(at),
      )
    )
      return at;
  }
}

/** `isOurs`: the program that listens on the port is a relay. */
export async function checkPort({
  HOST: host,
  PORT: port,
}: Pick<Config, 'HOST' | 'PORT'>): Promise<{ finding: Finding; isOurs: boolean }> {
  const error = await tryToListen(host, port);
  if (error === null) return { finding: ok('port', `${host}:${port} is free`), isOurs: false };
  if (error.code === 'EADDRINUSE' && (await isRelay(host, port))) {
    return { finding: warn('port', `a relay listens on ${host}:${port} already`), isOurs: true };
  }
  return {
    finding: bad('port', `${host}:${port} cannot be used (${error.code ?? error.message})`),
    isOurs: false,
  };
}

function tryToListen(host: string, port: number): Promise<NodeJS.ErrnoException | null> {
  return new Promise((settle) => {
    const server = createServer();
    server.once('error', (error: NodeJS.ErrnoException) => settle(error));
    server.listen({ host, port, exclusive: true }, () => server.close(() => settle(null)));
  });
}

/** Probes as an orchestrator does: a relay responds on /readyz with its checks, ready or not. */
async function isRelay(host: string, port: number): Promise<boolean> {
  try {
    const body: unknown = JSON.parse((await getText(host, port, '/readyz')) ?? 'null');
    return typeof body === 'object' && body !== null && 'checks' in body;
  } catch {
    return false;
  }
}

/** The lanes for which the relay that listens has ever accepted something, by its metrics. */
export async function listLanesInUse({
  HOST: host,
  PORT: port,
}: Pick<Config, 'HOST' | 'PORT'>): Promise<readonly Lane[]> {
  const metrics = (await getText(host, port, '/metrics')) ?? '';
  const counts = metrics.matchAll(
    /^relay_(?:ingest_total|store_accepted)\{lane="(\w+)"(?:,outcome="accepted")?\} [1-9]/gm,
  );
  const used = new Set(Array.from(counts, ([, lane]) => lane));
  return lanes.filter((lane) => used.has(lane));
}

const probeTimeoutMs = 2000;

/** Returns null if nothing responds in time. */
async function getText(host: string, port: number, path: string): Promise<string | null> {
  const overdue = new AbortController();
  const timer = systemClock.setTimer(probeTimeoutMs, () => overdue.abort());
  const name = host === '0.0.0.0' || host === '::' ? 'localhost' : host;
  try {
    const url = `http://${name.includes(':') ? `[${name}]` : name}:${port}${path}`;
    const response = await fetch(url, { signal: overdue.signal });
    return await response.text();
  } catch {
    return null;
  } finally {
    timer.cancel();
  }
}

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
