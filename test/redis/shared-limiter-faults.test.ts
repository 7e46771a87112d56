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
/** How long every relay waits for the reports of the others after the state was lost. */
const reportMs = 2000;

let server: RedisServer;
let real: RedisConnection;
let clock: ManualClock;
let key = '';
let keyCount = 0;
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
beforeEach(reset);
afterEach(async () => {
  for (const limiter of limiters) await limiter.close();
});
afterAll(async () => {
  await real.close();
  await server.close();
});

function reset(): void {
  clock = createManualClock(startMs, settle);
  key = `{faults-${keyCount++}}`;
  limiters = [];
}

/** Replies of scripts that are still outstanding. */
const running = new Set<Promise<unknown>>();

function run(...args: Parameters<RedisConnection['run']>): ReturnType<RedisConnection['run']> {
  const reply = real.run(...args);
  const ended: Promise<unknown> = reply.catch(() => undefined).finally(() => running.delete(ended));
  running.add(ended);
  return reply;
}

/** Waits until the server has answered all scripts, also those that follow from answers. The clock stands still. */
async function settle(): Promise<void> {
  await settlePromises(2);
  while (running.size > 0) {
    await Promise.all(running);
    await settlePromises(2);
  }
}

/**
 * Returns a connection of one relay with faults that the test switches: a `mute` server runs scripts
 * without a reply; an unable one rejects them, as a replica does.
 */
