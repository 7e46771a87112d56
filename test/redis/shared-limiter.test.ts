import fc from 'fast-check';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { systemClock } from '../../src/clock.js';
import { createLocalLimiter } from '../../src/delivery/limiter/limiter.js';
import type { Endpoint, Limiter, Permit } from '../../src/model/limiter.js';
import type { RateFeedback, RateWindow } from '../../src/model/limiter.js';
import { createSeededRandom } from '../../src/sandbox/faults.js';
import { parseRedisUrl } from '../../src/redis/address.js';
import { createRedisConnection } from '../../src/redis/create-connection.js';
import { UnavailableError, type RedisConnection } from '../../src/redis/connection.js';
import { SharedLimiter, type SharedLimiterOptions } from '../../src/redis/shared-limiter.js';
import { createManualClock, settlePromises, type ManualClock } from '../support/manual-clock.js';
import { startRedis, type RedisServer } from '../support/redis-server.js';

const klaviyoWindows: readonly RateWindow[] = [
  { limit: 10, windowMs: 1000 },
  { limit: 150, windowMs: 60_000 },
];
const startMs = Date.UTC(2026, 0, 15, 12);
/** How long a relay that created the state waits for the reports of the others. */
const reportMs = 2000;
const permitMs = 35_000;

let server: RedisServer;
let connection: RedisConnection;
let clock: ManualClock;
let keys = 0;
let key: string;
let limiters: SharedLimiter[] = [];

beforeAll(async () => {
  server = await startRedis({ settings: { appendfsync: 'no' } });
  connection = createRedisConnection({
    address: parseRedisUrl(server.url),
    clock: systemClock,
    timeoutMs: 5000,
  });
  await connection.untilUp(5000);
});
afterEach(async () => {
  for (const limiter of limiters) await limiter.close();
  limiters = [];
});
afterAll(async () => {
  await connection.close();
  await server.close();
});

type Overrides = Partial<SharedLimiterOptions>;

function reset(): void {
  clock = createManualClock(startMs);
  key = `{limiter-${keys++}}`;
}

function open(overrides: Overrides = {}): SharedLimiter {
  const limiter = new SharedLimiter({
    connection,
    clock,
    key,
    relay: `r${limiters.length}`,
    bucket: { perSecond: 75, burst: 75 },
    windows: { events: klaviyoWindows, profiles: klaviyoWindows, imports: klaviyoWindows },
    permitMs,
    time: () => startMs + clock.monotonic(),
    ...overrides,
  });
  limiters.push(limiter);
  return limiter;
}

/** Waits until running scripts and what follows from them have ended. */
async function settle(): Promise<void> {
  for (let turn = 0; turn < 3; turn++) {
    await settlePromises(2);
    await connection.call('PING');
  }
  await settlePromises(2);
}

async function pass(ms: number): Promise<void> {
  await clock.advance(ms);
  await settle();
}

/** Returns a permit, or null if none is granted at this moment. */
async function tryAcquire(limiter: Limiter, endpoint: Endpoint = 'events'): Promise<Permit | null> {
  const giveUp = new AbortController();
  const acquiring = limiter.acquire(endpoint, giveUp.signal);
  await settle();
  giveUp.abort();
  return acquiring;
}

/** Returns all permits that are granted at this moment. */
async function acquireAll(limiter: Limiter): Promise<readonly Permit[]> {
  const permits: Permit[] = [];
  for (let next = await tryAcquire(limiter); next !== null; next = await tryAcquire(limiter))
    permits.push(next);
  return permits;
}

async function createState(limiter: SharedLimiter): Promise<SharedLimiter> {
  expect(await tryAcquire(limiter)).toBeNull();
  await pass(reportMs);
  return limiter;
}

const feedback = (over: Partial<RateFeedback>): RateFeedback => ({
  windows: [],
  remaining: null,
  remainingOf: null,
  resetMs: null,
  retryAfterMs: null,
  ...over,
});

type Step =
  | { readonly kind: 'take'; readonly endpoint: 'events' | 'profiles' }
  | {
      readonly kind: 'end' | 'cancel';
      readonly nth: number;
      readonly feedback: RateFeedback | null;
    }
  | { readonly kind: 'pause'; readonly forMs: number }
  | { readonly kind: 'pass'; readonly ms: number };

