import { describe, expect, it } from 'vitest';
import { createLaneLimiter } from '../../../src/delivery/limiter/lane-limiter.js';
import { createLocalLimiter } from '../../../src/delivery/limiter/limiter.js';
import type { Limiter, Permit } from '../../../src/model/limiter.js';
import { createManualClock } from '../../support/manual-clock.js';

const never = new AbortController().signal;

const windows = [{ limit: 2, windowMs: 1000 }];

function createLimiters() {
  const clock = createManualClock();
  const limiter = createLocalLimiter({
    clock,
    bucket: { perSecond: 1000, burst: 1000 },
    windows: {
      profiles: windows,
      add_to_list: windows,
    },
  });
  return { clock, profiles: limiter, lists: createLaneLimiter(limiter, 'add_to_list'), limiter };
}

/** Requests a permit. The result is empty while it waits. */
function request(limiter: Limiter, lane: 'profiles' | 'add_to_list'): (Permit | null)[] {
  const granted: (Permit | null)[] = [];
  void limiter.acquire(lane, never).then((permit) => granted.push(permit));
  return granted;
}

describe('the limiter of a lane that shares an endpoint of Klaviyo', () => {
  /** How many of the requests were granted. */
  const count = (requests: readonly (Permit | null)[][]): number => requests.flat().length;

  it('counts the requests of both lanes together', async () => {
    const single = createLimiters();
    const alone = Array.from({ length: 40 }, () => request(single.profiles, 'profiles'));
    await single.clock.advance(10_000);
    const { clock, profiles, lists } = createLimiters();
    const own = Array.from({ length: 20 }, () => request(lists, 'add_to_list'));
    const others = Array.from({ length: 20 }, () => request(profiles, 'profiles'));
    await clock.advance(10_000);
    expect(count(own) + count(others)).toBe(count(alone));
    expect(count(own)).toBeGreaterThan(0);
    expect(count(others)).toBeGreaterThan(0);
  });

  it('gives back both permits of a request that is not made', async () => {
    const { clock, profiles, lists } = createLimiters();
    const [permit] = await Promise.all([lists.acquire('add_to_list', never), clock.advance(1)]);
    const waiting = request(profiles, 'profiles');
    await clock.advance(1);
    expect(waiting).toHaveLength(0);
    permit?.cancel();
    await clock.advance(1);
    expect(waiting).toHaveLength(1);
  });

  it('gives back its own permit if the wait for the other lane is aborted', async () => {
    const { clock, profiles, lists, limiter } = createLimiters();
    request(profiles, 'profiles');
    request(profiles, 'profiles');
    const stop = new AbortController();
    const waiting = [1, 2].map(() => lists.acquire('add_to_list', stop.signal));
    await clock.advance(1);
    stop.abort();
    expect(await Promise.all(waiting)).toEqual([null, null]);
    const own = request(limiter, 'add_to_list');
    await clock.advance(1);
    expect(own).toHaveLength(1);
  });

  it('pauses its own lane alone', async () => {
    const { clock, profiles, lists } = createLimiters();
    lists.pause('add_to_list', 5000);
    const [own, other] = [request(lists, 'add_to_list'), request(profiles, 'profiles')];
    await clock.advance(4999);
    expect([own.length, other.length]).toEqual([0, 1]);
  });

  it('is the limiter itself for every other lane', () => {
    const { limiter } = createLimiters();
    expect(createLaneLimiter(limiter, 'events')).toBe(limiter);
    expect(createLaneLimiter(limiter, 'profiles')).toBe(limiter);
  });
});
