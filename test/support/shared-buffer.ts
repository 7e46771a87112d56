import { systemClock } from '../../src/clock.js';
import { lanes, mapLanes, type Lane } from '../../src/model/lane.js';
import { parseRedisUrl } from '../../src/redis/address.js';
import { createRedisConnection } from '../../src/redis/create-connection.js';
import { readInfo } from '../../src/redis/durability.js';
import { UnavailableError, type RedisConnection } from '../../src/redis/connection.js';
import type { LaneCounts } from './relay.js';

/** Reads the buffer of `STORE=redis` directly from the server, without a relay. */
export type SharedBuffer = {
  counts(): Promise<Readonly<Record<Lane, LaneCounts>>>;
  /** Resolves once nothing is buffered, or with a description of the rest if it does not shrink for `ms`. */
  untilEmpty(ms: number): Promise<readonly string[]>;
  /**
   * Resolves once a relay has had the server's file rewritten after the server's start. A second crash before
   * that may lose what was acknowledged (ADR 24).
   */
  untilFileRewritten(): Promise<void>;
  /** Describes data that an empty buffer must not contain. */
  leftovers(): Promise<readonly string[]>;
  close(): Promise<void>;
};

const timeoutMs = 10_000;

const noCounts: LaneCounts = {
  accepted: 0,
  delivered: 0,
  merged: 0,
  deadLettered: 0,
  erased: 0,
  buffered: 0,
};

export function openSharedBuffer(url: string, prefix: string): SharedBuffer {
  const key = `{${prefix}}`;
  const single = createRedisConnection({
    address: parseRedisUrl(url),
    key,
    clock: systemClock,
    timeoutMs,
  });
  const connection: Pick<RedisConnection, 'call'> = {
    call: (...args) => callWithRetries(single, args),
  };
  const name = (lane: Lane, part: string): string => `{${prefix}}:${lane}:${part}`;

  const readCountsOf = async (lane: Lane): Promise<LaneCounts> => {
    const fields = ['accepted', 'delivered', 'merged', 'buried', 'erased', 'count'];
    const reply = await connection.call('HMGET', name(lane, 'stats'), ...fields);
    const [accepted, delivered, merged, deadLettered, erased, buffered] = toNumbers(reply);
    return {
      accepted: accepted ?? 0,
      delivered: delivered ?? 0,
      merged: merged ?? 0,
      deadLettered: deadLettered ?? 0,
      erased: erased ?? 0,
      buffered: buffered ?? 0,
    };
  };
  const readCounts = async (): Promise<Readonly<Record<Lane, LaneCounts>>> => {
    const counts = await Promise.all(lanes.map(readCountsOf));
    const byLane = new Map(lanes.map((lane, index) => [lane, counts[index] ?? noCounts]));
    return mapLanes((lane) => byLane.get(lane) ?? noCounts);
  };
  const leftovers = async (): Promise<readonly string[]> => {
    const found: string[] = [];
    for (const lane of lanes) {
      for (const [part, size] of parts) {
        const count = Number(await connection.call(size, name(lane, part)));
        if (count !== 0) found.push(`${count} left in ${name(lane, part)}`);
      }
      const [ready, readyBytes, bytes] = toNumbers(
        await connection.call('HMGET', name(lane, 'stats'), 'ready', 'readyBytes', 'bytes'),
      );
      if (ready !== 0 || readyBytes !== 0 || bytes !== 0)
        found.push(`${lane}: ready ${ready}, of ${readyBytes} bytes, and ${bytes} bytes in all`);
    }
    return found;
  };

  const describeRemainder = async (now: unknown): Promise<readonly string[]> => [
    `still buffered: ${JSON.stringify(now)}`,
    ...(await leftovers()),
    ...(await describeHolders(connection, name)),
    `relays: ${toTexts(await connection.call('ZRANGE', `{${prefix}}:relays`, 0, -1, 'WITHSCORES')).join(' ')}`,
    `time: ${toTexts(await connection.call('TIME')).join(' ')}`,
  ];

  return {
    counts: readCounts,
    leftovers,
    async untilFileRewritten() {
      for (;;) {
        const info = await readInfo(connection, 'server');
        const rewritten = await connection.call('HGET', `{${prefix}}:meta`, 'rewrittenRun');
        if (String(rewritten) === info.get('run_id')) return;
        await waitBriefly(connection, key);
      }
    },
    async untilEmpty(ms) {
      let least = Infinity;
      let since = systemClock.monotonic();
      for (;;) {
        await single.untilUp(timeoutMs);
        const now = await readCounts();
        const left = lanes.reduce((sum, lane) => sum + now[lane].buffered, 0);
        if (left === 0) return [];
        if (left < least) {
          least = left;
          since = systemClock.monotonic();
        }
        if (systemClock.monotonic() - since > ms) return describeRemainder(now);
        await waitBriefly(connection, key);
      }
    },
    close: () => single.close(),
  };
}

/** Redis keys that contain envelopes or identity keys, and the command that counts them. */
const parts = [
  ['queue', 'XLEN'],
  ['redriven', 'HLEN'],
  ['redriven-at', 'ZCARD'],
  ['returned', 'ZCARD'],
  ['delayed', 'ZCARD'],
  ['claimed', 'HLEN'],
  ['tries', 'HLEN'],
  ['taken', 'HLEN'],
  ['reserved', 'HLEN'],
  ['waiters', 'ZCARD'],
  ['imports', 'HLEN'],
  ['orphans', 'SCARD'],
] as const;

/** Describes which relay holds which envelopes. */
async function describeHolders(
  connection: Pick<RedisConnection, 'call'>,
  name: (lane: Lane, part: string) => string,
): Promise<string[]> {
  const reported: string[] = [];
  for (const lane of lanes) {
    for (const part of ['claimed', 'taken', 'imports', 'tries']) {
      const reply = await connection.call('HGETALL', name(lane, part));
      reported.push(`${lane} ${part}: ${toTexts(reply).join(' ').slice(0, 600)}`);
    }
  }
  return reported;
}

/** Waits 0.1 s by a BLPOP on a key that no one writes. */
async function waitBriefly(connection: Pick<RedisConnection, 'call'>, key: string): Promise<void> {
  await connection.call('BLPOP', `${key}:nothing`, 0.1);
}

const maxTries = 20;

/** Repeats the call when the primary has changed, which the first reply shows. */
async function callWithRetries(
  connection: RedisConnection,
  args: Parameters<RedisConnection['call']>,
): ReturnType<RedisConnection['call']> {
  for (let tries = 1; ; tries++) {
    await connection.untilUp(timeoutMs);
    try {
      return await connection.call(...args);
    } catch (error) {
      if (!(error instanceof UnavailableError) || tries === maxTries) throw error;
    }
  }
}

const toTexts = (reply: unknown): string[] =>
  Array.isArray(reply) ? reply.map((each) => String(each)) : [];

const toNumbers = (reply: unknown): number[] =>
  Array.isArray(reply) ? reply.map((each) => Number(each ?? 0)) : [];
