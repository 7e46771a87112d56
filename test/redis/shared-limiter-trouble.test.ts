import { setMaxListeners } from 'node:events';
import fc from 'fast-check';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { systemClock, type Timer } from '../../src/clock.js';
import { createLocalLimiter } from '../../src/delivery/limiter/limiter.js';
import type { Permit } from '../../src/model/limiter.js';
import type { RateWindow } from '../../src/model/limiter.js';
import { parseRedisUrl } from '../../src/redis/address.js';
import { createRedisConnection } from '../../src/redis/create-connection.js';
import { UnavailableError, type RedisConnection } from '../../src/redis/connection.js';
import { SharedLimiter, type SharedLimiterOptions } from '../../src/redis/shared-limiter.js';
import { createManualClock, settlePromises, type ManualClock } from '../support/manual-clock.js';
import { startRedis, type RedisServer } from '../support/redis-server.js';

const windows: readonly RateWindow[] = [
  { limit: 3, windowMs: 1000 },
  { limit: 9, windowMs: 6000 },
];
const longestWindowMs = 6000;
const ofAll = (each: readonly RateWindow[]) => ({ events: each, profiles: each, imports: each });
const wide = { perSecond: 1000, burst: 1000 };
const startMs = Date.UTC(2026, 0, 15, 12);
const permitMs = 3000;
/** After a state was lost, all wait so long for what the others tell. */
const reportMs = 2000;

let server: RedisServer;
let real: RedisConnection;
let clock: ManualClock;
let key = '';
let keys = 0;
let limiters: SharedLimiter[] = [];

beforeAll(async () => {
  server = await startRedis();
  real = createRedisConnection({
    address: parseRedisUrl(server.url),
    clock: systemClock,
    timeoutMs: 5000,
  });
  await real.untilUp(5000);
});
beforeEach(begin);
afterEach(async () => {
  for (const limiter of limiters) await limiter.close();
});
afterAll(async () => {
  await real.close();
  await server.close();
});

function begin(): void {
  clock = createManualClock(startMs, settle);
  key = `{trouble-${keys++}}`;
  limiters = [];
}

/** Scripts under way. */
const running = new Set<Promise<unknown>>();

function run(...args: Parameters<RedisConnection['run']>): ReturnType<RedisConnection['run']> {
  const reply = real.run(...args);
  const ended: Promise<unknown> = reply.catch(() => undefined).finally(() => running.delete(ended));
  running.add(ended);
  return reply;
}

/** Time stands still until the server has answered, and until what followed from that has been answered, too. */
async function settle(): Promise<void> {
  await settlePromises(2);
  while (running.size > 0) {
    await Promise.all(running);
    await settlePromises(2);
  }
}

/**
 * A relay's own way to the server, cut and mended by the test. What is `mute` does its work and says
 * nothing; what is unable says so, as a replica does.
 */
function createWay() {
  const way = { isUp: true, isMute: false, isUnable: false };
  const listeners = new Set<(isUp: boolean) => void>();
  const refuse = () => Promise.reject(new UnavailableError('away'));
  let end: Timer | null = null;
  const set = (isUp: boolean) => {
    if (way.isUp === isUp) return;
    way.isUp = isUp;
    for (const listener of [...listeners]) listener(isUp);
  };
  return {
    set,
    /** What ends an earlier outage does not end this one. */
    cut(forMs: number) {
      end?.cancel();
      set(false);
      end = clock.setTimer(forMs, () => set(true));
    },
    mute: (isMute: boolean) => (way.isMute = isMute),
    unable: (isUnable: boolean) => (way.isUnable = isUnable),
    connection: {
      ...real,
      isUp: () => way.isUp,
      onChange: (listener: (isUp: boolean) => void) => {
        listeners.add(listener);
        return () => listeners.delete(listener);
      },
      run: async (...args: Parameters<RedisConnection['run']>) => {
        if (!way.isUp || way.isUnable) return refuse();
        const reply = await run(...args);
        return way.isMute ? refuse() : reply;
      },
    },
  };
}

function open(overrides: Partial<SharedLimiterOptions> = {}): SharedLimiter {
  const limiter = new SharedLimiter({
    connection: { ...real, run },
    clock,
    key,
    relay: `r${limiters.length}`,
    bucket: wide,
    windows: ofAll(windows),
    permitMs,
    time: () => startMs + clock.monotonic(),
    ...overrides,
  });
  limiters.push(limiter);
  return limiter;
}