const feedbackOrNull = fc.option(
  fc
    .record({
      remaining: fc.nat(10),
      remainingOf: fc.constantFrom(5, 8, 10),
      limit: fc.constantFrom(8, 10),
    })
    .map(({ remaining, remainingOf, limit }) =>
      feedback({ windows: [{ limit, windowMs: 1000 }], remaining, remainingOf, resetMs: 700 }),
    ),
);
const step: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 12,
    arbitrary: fc.record({
      kind: fc.constant('take' as const),
      endpoint: fc.constantFrom('events' as const, 'profiles' as const),
    }),
  },
  {
    weight: 5,
    arbitrary: fc.record({
      kind: fc.constantFrom('end' as const, 'cancel' as const),
      nth: fc.nat(20),
      feedback: feedbackOrNull,
    }),
  },
  {
    weight: 1,
    arbitrary: fc.record({
      kind: fc.constant('pause' as const),
      forMs: fc.constantFrom(100, 1500),
    }),
  },
  {
    weight: 6,
    arbitrary: fc.record({
      kind: fc.constant('pass' as const),
      ms: fc.constantFrom(1, 7, 37, 113, 171, 266, 900),
    }),
  },
);

describe('a single relay with a shared limiter', () => {
  it('gets the same permits as from a local limiter, for random steps', async () => {
    const windows = [
      { limit: 10, windowMs: 1000 },
      { limit: 40, windowMs: 8000 },
    ];
    const options = {
      bucket: { perSecond: 12, burst: 6 },
      windows: { events: windows, profiles: windows.slice(0, 1), imports: [] },
    };
    const property = fc.asyncProperty(
      fc.array(step, { minLength: 60, maxLength: 120 }),
      async (steps) => {
        reset();
        const shared = await createState(open(options));
        const local = createLocalLimiter({ clock, ...options });
        // A new state begins with a pause, and the token bucket refills after it.
        await pass(20_000);
        const held: (readonly [Permit, Permit])[] = [];
        for (const one of steps) {
          if (one.kind === 'take') {
            const local1 = await tryAcquire(local, one.endpoint);
            const shared1 = await tryAcquire(shared, one.endpoint);
            // Because of rounding, one of the two limiters may grant a permit up to 1 ms later.
            if ((local1 === null) !== (shared1 === null)) await pass(1);
            const ofLocal = local1 ?? (shared1 && (await tryAcquire(local, one.endpoint)));
            const ofShared = shared1 ?? (local1 && (await tryAcquire(shared, one.endpoint)));
            expect(ofShared === null).toBe(ofLocal === null);
            if (ofLocal === null || ofShared === null) continue;
            held.push([ofLocal, ofShared]);
            expect(shared.tokens()).toBeCloseTo(local.tokens(), 1);
          } else if (one.kind === 'pause') {
            for (const each of [local, shared]) each.pause('events', one.forMs);
          } else if (one.kind === 'pass') {
            await pass(one.ms);
          } else {
            for (const permit of held.splice(one.nth, 1).flat()) {
              if (one.kind === 'end') permit.end(one.feedback);
              else permit.cancel();
            }
          }
          await settle();
        }
        await shared.close();
        limiters = [];
      },
    );
    await fc.assert(property, { numRuns: 20 });
  }, 60_000);
});

type SentRequest = { readonly from: number; to: number };

/** Finds windows that exceed their limit in the worst case: a request may arrive at any moment between its start and its end. */
function findExcess(sent: readonly SentRequest[]): readonly string[] {
  return klaviyoWindows.flatMap(({ limit, windowMs }) =>
    sent.flatMap(({ to }) => {
      // Requests that may have arrived within the window that begins at the end of this request.
      const count = sent.filter((other) => other.from < to + windowMs && other.to >= to).length;
      return count > limit ? [`${count} within ${windowMs} ms from ${to}`] : [];
    }),
  );
}

/** Lets the relays send at the permitted rate for `forMs`, with random latencies. */
async function saturate(
  relays: readonly SharedLimiter[],
  forMs: number,
): Promise<readonly SentRequest[]> {
  const random = createSeededRandom(7);
  const sent: SentRequest[] = [];
  const stop = new AbortController();
  const loops = relays.map(async (relay) => {
    while (!stop.signal.aborted) {
      const permit = await relay.acquire('events', stop.signal);
      if (permit === null) return;
      const one = { from: clock.monotonic(), to: Infinity };
      sent.push(one);
      clock.setTimer(20 + random() * 200, () => {
        one.to = clock.monotonic();
        permit.end(null);
      });
    }
  });
  for (let passed = 0; passed < forMs; passed += 50) await pass(50);
  stop.abort();
  await pass(1000);
  await Promise.all(loops);
  return sent;
}

