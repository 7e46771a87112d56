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

const klaviyos: readonly RateWindow[] = [
  { limit: 10, windowMs: 1000 },
  { limit: 150, windowMs: 60_000 },
];
const startMs = Date.UTC(2026, 0, 15, 12);
/** Those who created the state, or sent alone, wait so long for the others. */
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

function begin(): void {
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
    windows: { events: klaviyos, profiles: klaviyos, imports: klaviyos },
    permitMs,
    time: () => startMs + clock.monotonic(),
    ...overrides,
  });
  limiters.push(limiter);
  return limiter;
}

/** Scripts that are under way have ended, and what followed from them, too. */
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

/** The permit, where one is granted now. */
async function tryTake(limiter: Limiter, endpoint: Endpoint = 'events'): Promise<Permit | null> {
  const giveUp = new AbortController();
  const taking = limiter.acquire(endpoint, giveUp.signal);
  await settle();
  giveUp.abort();
  return taking;
}

/** As many as are granted now. */
async function takeAll(limiter: Limiter): Promise<readonly Permit[]> {
  const permits: Permit[] = [];
  for (let next = await tryTake(limiter); next !== null; next = await tryTake(limiter))
    permits.push(next);
  return permits;
}

async function settled(limiter: SharedLimiter): Promise<SharedLimiter> {
  expect(await tryTake(limiter)).toBeNull();
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
  | { readonly kind: 'end' | 'cancel'; readonly nth: number; readonly told: RateFeedback | null }
  | { readonly kind: 'pause'; readonly forMs: number }
  | { readonly kind: 'pass'; readonly ms: number };

const told = fc.option(
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
      told,
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

describe('one relay by itself', () => {
  it('is limited as by the limiter of one relay, whatever happens in whatever order', async () => {
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
        begin();
        const shared = await settled(open(options));
        const local = createLocalLimiter({ clock, ...options });
        // The pause of a state that is new, which the pace follows.
        await pass(20_000);
        const held: (readonly [Permit, Permit])[] = [];
        for (const one of steps) {
          if (one.kind === 'take') {
            const local1 = await tryTake(local, one.endpoint);
            const shared1 = await tryTake(shared, one.endpoint);
            // Where numbers are rounded, one of them may be a moment later.
            if ((local1 === null) !== (shared1 === null)) await pass(1);
            const ofLocal = local1 ?? (shared1 && (await tryTake(local, one.endpoint)));
            const ofShared = shared1 ?? (local1 && (await tryTake(shared, one.endpoint)));
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
              if (one.kind === 'end') permit.end(one.told);
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

type Sent = { readonly from: number; to: number };

/** In the worst case, each arrives when it hurts most: any two windows of starts and ends hold no more than the limit. */
function findExcess(sent: readonly Sent[]): readonly string[] {
  return klaviyos.flatMap(({ limit, windowMs }) =>
    sent.flatMap(({ to }) => {
      // Those that may have arrived within the window that begins with the last moment of this one.
      const count = sent.filter((other) => other.from < to + windowMs && other.to >= to).length;
      return count > limit ? [`${count} within ${windowMs} ms from ${to}`] : [];
    }),
  );
}

/** Relays that send all they may for a while, each at a latency of its own. */
async function saturate(relays: readonly SharedLimiter[], forMs: number): Promise<readonly Sent[]> {
  const random = createSeededRandom(7);
  const sent: Sent[] = [];
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

describe('several relays', () => {
  it('use what is permitted to the full, and never more, whoever asks', async () => {
    begin();
    const relays = [open(), open(), open()];
    await settled(relays[0]!);
    const sent = await saturate(relays, 120_000);
    expect(findExcess(sent)).toEqual([]);
    // 150 a minute for two minutes.
    expect(sent.length).toBeGreaterThanOrEqual(0.95 * 300);
  }, 120_000);

  it('all pause for what one of them was told', async () => {
    begin();
    const [a, b] = [await settled(open()), open()];
    await pass(60_000);
    a.pause('events', 5000);
    await settle();
    expect(await tryTake(b)).toBeNull();
    expect(await tryTake(b, 'profiles')).not.toBeNull();
    await pass(4900);
    expect(await tryTake(b)).toBeNull();
    await pass(500);
    expect(await tryTake(b)).not.toBeNull();
  });

  it('share one bucket over all endpoints', async () => {
    begin();
    const bucket = { perSecond: 1, burst: 3 };
    const [a, b] = [await settled(open({ bucket })), open({ bucket })];
    await pass(10_000);
    expect(await tryTake(a, 'events')).not.toBeNull();
    expect(await tryTake(b, 'profiles')).not.toBeNull();
    expect(await tryTake(a, 'imports')).not.toBeNull();
    expect(await tryTake(b, 'events')).toBeNull();
    expect(Math.floor(b.tokens())).toBe(0);
  });

  it('hold the place of a request whose relay died until it can no longer arrive', async () => {
    begin();
    const windows = { events: [{ limit: 1, windowMs: 1000 }], profiles: [], imports: [] };
    const [dead, living] = [await settled(open({ windows })), open({ windows })];
    await pass(10_000);
    expect(await tryTake(dead)).not.toBeNull();
    await pass(permitMs);
    expect(await tryTake(living)).toBeNull();
    await pass(1100);
    expect(await tryTake(living)).not.toBeNull();
  });
});

describe('a limit that Klaviyo announces', () => {
  const announce = (limit: number) =>
    feedback({ windows: [{ limit, windowMs: 60_000 }], remaining: null });

  it('holds for all relays, until it announces another', async () => {
    begin();
    const windows = { events: [{ limit: 30, windowMs: 60_000 }], profiles: [], imports: [] };
    const [a, b] = [await settled(open({ windows })), open({ windows })];
    await pass(60_000);
    (await tryTake(a))?.end(announce(1));
    await pass(59_000);
    expect(await tryTake(b)).toBeNull();
    await pass(2000);
    (await tryTake(b))?.end(announce(30));
    await settle();
    expect(await tryTake(a)).not.toBeNull();
  });
});

describe("the server's clock", () => {
  it('may be set back: nobody waits for longer', async () => {
    begin();
    let setBackMs = 0;
    const time = () => startMs + clock.monotonic() - setBackMs;
    const a = await settled(open({ time }));
    await pass(60_000);
    for (const permit of await takeAll(a)) permit.end(null);
    await settle();
    setBackMs = 3_600_000;
    expect(await tryTake(a)).toBeNull();
    await pass(1000);
    expect(await tryTake(a)).not.toBeNull();
    await pass(60_000);
    expect((await takeAll(a)).length).toBeGreaterThan(5);
  });

  it('may be set back, and what was sent before counts for as long as ever', async () => {
    begin();
    let setBackMs = 0;
    const time = () => startMs + clock.monotonic() - setBackMs;
    const windows = { events: [{ limit: 1, windowMs: 1000 }], profiles: [], imports: [] };
    const a = await settled(open({ time, windows }));
    await pass(60_000);
    (await tryTake(a))?.end(null);
    await pass(500);
    setBackMs = 5000;
    expect(await tryTake(a)).toBeNull();
    await pass(450);
    expect(await tryTake(a)).toBeNull();
    await pass(600);
    expect(await tryTake(a)).not.toBeNull();
  });
});

describe("the server's clock, set forward", () => {
  it('frees no place before its time, for a relay that asked before', async () => {
    begin();
    let aheadMs = 0;
    const time = () => startMs + clock.monotonic() + aheadMs;
    const windows = { events: [{ limit: 1, windowMs: 30_000 }], profiles: [], imports: [] };
    const a = await settled(open({ time, windows }));
    await pass(60_000);
    (await tryTake(a))?.end(null);
    await pass(500);
    aheadMs = 3_600_000;
    expect(await tryTake(a)).toBeNull();
    await pass(28_000);
    expect(await tryTake(a)).toBeNull();
    await pass(2000);
    expect(await tryTake(a)).not.toBeNull();
  });
});

describe('a state that was lost', () => {
  it('is known again from what the relays tell, before any of them sends', async () => {
    begin();
    const [a, b] = [await settled(open()), open()];
    await pass(60_000);
    const permits = [...(await takeAll(a))];
    permits.forEach((permit) => permit.end(null));
    await settle();
    const used = permits.length;
    expect(used).toBeGreaterThan(5);
    await connection.call('DEL', `${key}:meta`, `${key}:events:ended`, `${key}:events:flight`);
    expect(await takeAll(b)).toHaveLength(0);
    await pass(500);
    expect(await connection.call('ZCARD', `${key}:events:ended`)).toBe(used);
    expect(await tryTake(b)).toBeNull();
    await pass(reportMs);
    expect(await tryTake(b)).not.toBeNull();
  });

  it('counts a request that ends, though it knows nothing of its start', async () => {
    begin();
    const a = await settled(open());
    await pass(60_000);
    const permit = await tryTake(a);
    await connection.call('DEL', `${key}:events:flight`);
    permit?.end(null);
    await settle();
    expect(await connection.call('ZCARD', `${key}:events:ended`)).toBe(1);
  });
});

describe('while the server is away', () => {
  /** A connection that is there or not, as the test says. */
  function fickleLink() {
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
          isUp ? connection.run(...args) : Promise.reject(new UnavailableError('away')),
      },
    };
  }

  it('a relay sends nothing, and goes on when it is back', async () => {
    begin();
    const own = fickleLink();
    const a = await settled(open({ connection: own.connection }));
    await pass(60_000);
    own.set(false);
    expect(await tryTake(a)).toBeNull();
    await pass(120_000);
    expect(await tryTake(a)).toBeNull();
    own.set(true);
    expect(await tryTake(a)).not.toBeNull();
  });

  it('a relay with a share of its own uses it once nothing granted before can count, and tells of it later', async () => {
    begin();
    const own = fickleLink();
    const share = { events: [{ limit: 2, windowMs: 60_000 }], profiles: [], imports: [] };
    const local = createLocalLimiter({ clock, bucket: { perSecond: 1, burst: 2 }, windows: share });
    const a = await settled(open({ connection: own.connection, local }));
    await pass(60_000);
    expect(await tryTake(a)).not.toBeNull();
    own.set(false);
    await pass(permitMs + 59_000);
    expect(await tryTake(a)).toBeNull();
    await pass(1000);
    const alone = await tryTake(a);
    expect(alone).not.toBeNull();
    alone?.end(null);
    await pass(1000);
    own.set(true);
    expect(await tryTake(a)).toBeNull();
    // What it sent alone counts with the rest.
    expect(await connection.call('ZCARD', `${key}:events:ended`)).toBeGreaterThanOrEqual(1);
    await pass(reportMs);
    expect(await tryTake(a)).not.toBeNull();
  });
});
