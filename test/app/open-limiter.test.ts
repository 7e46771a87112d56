import { describe, expect, it } from 'vitest';
import { loadConfig } from '../../src/config/config.js';
import { openLimiter, toShare } from '../../src/app/open-limiter.js';
import { aDelivery, aProfile, settledAs } from '../support/builders.js';
import { append, claim } from '../store/contract/harness.js';
import { openTestJournal, type JournalUnderTest } from '../store/journal/under-test.js';

it('a limiter with a static share never exceeds its part of any limit', () => {
  const windows = [
    { limit: 10, windowMs: 1000 },
    { limit: 150, windowMs: 60_000 },
  ];
  const limits = {
    bucket: { perSecond: 75, burst: 75 },
    windows: { events: windows, profiles: windows.slice(0, 1), imports: [] },
  };
  expect(toShare(limits, 0.25)).toEqual({
    bucket: { perSecond: 18.75, burst: 18 },
    windows: {
      events: [
        { limit: 2, windowMs: 1000 },
        { limit: 37, windowMs: 60_000 },
      ],
      profiles: [{ limit: 2, windowMs: 1000 }],
      subscribe: [],
      unsubscribe: [],
      suppress: [],
      unsuppress: [],
      update_profile: [],
      erase: [],
      add_to_list: [],
      remove_from_list: [],
      imports: [],
    },
  });
  // Less than one request in a window: one in a longer one.
  expect(toShare(limits, 0.05)).toMatchObject({
    bucket: { burst: 3 },
    windows: { profiles: [{ limit: 1, windowMs: 2000 }] },
  });
});

describe('a pause that Klaviyo asked for', () => {
  const never = new AbortController().signal;
  const environment = { KLAVIYO_API_KEY: 'pk_test_1', KLAVIYO_REVISION: '2026-07-15' };

  /** Endpoints that have sent nothing after so long, as a process that starts now sees it. */
  async function toPaused(under: JournalUnderTest, afterMs: number): Promise<readonly string[]> {
    const { clock, store } = under;
    const limits = await openLimiter({
      config: loadConfig(environment),
      clock,
      store,
      onWaited: () => undefined,
      onServer: () => undefined,
      onFinding: () => undefined,
    });
    const paused = new Set(['events', 'profiles', 'imports'] as const);
    for (const endpoint of paused) {
      void limits.limiter.acquire(endpoint, never).then((permit) => {
        permit?.cancel();
        paused.delete(endpoint);
      });
    }
    await clock.advance(afterMs);
    const left = [...paused];
    await clock.advance(3_600_000);
    await limits.close();
    return left;
  }

  async function refused(forMs: number): Promise<JournalUnderTest> {
    const under = await openTestJournal();
    const pause = { at: under.clock.now(), forMs };
    const delivery = aDelivery({ at: under.clock.now(), status: 429, result: 'retried', pause });
    await under.store.settle({ lane: 'events', settled: [], delivery });
    return under;
  }

  it('continues after a crash for the rest of its time', async () => {
    const under = await refused(30_000);
    await under.clock.advance(10_000);
    await under.crash();
    expect(await toPaused(under, 19_900)).toEqual(['events']);
    await under.close();
    const over = await refused(30_000);
    await over.clock.advance(10_000);
    await over.crash();
    expect(await toPaused(over, 20_100)).toEqual([]);
    await over.close();
  });

  it('is bounded by its own length if the clock was set back by days', async () => {
    const under = await refused(30_000);
    under.clock.jump(-8 * 86_400_000);
    await under.crash();
    expect(await toPaused(under, 29_900)).toEqual(['events']);
    under.clock.jump(8 * 86_400_000);
    await under.close();
  });

  it('in response to a poll of an import job holds after a crash for all polls', async () => {
    const under = await openTestJournal();
    await append(under.store, [aProfile()]);
    const items = await claim(under.store, {}, 'profiles');
    const importJob = { id: 'job-1', status: 'queued', completed: null, failed: null } as const;
    const delivery = aDelivery({ lane: 'profiles', result: 'pending', importJob });
    const settled = settledAs(items, { kind: 'poll', ref: 'job-1' });
    await under.store.settle({ lane: 'profiles', delivery, settled });
    const pause = { at: under.clock.now(), forMs: 3_600_000 };
    const following = { openMs: 500, wasRead: false, pause };
    await under.store.settle({
      lane: 'profiles',
      delivery: { ...delivery, following },
      settled: [],
    });
    await under.crash();
    expect(await toPaused(under, 3_599_000)).toEqual(['imports']);
    await under.close();
  });
});