async function pass(ms: number): Promise<void> {
  await clock.advance(ms);
  await settle();
}

async function tryTake(limiter: SharedLimiter): Promise<Permit | null> {
  const giveUp = new AbortController();
  const taking = limiter.acquire('events', giveUp.signal);
  await settle();
  giveUp.abort();
  return taking;
}

async function takeAll(limiter: SharedLimiter): Promise<readonly Permit[]> {
  const permits: Permit[] = [];
  for (let next = await tryTake(limiter); next !== null; next = await tryTake(limiter))
    permits.push(next);
  return permits;
}

/** Makes the state, and lets the wait for the others' reports and the longest window pass. */
async function warmUp(...relays: readonly SharedLimiter[]): Promise<void> {
  for (const relay of relays) await tryTake(relay);
  await pass(reportMs + longestWindowMs);
}

async function forget(): Promise<void> {
  const found = await real.call('KEYS', `${key}*`);
  const names = Array.isArray(found) ? found.map(String) : [];
  if (names.length > 0) await real.call('DEL', ...names);
}

/** A share that is the whole: whatever it lets through by itself shows. */
const openLocal = (limit: number) =>
  createLocalLimiter({
    clock,
    bucket: wide,
    windows: ofAll([{ limit, windowMs: longestWindowMs }]),
  });

describe('a relay with a share of its own', () => {
  it('that was idle waits as long as one that was not: others were granted until just now', async () => {
    const [mine, yours] = [createWay(), createWay()];
    const idle = open({ connection: mine.connection, local: openLocal(3) });
    const busy = open({ connection: yours.connection });
    await warmUp(idle, busy);
    await pass(60_000);
    expect((await takeAll(busy)).length).toBeGreaterThan(0);
    for (const way of [mine, yours]) way.set(false);
    expect(await tryTake(idle)).toBeNull();
    await pass(longestWindowMs - 1);
    expect(await tryTake(idle)).toBeNull();
  });

  it('waits for what may still be under way elsewhere, too', async () => {
    const way = createWay();
    const relay = open({ connection: way.connection, local: openLocal(3) });
    await warmUp(relay);
    const permit = await tryTake(relay);
    way.set(false);
    await pass(permitMs);
    permit?.end(null);
    await pass(longestWindowMs - 10);
    expect(await tryTake(relay)).toBeNull();
    await pass(20);
    expect(await tryTake(relay)).not.toBeNull();
  });

  it('tells what it sent alone as soon as the server is back, though it sends nothing more', async () => {
    const way = createWay();
    const relay = open({ connection: way.connection, local: openLocal(3) });
    const other = open();
    await warmUp(relay, other);
    way.set(false);
    await pass(longestWindowMs + permitMs);
    const alone = await takeAll(relay);
    expect(alone.length).toBeGreaterThan(0);
    for (const permit of alone) permit.end(null);
    way.set(true);
    await pass(600);
    const places = await real.call('ZCARD', `${key}:events:ended`);
    expect(places).toBe(alone.length);
    expect(await tryTake(other)).toBeNull();
  });

  it('that is back just before it would have gone on alone waits for those that are alone already', async () => {
    const [mine, yours] = [createWay(), createWay()];
    const early = open({ connection: mine.connection, local: openLocal(3) });
    const late = open({ connection: yours.connection, local: openLocal(3) });
    await warmUp(early, late);
    await pass(60_000);
    for (const way of [mine, yours]) way.set(false);
    await pass(permitMs + longestWindowMs - 1);
    mine.set(true);
    expect(await tryTake(early)).toBeNull();
    await pass(1);
    const alone = await takeAll(late);
    expect(alone.length).toBeGreaterThan(0);
    for (const permit of alone) permit.end(null);
    yours.set(true);
    await pass(reportMs + 100);
    expect(await real.call('ZCARD', `${key}:events:ended`)).toBe(alone.length);
    expect(await tryTake(early)).not.toBeNull();
  });

  it('that is back sooner, or was idle while the server was there, holds nobody up', async () => {
    const way = createWay();
    const relay = open({ connection: way.connection, local: openLocal(3) });
    await warmUp(relay);
    await pass(60_000);
    way.set(false);
    await pass(permitMs + longestWindowMs - reportMs - 1);
    way.set(true);
    expect(await tryTake(relay)).not.toBeNull();
  });
});

