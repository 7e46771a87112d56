import { systemClock, type Timer } from '../../../src/clock.js';
import type { DeadLetter } from '../../../src/model/dead-letter.js';
import { parseRedisUrl } from '../../../src/redis/address.js';
import { createRedisConnection } from '../../../src/redis/create-connection.js';
import type { RedisConnection } from '../../../src/redis/connection.js';
import { ReplicatedWrites } from '../../../src/redis/replicated-writes.js';
import { toEpoch } from '../../../src/store/ids.js';
import { RedisStore } from '../../../src/store/redis/redis.js';
import { Session, type LeaseLoss } from '../../../src/store/redis/session.js';
import { startMs } from '../../support/builders.js';
import { createManualClock, type ManualClock } from '../../support/manual-clock.js';
import { wideBounds, type StoreBounds, type StoreUnderTest } from '../contract/harness.js';

export type RedisUnderTest = StoreUnderTest & {
  readonly store: RedisStore;
  readonly connection: RedisConnection;
  readonly prefix: string;
  readonly session: Session;
  readonly faults: readonly unknown[];
  /** How many envelopes were not settled, each time that the buffer was another one. */
  readonly lost: readonly number[];
  /** Why others may have what it held, each time that they may. */
  readonly leaseLosses: readonly LeaseLoss[];
  /** A relay each time that it found the buffer to be of another account. */
  readonly foreign: readonly string[];
  /** Why the server takes nothing, or null, as it was reported. */
  readonly reported: readonly (string | null)[];
  /** Ms of the lease that were left, each time that a heartbeat was late. */
  readonly late: readonly number[];
  /** Its process is gone: no timer fires, and nothing is given back. */
  die(): Promise<void>;
  crash(): Promise<void>;
};

export type RedisSettings = Partial<StoreBounds> & {
  readonly url: string;
  readonly prefix?: string;
  readonly clock?: ManualClock;
  readonly leaseMs?: number;
  readonly accountKey?: string;
  readonly timeoutMs?: number;
  /** Replicas that have what is accepted before it is acknowledged. */
  readonly waitReplicas?: number;
  readonly isDurable?: () => boolean;
  readonly requiresDurable?: boolean;
  /** By how much the server's clock is wrong, ms. */
  readonly skewMs?: () => number;
  /** Stands between the store and its connection. */
  readonly wrap?: (connection: RedisConnection) => RedisConnection;
};

function toWaitingLink({
  url,
  waitReplicas = 0,
  timeoutMs = 5000,
}: RedisSettings): RedisConnection | null {
  if (waitReplicas === 0) return null;
  return createRedisConnection({ address: parseRedisUrl(url), clock: systemClock, timeoutMs });
}

/** Tests of other things jump years ahead. */
const endlessMs = 1e12;

let count = 0;
let epochs = 0;

/** A store on a prefix of its own, on a manual clock that time at the server follows, too. */
export async function openTestRedis(settings: RedisSettings): Promise<RedisUnderTest> {
  const { clock = createManualClock(), prefix = `{test-${process.pid}-${count++}}` } = settings;
  const bounds = { ...wideBounds, ...settings };
  const dropped: DeadLetter[] = [];
  const faults: unknown[] = [];
  const lost: number[] = [];
  const leaseLosses: LeaseLoss[] = [];
  const foreign: string[] = [];
  const reported: (string | null)[] = [];
  const late: number[] = [];
  const open = async () => {
    const own = withTimers(clock);
    const bare = createRedisConnection({
      address: parseRedisUrl(settings.url),
      clock: systemClock,
      timeoutMs: settings.timeoutMs ?? 5000,
    });
    const connection = settings.wrap?.(bare) ?? bare;
    await connection.untilUp(5000);
    const waiting = toWaitingLink(settings);
    const replicated =
      waiting &&
      new ReplicatedWrites({
        connection: waiting,
        replicas: settings.waitReplicas ?? 0,
        waitMs: settings.timeoutMs ?? 5000,
      });
    await waiting?.untilUp(5000);
    const session: Session = new Session({
      connection,
      replicated,
      clock: own.clock,
      prefix,
      newName: () => `relay-${count++}`,
      leaseMs: settings.leaseMs ?? endlessMs,
      newEpoch: () => toEpoch(((epochs++ % 1000) + 0.5) / 1000),
      accountKey: settings.accountKey ?? 'account-1',
      onBufferLost: (envelopes) => void lost.push(envelopes),
      onVerified: () => undefined,
      onForeign: () => void foreign.push(session.relay),
      time: () => startMs + clock.monotonic() + (settings.skewMs?.() ?? 0),
      onTakenOver: () => undefined,
      onLate: (leftMs) => void late.push(leftMs),
      onLeaseLost: (why) => void leaseLosses.push(why),
      onChange: (isUp, why) => void reported.push(isUp ? null : why),
      onFatal: (error) => void faults.push(error),
    });
    const store = new RedisStore({
      ...bounds,
      clock: own.clock,
      session,
      isDurable: settings.isDurable ?? (() => true),
      requiresDurable: settings.requiresDurable ?? false,
      onDeadLetterDropped: (letter) => void dropped.push(letter),
      onSynced: () => undefined,
      closeConnections: async () => {
        await Promise.all([connection.close(), replicated?.close()]);
      },
    });
    await session.heartbeat();
    return { store, connection, session, own };
  };
  let current = await open();
  /** Looks that are under way have ended, and what fell due by now is due. */
  const settleDown = async (): Promise<void> => {
    for (let turn = 0; turn < 3; turn++) {
      if (!current.session.isClosed) await current.connection.call('PING');
      await clock.advance(0);
    }
  };
  const die = async (): Promise<void> => {
    current.own.end();
    await current.connection.close();
  };
  return {
    clock: {
      ...clock,
      advance: async (ms) => {
        await clock.advance(ms);
        await settleDown();
      },
    },
    dropped,
    faults,
    lost,
    leaseLosses,
    foreign,
    reported,
    late,
    prefix,
    get store() {
      return current.store;
    },
    get session() {
      return current.session;
    },
    get connection() {
      return current.connection;
    },
    die,
    async crash() {
      // Its lease is over: whoever comes next takes over at once.
      await current.connection.call('ZADD', `${prefix}:relays`, 0, current.session.relay);
      await die();
      current = await open();
    },
    close: () => current.store.close(),
  };
}

/** A clock whose timers end all at once. */
function withTimers(clock: ManualClock) {
  const timers = new Set<Timer>();
  return {
    clock: {
      now: () => clock.now(),
      monotonic: () => clock.monotonic(),
      setTimer(delayMs: number, fire: () => void): Timer {
        const timer = clock.setTimer(delayMs, () => {
          timers.delete(timer);
          fire();
        });
        timers.add(timer);
        return timer;
      },
    },
    end: () => {
      for (const timer of timers) timer.cancel();
    },
  };
}