describe('several relays with a shared limiter', () => {
  it('use the permitted rate fully and never exceed it', async () => {
    reset();
    const relays = [open(), open(), open()];
    await createState(relays[0]!);
    const sent = await saturate(relays, 120_000);
    expect(findExcess(sent)).toEqual([]);
    // 150 a minute for two minutes.
    expect(sent.length).toBeGreaterThanOrEqual(0.95 * 300);
  }, 120_000);

  it('all pause if one of them pauses', async () => {
    reset();
    const [a, b] = [await createState(open()), open()];
    await pass(60_000);
    a.pause('events', 5000);
    await settle();
    expect(await tryAcquire(b)).toBeNull();
    expect(await tryAcquire(b, 'profiles')).not.toBeNull();
    await pass(4900);
    expect(await tryAcquire(b)).toBeNull();
    await pass(500);
    expect(await tryAcquire(b)).not.toBeNull();
  });

  it('share one token bucket for all endpoints', async () => {
    reset();
    const bucket = { perSecond: 1, burst: 3 };
    const [a, b] = [await createState(open({ bucket })), open({ bucket })];
    await pass(10_000);
    expect(await tryAcquire(a, 'events')).not.toBeNull();
    expect(await tryAcquire(b, 'profiles')).not.toBeNull();
    expect(await tryAcquire(a, 'imports')).not.toBeNull();
    expect(await tryAcquire(b, 'events')).toBeNull();
    expect(Math.floor(b.tokens())).toBe(0);
  });

  it('count the request of a killed relay until it can no longer arrive', async () => {
    reset();
    const windows = { events: [{ limit: 1, windowMs: 1000 }], profiles: [], imports: [] };
    const [dead, living] = [await createState(open({ windows })), open({ windows })];
    await pass(10_000);
    expect(await tryAcquire(dead)).not.toBeNull();
    await pass(permitMs);
    expect(await tryAcquire(living)).toBeNull();
    await pass(1100);
    expect(await tryAcquire(living)).not.toBeNull();
  });
});

describe('a limit that Klaviyo announces', () => {
  const announce = (limit: number) =>
    feedback({ windows: [{ limit, windowMs: 60_000 }], remaining: null });

  it('applies to all relays until it announces another one', async () => {
    reset();
    const windows = { events: [{ limit: 30, windowMs: 60_000 }], profiles: [], imports: [] };
    const [a, b] = [await createState(open({ windows })), open({ windows })];
    await pass(60_000);
    (await tryAcquire(a))?.end(announce(1));
    await pass(59_000);
    expect(await tryAcquire(b)).toBeNull();
    await pass(2000);
    (await tryAcquire(b))?.end(announce(30));
    await settle();
    expect(await tryAcquire(a)).not.toBeNull();
  });
});

describe('the clock of the Redis server, when it is set back', () => {
  it('delays no permit', async () => {
    reset();
    let setBackMs = 0;
    const time = () => startMs + clock.monotonic() - setBackMs;
    const a = await createState(open({ time }));
    await pass(60_000);
    for (const permit of await acquireAll(a)) permit.end(null);
    await settle();
    setBackMs = 3_600_000;
    expect(await tryAcquire(a)).toBeNull();
    await pass(1000);
    expect(await tryAcquire(a)).not.toBeNull();
    await pass(60_000);
    expect((await acquireAll(a)).length).toBeGreaterThan(5);
  });

  it('does not free the place of an earlier request before its time', async () => {
    reset();
    let setBackMs = 0;
    const time = () => startMs + clock.monotonic() - setBackMs;
    const windows = { events: [{ limit: 1, windowMs: 1000 }], profiles: [], imports: [] };
    const a = await createState(open({ time, windows }));
    await pass(60_000);
    (await tryAcquire(a))?.end(null);
    await pass(500);
    setBackMs = 5000;
    expect(await tryAcquire(a)).toBeNull();
    await pass(450);
    expect(await tryAcquire(a)).toBeNull();
    await pass(600);
    expect(await tryAcquire(a)).not.toBeNull();
  });
});