describe('a server that is there and cannot write', () => {
  it('counts as away, from the moment it says so', async () => {
    const way = createWay();
    const relay = open({ connection: way.connection, local: openLocal(3) });
    await warmUp(relay);
    await pass(60_000);
    way.unable(true);
    expect(await tryTake(relay)).toBeNull();
    await pass(permitMs + longestWindowMs - 10);
    expect(await tryTake(relay)).toBeNull();
    await pass(20);
    expect(await tryTake(relay)).not.toBeNull();
  });

  it('pauses all where it can again after so long that others may be alone', async () => {
    const way = createWay();
    const relay = open({ connection: way.connection, local: openLocal(3) });
    const other = open();
    await warmUp(relay, other);
    await pass(60_000);
    way.unable(true);
    expect(await tryTake(relay)).toBeNull();
    await pass(permitMs + longestWindowMs - 1);
    way.unable(false);
    expect(await tryTake(relay)).toBeNull();
    expect(await tryTake(other)).toBeNull();
  });

  it('is told what was sent alone as soon as it can, and decides again', async () => {
    const way = createWay();
    const relay = open({ connection: way.connection, local: openLocal(3) });
    await warmUp(relay);
    way.unable(true);
    expect(await tryTake(relay)).toBeNull();
    await pass(permitMs + longestWindowMs);
    (await tryTake(relay))?.end(null);
    way.unable(false);
    await pass(600);
    expect(await real.call('ZCARD', `${key}:events:ended`)).toBe(1);
    await pass(reportMs + longestWindowMs);
    expect((await takeAll(relay)).length).toBeGreaterThan(0);
    expect(await real.call('ZCARD', `${key}:events:flight`)).toBeGreaterThan(0);
  });

  it('lets a relay that waits for its share go on by what it permits', async () => {
    const way = createWay();
    const relay = open({ connection: way.connection, local: openLocal(0) });
    await warmUp(relay);
    way.unable(true);
    expect(await tryTake(relay)).toBeNull();
    await pass(permitMs + longestWindowMs);
    const taking = relay.acquire('events', new AbortController().signal);
    await pass(1000);
    way.unable(false);
    // Others may have been alone as long, and tell first what they sent.
    await pass(reportMs + 1000);
    expect(await taking).not.toBeNull();
  });
});

describe('a relay', () => {
  it('asks once at a time for an endpoint, however many wait, and grants in their order', async () => {
    const way = createWay();
    let asked = 0;
    const connection: RedisConnection = {
      ...way.connection,
      run(script, ...rest) {
        if (script.name === 'limiter-acquire') asked++;
        return way.connection.run(script, ...rest);
      },
    };
    const relay = open({ connection });
    await warmUp(relay);
    await takeAll(relay);
    asked = 0;
    const order: number[] = [];
    const signal = AbortSignal.any([]);
    const waiting = Array.from({ length: 6 }, async (_, index) => {
      const permit = await relay.acquire('events', signal);
      order.push(index);
      permit?.end(null);
    });
    await pass(500);
    expect(asked).toBeLessThan(4);
    await pass(20_000);
    await Promise.all(waiting);
    expect(order).toEqual([0, 1, 2, 3, 4, 5]);
  });

  it('that gives up while it waits for its turn lets nobody pass before theirs', async () => {
    const relay = open();
    await warmUp(relay);
    await takeAll(relay);
    const order: string[] = [];
    const taking = (name: string, signal: AbortSignal) =>
      relay.acquire('events', signal).then((permit) => {
        order.push(permit === null ? `${name} gave up` : name);
        permit?.cancel();
      });
    const giveUp = new AbortController();
    const stay = new AbortController().signal;
    const all = [taking('a', stay), taking('b', giveUp.signal), taking('c', stay)];
    await settle();
    giveUp.abort();
    await settle();
    expect(order).toEqual(['b gave up']);
    await pass(20_000);
    await Promise.all(all);
    expect(order).toEqual(['b gave up', 'a', 'c']);
  });

  it('is paused from the moment it says so, though what it said before is not through yet', async () => {
    const relay = open();
    await warmUp(relay);
    const permit = await tryTake(relay);
    await pass(1000);
    permit?.end(null);
    relay.pause('events', 5000);
    expect(await tryTake(relay)).toBeNull();
    await pass(4900);
    expect(await tryTake(relay)).toBeNull();
  });

  it('gives back what it was granted and never heard of', async () => {
    const way = createWay();
    const relay = open({ connection: way.connection });
    await warmUp(relay);
    way.mute(true);
    expect(await tryTake(relay)).toBeNull();
    way.mute(false);
    await pass(1000);
    expect(await real.call('ZCARD', `${key}:events:flight`)).toBe(0);
  });

  it('tells what it sent of late whenever the server comes back, which may be another that lags behind', async () => {
    const way = createWay();
    const relay = open({ connection: way.connection });
    await warmUp(relay);
    (await tryTake(relay))?.end(null);
    await pass(1000);
    const held = await tryTake(relay);
    expect(held).not.toBeNull();
    await settle();
    way.set(false);
    // A failover to a replica that had not heard of these two.
    await real.call('DEL', `${key}:events:ended`, `${key}:events:flight`);
    way.set(true);
    await pass(600);
    expect(await real.call('ZCARD', `${key}:events:ended`)).toBe(1);
    expect(await real.call('ZCARD', `${key}:events:flight`)).toBe(1);
  });
});