function createFaultyConnection() {
  const faulty = { isUp: true, isMute: false, isUnable: false };
  const listeners = new Set<(isUp: boolean) => void>();
  const rejectCommand = () => Promise.reject(new UnavailableError('down'));
  let end: Timer | null = null;
  const set = (isUp: boolean) => {
    if (faulty.isUp === isUp) return;
    faulty.isUp = isUp;
    for (const listener of [...listeners]) listener(isUp);
  };
  return {
    set,
    /** The end of an earlier outage does not end this one. */
    disconnect(forMs: number) {
      end?.cancel();
      set(false);
      end = clock.setTimer(forMs, () => set(true));
    },
    setMute: (isMute: boolean) => (faulty.isMute = isMute),
    setUnable: (isUnable: boolean) => (faulty.isUnable = isUnable),
    connection: {
      ...real,
      isUp: () => faulty.isUp,
      onChange: (listener: (isUp: boolean) => void) => {
        listeners.add(listener);
        return () => listeners.delete(listener);
      },
      run: async (...args: Parameters<RedisConnection['run']>) => {
        if (!faulty.isUp || faulty.isUnable) return rejectCommand();
        const reply = await run(...args);
        return faulty.isMute ? rejectCommand() : reply;
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

async function tryAcquire(limiter: SharedLimiter): Promise<Permit | null> {
  const giveUp = new AbortController();
  const acquiring = limiter.acquire('events', giveUp.signal);
  await settle();
  giveUp.abort();
  return acquiring;
}

async function acquireAll(limiter: SharedLimiter): Promise<readonly Permit[]> {
  const permits: Permit[] = [];
  for (let next = await tryAcquire(limiter); next !== null; next = await tryAcquire(limiter))
    permits.push(next);
  return permits;
}

/** Creates the state in Redis, and lets the wait for reports and the longest window pass. */
async function warmUp(...relays: readonly SharedLimiter[]): Promise<void> {
  for (const relay of relays) await tryAcquire(relay);
  await pass(reportMs + longestWindowMs);
}

async function deleteState(): Promise<void> {
  const found = await real.call('KEYS', `${key}*`);
  const names = Array.isArray(found) ? found.map(String) : [];
  if (names.length > 0) await real.call('DEL', ...names);
}

/** A local limiter with `limit` requests per window, as large as the whole so that its grants are visible. */
const openLocal = (limit: number) =>
  createLocalLimiter({
    clock,
    bucket: wide,
    windows: ofAll([{ limit, windowMs: longestWindowMs }]),
  });

describe('a relay with a static share for outages of Redis', () => {
  it('waits as long as a busy one if it was idle, because others sent until the outage', async () => {
    const [first, second] = [createFaultyConnection(), createFaultyConnection()];
    const idle = open({ connection: first.connection, local: openLocal(3) });
    const busy = open({ connection: second.connection });
    await warmUp(idle, busy);
    await pass(60_000);
    expect((await acquireAll(busy)).length).toBeGreaterThan(0);
    for (const faulty of [first, second]) faulty.set(false);
    expect(await tryAcquire(idle)).toBeNull();
    await pass(longestWindowMs - 1);
    expect(await tryAcquire(idle)).toBeNull();
  });

  it('also waits for requests of other relays that may still be in flight', async () => {
    const faulty = createFaultyConnection();
    const relay = open({ connection: faulty.connection, local: openLocal(3) });
    await warmUp(relay);
    const permit = await tryAcquire(relay);
    faulty.set(false);
    await pass(permitMs);
    permit?.end(null);
    await pass(longestWindowMs - 10);
    expect(await tryAcquire(relay)).toBeNull();
    await pass(20);
    expect(await tryAcquire(relay)).not.toBeNull();
  });

  it('reports what it sent in the outage once the server is back, even if it sends nothing more', async () => {
    const faulty = createFaultyConnection();
    const relay = open({ connection: faulty.connection, local: openLocal(3) });
    const other = open();
    await warmUp(relay, other);
    faulty.set(false);
    await pass(longestWindowMs + permitMs);
    const sentLocally = await acquireAll(relay);
    expect(sentLocally.length).toBeGreaterThan(0);
    for (const permit of sentLocally) permit.end(null);
    faulty.set(true);
    await pass(600);
    const places = await real.call('ZCARD', `${key}:events:ended`);
    expect(places).toBe(sentLocally.length);
    expect(await tryAcquire(other)).toBeNull();
  });

  it('waits for reports of the others if it reconnects just before its share applies', async () => {
    const [first, second] = [createFaultyConnection(), createFaultyConnection()];
    const early = open({ connection: first.connection, local: openLocal(3) });
    const late = open({ connection: second.connection, local: openLocal(3) });
    await warmUp(early, late);
    await pass(60_000);
    for (const faulty of [first, second]) faulty.set(false);
    await pass(permitMs + longestWindowMs - 1);
    first.set(true);
    expect(await tryAcquire(early)).toBeNull();
    await pass(1);
    const sentLocally = await acquireAll(late);
    expect(sentLocally.length).toBeGreaterThan(0);
    for (const permit of sentLocally) permit.end(null);
    second.set(true);
    await pass(reportMs + 100);
    expect(await real.call('ZCARD', `${key}:events:ended`)).toBe(sentLocally.length);
    expect(await tryAcquire(early)).not.toBeNull();
  });

  it('does not delay sending after an outage that ends before any share applies', async () => {
    const faulty = createFaultyConnection();
    const relay = open({ connection: faulty.connection, local: openLocal(3) });
    await warmUp(relay);
    await pass(60_000);
    faulty.set(false);
    await pass(permitMs + longestWindowMs - reportMs - 1);
    faulty.set(true);
    expect(await tryAcquire(relay)).not.toBeNull();
  });
});

describe('a Redis server that rejects writes', () => {
  it('counts as down from its first rejection', async () => {
    const faulty = createFaultyConnection();
    const relay = open({ connection: faulty.connection, local: openLocal(3) });
    await warmUp(relay);
    await pass(60_000);
    faulty.setUnable(true);
    expect(await tryAcquire(relay)).toBeNull();
    await pass(permitMs + longestWindowMs - 10);
    expect(await tryAcquire(relay)).toBeNull();
    await pass(20);
    expect(await tryAcquire(relay)).not.toBeNull();
  });

  it('makes all relays wait once it accepts writes again, if others may use their share by then', async () => {
    const faulty = createFaultyConnection();
    const relay = open({ connection: faulty.connection, local: openLocal(3) });
    const other = open();
    await warmUp(relay, other);
    await pass(60_000);
    faulty.setUnable(true);
    expect(await tryAcquire(relay)).toBeNull();
    await pass(permitMs + longestWindowMs - 1);
    faulty.setUnable(false);
    expect(await tryAcquire(relay)).toBeNull();
    expect(await tryAcquire(other)).toBeNull();
  });

  it('gets the report of the outage once it accepts writes again, and then grants permits again', async () => {
    const faulty = createFaultyConnection();
    const relay = open({ connection: faulty.connection, local: openLocal(3) });
    await warmUp(relay);
    faulty.setUnable(true);
    expect(await tryAcquire(relay)).toBeNull();
    await pass(permitMs + longestWindowMs);
    (await tryAcquire(relay))?.end(null);
    faulty.setUnable(false);
    await pass(600);
    expect(await real.call('ZCARD', `${key}:events:ended`)).toBe(1);
    await pass(reportMs + longestWindowMs);
    expect((await acquireAll(relay)).length).toBeGreaterThan(0);
    expect(await real.call('ZCARD', `${key}:events:flight`)).toBeGreaterThan(0);
  });

  it('grants a permit to a relay that waits for its share once it accepts writes again', async () => {
    const faulty = createFaultyConnection();
    const relay = open({ connection: faulty.connection, local: openLocal(0) });
    await warmUp(relay);
    faulty.setUnable(true);
    expect(await tryAcquire(relay)).toBeNull();
    await pass(permitMs + longestWindowMs);
    const acquiring = relay.acquire('events', new AbortController().signal);
    await pass(1000);
    faulty.setUnable(false);
    // Other relays may have used their share as long, and report first what they sent.
    await pass(reportMs + 1000);
    expect(await acquiring).not.toBeNull();
  });
});

describe('a relay with a shared limiter', () => {
  it('runs one script at a time per endpoint, however many requests wait, and grants in order', async () => {
    const faulty = createFaultyConnection();
    let scriptCount = 0;
    const connection: RedisConnection = {
      ...faulty.connection,
      run(script, ...rest) {
        if (script.name === 'limiter-acquire') scriptCount++;
        return faulty.connection.run(script, ...rest);
      },
    };
    const relay = open({ connection });
    await warmUp(relay);
    await acquireAll(relay);
    scriptCount = 0;
    const order: number[] = [];
    const signal = AbortSignal.any([]);
    const waiting = Array.from({ length: 6 }, async (_, index) => {
      const permit = await relay.acquire('events', signal);
      order.push(index);
      permit?.end(null);
    });
    await pass(500);
    expect(scriptCount).toBeLessThan(4);
    await pass(20_000);
    await Promise.all(waiting);
    expect(order).toEqual([0, 1, 2, 3, 4, 5]);
  });

  it('keeps the order of waiting requests if one of them gives up', async () => {
    const relay = open();
    await warmUp(relay);
    await acquireAll(relay);
    const order: string[] = [];
    const acquiring = (name: string, signal: AbortSignal) =>
      relay.acquire('events', signal).then((permit) => {
        order.push(permit === null ? `${name} gave up` : name);
        permit?.cancel();
      });
    const giveUp = new AbortController();
    const stay = new AbortController().signal;
    const all = [acquiring('a', stay), acquiring('b', giveUp.signal), acquiring('c', stay)];
    await settle();
    giveUp.abort();
    await settle();
    expect(order).toEqual(['b gave up']);
    await pass(20_000);
    await Promise.all(all);
    expect(order).toEqual(['b gave up', 'a', 'c']);
  });

  it('is paused at once by pause(), even if an earlier report is still in flight', async () => {
    const relay = open();
    await warmUp(relay);
    const permit = await tryAcquire(relay);
    await pass(1000);
    permit?.end(null);
    relay.pause('events', 5000);
    expect(await tryAcquire(relay)).toBeNull();
    await pass(4900);
    expect(await tryAcquire(relay)).toBeNull();
  });

  it('returns a permit whose grant it never received', async () => {
    const faulty = createFaultyConnection();
    const relay = open({ connection: faulty.connection });
    await warmUp(relay);
    faulty.setMute(true);
    expect(await tryAcquire(relay)).toBeNull();
    faulty.setMute(false);
    await pass(1000);
    expect(await real.call('ZCARD', `${key}:events:flight`)).toBe(0);
  });

  it('reports its recent requests at each reconnection, because the new primary may lack them', async () => {
    const faulty = createFaultyConnection();
    const relay = open({ connection: faulty.connection });
    await warmUp(relay);
    (await tryAcquire(relay))?.end(null);
    await pass(1000);
    const held = await tryAcquire(relay);
    expect(held).not.toBeNull();
    await settle();
    faulty.set(false);
    // A failover to a replica that lacks these two requests.
    await real.call('DEL', `${key}:events:ended`, `${key}:events:flight`);
    faulty.set(true);
    await pass(600);
    expect(await real.call('ZCARD', `${key}:events:ended`)).toBe(1);
    expect(await real.call('ZCARD', `${key}:events:flight`)).toBe(1);
  });
});

type SentRequest = { readonly from: number; to: number };

/** Finds windows that exceed their limit in the worst case: a request may arrive at any moment between its start and its end. */
function findExcess(sent: readonly SentRequest[]): readonly string[] {
  return windows.flatMap(({ limit, windowMs }) =>
    sent.flatMap(({ to }) => {
      const count = sent.filter(
        (other) => other.from < to + windowMs - 0.01 && other.to >= to,
      ).length;
      return count > limit ? [`${count} within ${windowMs} ms from ${to}`] : [];
    }),
  );
}

type Fault =
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
const ordinary: readonly fc.WeightedArbitrary<Fault>[] = [
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
const steps = (...special: readonly fc.WeightedArbitrary<Fault>[]) =>
  fc.array(fc.oneof(...ordinary, ...special), { minLength: 60, maxLength: 120, size: 'max' });

type Fleet = {
  readonly relays: SharedLimiter[];
  readonly faultyConnections: readonly ReturnType<typeof createFaultyConnection>[];
  readonly sent: SentRequest[];
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
    // A request whose permit never ends was in flight as long as a request can be.
    const request = { from, to: from + Math.min(latencyMs, permitMs) };
    sent.push(request);
    if (latencyMs < Infinity) clock.setTimer(latencyMs, () => permit.end(null));
  });
}

async function applyFault(fleet: Fleet, fault: Fault, local: boolean): Promise<void> {
  const { relays, faultyConnections } = fleet;
  if (fault.kind === 'pass') await pass(fault.ms);
  else if (fault.kind === 'take') send(fleet, fault.relay, fault.latencyMs);
  else if (fault.kind === 'pause') relays[fault.relay]?.pause('events', fault.forMs);
  else if (fault.kind === 'lose') await deleteState();
  else if (fault.kind === 'die') {
    await relays[fault.relay]?.close();
    relays[fault.relay] = open({
      connection: faultyConnections[fault.relay]!.connection,
      ...(local && toLocal()),
    });
  } else if (fault.kind === 'mute') {
    faultyConnections[fault.relay]?.setMute(true);
    clock.setTimer(fault.forMs, () => faultyConnections[fault.relay]?.setMute(false));
  } else if (fault.kind === 'cut') {
    faultyConnections[fault.relay]?.disconnect(fault.forMs);
  } else if (fault.kind === 'outage') {
    // The server itself is down: a relay that is still disconnected has its outage restarted with the others.
    for (const faulty of faultyConnections) faulty.set(true);
    faultyConnections.forEach((faulty, index) =>
      faulty.disconnect(fault.forMs + index * fault.staggerMs),
    );
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

async function expectNoExcess(faults: readonly Fault[], local = false): Promise<void> {
  reset();
  const faultyConnections = [
    createFaultyConnection(),
    createFaultyConnection(),
    createFaultyConnection(),
  ];
  const relays = faultyConnections.map(({ connection }) =>
    open({ connection, ...(local && toLocal()) }),
  );
  const fleet = { relays, faultyConnections, sent: [], stop: new AbortController() };
  setMaxListeners(0, fleet.stop.signal);
  for (const fault of faults) await applyFault(fleet, fault, local);
  await pass(2 * longestWindowMs);
  fleet.stop.abort();
  await pass(permitMs);
  for (const faulty of faultyConnections) faulty.set(true);
  for (const limiter of limiters) await limiter.close();
  expect(findExcess(fleet.sent)).toEqual([]);
}

const rarely = <T extends Fault>(arbitrary: fc.Arbitrary<T>) => ({ weight: 1, arbitrary });

describe('three relays with random latencies and steps never exceed a rate window', () => {
  // Shrinking a run of a hundred steps takes longer than a test may.
  const runs = { numRuns: 5, endOnFailure: true };

  it('while relays end and others lose their connection', async () => {
    const die = rarely(fc.record({ kind: fc.constant('die' as const), relay }));
    const disconnect = rarely(
      fc.record({
        kind: fc.constant('cut' as const),
        relay,
        forMs: fc.integer({ min: 1, max: 9000 }),
      }),
    );
    await fc.assert(
      fc.asyncProperty(steps(die, disconnect), (all) => expectNoExcess(all)),
      runs,
    );
  }, 120_000);

  it('while the state in Redis is deleted', async () => {
    const lose = rarely(fc.constant({ kind: 'lose' as const }));
    await fc.assert(
      fc.asyncProperty(steps(lose), (all) => expectNoExcess(all)),
      runs,
    );
  }, 120_000);

  it('while the server is down so long that every relay uses its share', async () => {
    const outage = rarely(
      fc.record({
        kind: fc.constant('outage' as const),
        forMs: fc.integer({ min: 1, max: 25_000 }),
        staggerMs: fc.integer({ min: 0, max: 600 }),
      }),
    );
    await fc.assert(
      fc.asyncProperty(steps(outage), (all) => expectNoExcess(all, true)),
      runs,
    );
  }, 120_000);

  it('while the server is killed and started again', async () => {
    const restart = rarely(fc.constant({ kind: 'restart' as const }));
    await fc.assert(
      fc.asyncProperty(steps(restart), (all) => expectNoExcess(all)),
      { ...runs, numRuns: 2 },
    );
  }, 120_000);
});