describe('the clock of the Redis server, when it is set forward', () => {
  it('does not free the place of an earlier request before its time', async () => {
    reset();
    let aheadMs = 0;
    const time = () => startMs + clock.monotonic() + aheadMs;
    const windows = { events: [{ limit: 1, windowMs: 30_000 }], profiles: [], imports: [] };
    const a = await createState(open({ time, windows }));
    await pass(60_000);
    (await tryAcquire(a))?.end(null);
    await pass(500);
    aheadMs = 3_600_000;
    expect(await tryAcquire(a)).toBeNull();
    await pass(28_000);
    expect(await tryAcquire(a)).toBeNull();
    await pass(2000);
    expect(await tryAcquire(a)).not.toBeNull();
  });
});

describe('a lost state of the shared limiter', () => {
  it('is restored from the reports of the relays before any of them sends', async () => {
    reset();
    const [a, b] = [await createState(open()), open()];
    await pass(60_000);
    const permits = [...(await acquireAll(a))];
    permits.forEach((permit) => permit.end(null));
    await settle();
    const used = permits.length;
    expect(used).toBeGreaterThan(5);
    await connection.call('DEL', `${key}:meta`, `${key}:events:ended`, `${key}:events:flight`);
    expect(await acquireAll(b)).toHaveLength(0);
    await pass(500);
    expect(await connection.call('ZCARD', `${key}:events:ended`)).toBe(used);
    expect(await tryAcquire(b)).toBeNull();
    await pass(reportMs);
    expect(await tryAcquire(b)).not.toBeNull();
  });

  it('counts a request that ends, even if its start is missing', async () => {
    reset();
    const a = await createState(open());
    await pass(60_000);
    const permit = await tryAcquire(a);
    await connection.call('DEL', `${key}:events:flight`);
    permit?.end(null);
    await settle();
    expect(await connection.call('ZCARD', `${key}:events:ended`)).toBe(1);
  });
});

describe('while the Redis server is down', () => {
  /** Returns a connection that the test can switch off and on. */
  function createSwitchableConnection() {
    let isUp = true;
    const listeners = new Set<(isUp: boolean) => void>();
    return {
      set: (next: boolean) => {
        isUp = next;
        for (const listener of [...listeners]) listener(next);
      },
      connection: {
        ...connection,
        isUp: () => isUp,
        onChange: (listener: (isUp: boolean) => void) => {
          listeners.add(listener);
          return () => listeners.delete(listener);
        },
        run: (...args: Parameters<RedisConnection['run']>) =>
          isUp ? connection.run(...args) : Promise.reject(new UnavailableError('down')),
      },
    };
  }

  it('a relay sends nothing, and continues once the server is back', async () => {
    reset();
    const switchable = createSwitchableConnection();
    const a = await createState(open({ connection: switchable.connection }));
    await pass(60_000);
    switchable.set(false);
    expect(await tryAcquire(a)).toBeNull();
    await pass(120_000);
    expect(await tryAcquire(a)).toBeNull();
    switchable.set(true);
    expect(await tryAcquire(a)).not.toBeNull();
  });

  it('a relay with a static share uses it once no earlier permit counts, and reports its requests later', async () => {
    reset();
    const switchable = createSwitchableConnection();
    const share = { events: [{ limit: 2, windowMs: 60_000 }], profiles: [], imports: [] };
    const local = createLocalLimiter({ clock, bucket: { perSecond: 1, burst: 2 }, windows: share });
    const a = await createState(open({ connection: switchable.connection, local }));
    await pass(60_000);
    expect(await tryAcquire(a)).not.toBeNull();
    switchable.set(false);
    await pass(permitMs + 59_000);
    expect(await tryAcquire(a)).toBeNull();
    await pass(1000);
    const localPermit = await tryAcquire(a);
    expect(localPermit).not.toBeNull();
    localPermit?.end(null);
    await pass(1000);
    switchable.set(true);
    expect(await tryAcquire(a)).toBeNull();
    // What the relay sent by its share counts with the rest.
    expect(await connection.call('ZCARD', `${key}:events:ended`)).toBeGreaterThanOrEqual(1);
    await pass(reportMs);
    expect(await tryAcquire(a)).not.toBeNull();
  });
});