type Sent = { readonly from: number; to: number };

/** Each may have arrived at any moment between its start and its end: no window may hold more in the worst case. */
function findExcess(sent: readonly Sent[]): readonly string[] {
  return windows.flatMap(({ limit, windowMs }) =>
    sent.flatMap(({ to }) => {
      const count = sent.filter(
        (other) => other.from < to + windowMs - 0.01 && other.to >= to,
      ).length;
      return count > limit ? [`${count} within ${windowMs} ms from ${to}`] : [];
    }),
  );
}

type Trouble =
  | { readonly kind: 'pass'; readonly ms: number }
  | { readonly kind: 'take'; readonly relay: number; readonly latencyMs: number }
  | { readonly kind: 'lose' }
  | { readonly kind: 'die'; readonly relay: number }
  | { readonly kind: 'cut'; readonly relay: number; readonly forMs: number }
  | { readonly kind: 'outage'; readonly forMs: number; readonly staggerMs: number }
  | { readonly kind: 'mute'; readonly relay: number; readonly forMs: number }
  | { readonly kind: 'pause'; readonly relay: number; readonly forMs: number }
  | { readonly kind: 'restart' };

const relay = fc.nat(2);
const ordinary: readonly fc.WeightedArbitrary<Trouble>[] = [
  {
    weight: 14,
    arbitrary: fc.record({
      kind: fc.constant('take' as const),
      relay,
      // Some are cancelled (0), some never end (above what a request can take).
      latencyMs: fc.oneof(
        { weight: 1, arbitrary: fc.constant(0) },
        { weight: 6, arbitrary: fc.integer({ min: 1, max: permitMs - 500 }) },
        { weight: 1, arbitrary: fc.constant(Infinity) },
      ),
    }),
  },
  {
    weight: 8,
    arbitrary: fc.record({
      kind: fc.constant('pass' as const),
      ms: fc.oneof(fc.integer({ min: 1, max: 400 }), fc.integer({ min: 400, max: 4000 })),
    }),
  },
  {
    weight: 1,
    arbitrary: fc.record({
      kind: fc.constant('pause' as const),
      relay,
      forMs: fc.integer({ min: 10, max: 2000 }),
    }),
  },
  {
    weight: 1,
    arbitrary: fc.record({
      kind: fc.constant('mute' as const),
      relay,
      forMs: fc.integer({ min: 10, max: 2000 }),
    }),
  },
];
const steps = (...special: readonly fc.WeightedArbitrary<Trouble>[]) =>
  fc.array(fc.oneof(...ordinary, ...special), { minLength: 60, maxLength: 120, size: 'max' });

type Fleet = {
  readonly relays: SharedLimiter[];
  readonly ways: readonly ReturnType<typeof createWay>[];
  readonly sent: Sent[];
  readonly stop: AbortController;
};

