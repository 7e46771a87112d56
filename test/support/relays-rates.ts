import { stringifyJson } from '../../src/json/json.js';
import { runRelays, withRelays, type Rates, type RelaysReport } from './relays-run.js';
import { makeEvent } from './seeded-load.js';

const burst = { limit: 20, windowMs: 1000 };
const steady = { limit: 600, windowMs: 60_000 };
const own = [burst, steady];
const text = own.map(({ limit, windowMs }) => `${limit}/${windowMs / 1000}s`).join();
/** Over a time longer than the burst window, the longer window limits the rate. */
const perSecond = steady.limit / (steady.windowMs / 1000);

/** The same rate windows for the relays and the sandbox. */
export const narrowRates: Rates = {
  env: { EVENT_RATE_WINDOWS: text, PROFILE_RATE_WINDOWS: text },
  windows: { 'bulk-events': own, 'bulk-profiles': own, jobs: own },
};

/** Runs the faults of `runRelays` under rate windows that all relays share. */
export function runWithinWindows(options: {
  readonly seed: number;
  readonly faults: number;
  readonly maxMs?: number;
}): Promise<RelaysReport> {
  return runRelays({ ...options, rates: narrowRates });
}

export type Use = {
  /** Requests that arrived, divided by the requests that the windows permit in the same time. */
  readonly share: number;
  readonly requests: number;
  readonly violations: number;
};

const perRequest = 5;
/** A burst may leave at once, so the measurement starts after it. */
const skipped = 2 * burst.limit;
const measured = 25 * perSecond;

/** Measures how much of the permitted rate three relays with a backlog use, without faults. */
export function measureUse(seed: number): Promise<Use> {
  const env = { ...narrowRates.env, EVENT_BATCH_MAX_COUNT: String(perRequest) };
  const count = perRequest * (skipped + measured + 3 * burst.limit);
  return withRelays({ seed, rates: { ...narrowRates, env } }, {}, async (world) => {
    const { sandbox, fleet, moments } = world;
    const arrived = moments.after('arrived', skipped + measured + 1);
    const events = Array.from({ length: count }, (_, number) => makeEvent(seed, number));
    for (let from = 0; from < count; from += 100) {
      await fleet.send('/v1/events/batch', stringifyJson(events.slice(from, from + 100)));
    }
    await arrived;
    const { requests, violationCount } = sandbox.state();
    const times = requests
      .map(({ at }) => at)
      .sort((a, b) => a - b)
      .slice(skipped, skipped + measured);
    const spanMs = (times.at(-1) ?? 0) - (times[0] ?? 0);
    return {
      share: (times.length - 1) / ((spanMs / 1000) * perSecond),
      requests: times.length,
      violations: violationCount,
    };
  });
}