function send({ relays, sent, stop }: Fleet, index: number, latencyMs: number): void {
  void relays[index]?.acquire('events', stop.signal).then((permit) => {
    if (permit === null) return;
    if (latencyMs === 0) {
      permit.cancel();
      return;
    }
    const from = clock.monotonic();
    // One that is never ended was under way as long as one can be.
    const one = { from, to: from + Math.min(latencyMs, permitMs) };
    sent.push(one);
    if (latencyMs < Infinity) clock.setTimer(latencyMs, () => permit.end(null));
  });
}

async function suffer(fleet: Fleet, one: Trouble, local: boolean): Promise<void> {
  const { relays, ways } = fleet;
  if (one.kind === 'pass') await pass(one.ms);
  else if (one.kind === 'take') send(fleet, one.relay, one.latencyMs);
  else if (one.kind === 'pause') relays[one.relay]?.pause('events', one.forMs);
  else if (one.kind === 'lose') await forget();
  else if (one.kind === 'die') {
    await relays[one.relay]?.close();
    relays[one.relay] = open({ connection: ways[one.relay]!.connection, ...(local && toLocal()) });
  } else if (one.kind === 'mute') {
    ways[one.relay]?.mute(true);
    clock.setTimer(one.forMs, () => ways[one.relay]?.mute(false));
  } else if (one.kind === 'cut') {
    ways[one.relay]?.cut(one.forMs);
  } else if (one.kind === 'outage') {
    // It is the server that is away: whoever had not found it again loses it together with the others.
    for (const way of ways) way.set(true);
    ways.forEach((way, index) => way.cut(one.forMs + index * one.staggerMs));
  } else {
    await server.kill();
    await server.start();
    await real.untilUp(5000);
  }
}

/** A third of each window. */
const toLocal = () => ({
  local: createLocalLimiter({
    clock,
    bucket: wide,
    windows: ofAll(windows.map(({ limit, windowMs }) => ({ limit: limit / 3, windowMs }))),
  }),
});

async function judge(troubles: readonly Trouble[], local = false): Promise<void> {
  begin();
  const ways = [createWay(), createWay(), createWay()];
  const relays = ways.map(({ connection }) => open({ connection, ...(local && toLocal()) }));
  const fleet = { relays, ways, sent: [], stop: new AbortController() };
  setMaxListeners(0, fleet.stop.signal);
  for (const one of troubles) await suffer(fleet, one, local);
  await pass(2 * longestWindowMs);
  fleet.stop.abort();
  await pass(permitMs);
  for (const way of ways) way.set(true);
  for (const limiter of limiters) await limiter.close();
  expect(findExcess(fleet.sent)).toEqual([]);
}

const sometimes = <T extends Trouble>(arbitrary: fc.Arbitrary<T>) => ({ weight: 1, arbitrary });

describe('three relays never exceed a window, whatever the latencies and the order', () => {
  // Shrinking a run of a hundred steps takes longer than a test may.
  const runs = { numRuns: 5, endOnFailure: true };

  it('while relays die and others lose their way to the server', async () => {
    const die = sometimes(fc.record({ kind: fc.constant('die' as const), relay }));
    const cut = sometimes(
      fc.record({
        kind: fc.constant('cut' as const),
        relay,
        forMs: fc.integer({ min: 1, max: 9000 }),
      }),
    );
    await fc.assert(
      fc.asyncProperty(steps(die, cut), (all) => judge(all)),
      runs,
    );
  }, 120_000);

  it('while the state is lost', async () => {
    const lose = sometimes(fc.constant({ kind: 'lose' as const }));
    await fc.assert(
      fc.asyncProperty(steps(lose), (all) => judge(all)),
      runs,
    );
  }, 120_000);

  it('while the server is away, long enough for each to live on its share', async () => {
    const outage = sometimes(
      fc.record({
        kind: fc.constant('outage' as const),
        forMs: fc.integer({ min: 1, max: 25_000 }),
        staggerMs: fc.integer({ min: 0, max: 600 }),
      }),
    );
    await fc.assert(
      fc.asyncProperty(steps(outage), (all) => judge(all, true)),
      runs,
    );
  }, 120_000);

  it('while the server is killed and comes back', async () => {
    const restart = sometimes(fc.constant({ kind: 'restart' as const }));
    await fc.assert(
      fc.asyncProperty(steps(restart), (all) => judge(all)),
      { ...runs, numRuns: 2 },
    );
  }, 120_000);
});
