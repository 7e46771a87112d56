import { stringifyJson } from '../../src/json/json.js';
import { runRelays, withRelays, type Rates, type RelaysReport } from './relays-run.js';
import { makeEvent } from './seeded-load.js';

const burst = { limit: 20, windowMs: 1000 };
const steady = { limit: 600, windowMs: 60_000 };
const own = [burst, steady];
const text = own.map(({ limit, windowMs }) => `${limit}/${windowMs / 1000}s`).join();
/** Over a stretch that is longer than the burst the longer window decides. */
const perSecond = steady.limit / (steady.windowMs / 1000);

/** The same windows for the relays to keep and for the sandbox to judge. */
export const narrowRates: Rates = {
  env: { EVENT_RATE_WINDOWS: text, PROFILE_RATE_WINDOWS: text },
  windows: { 'bulk-events': own, 'bulk-profiles': own, jobs: own },
};

/** The run of trials under windows that all relays share. */
export function runWithinWindows(options: {
  readonly seed: number;
  readonly faults: number;
  readonly maxMs?: number;
}): Promise<RelaysReport> {
  return runRelays({ ...options, rates: narrowRates });
}

export type Use = {
  /** What arrived of what the windows permit in the same time. */
  readonly share: number;
  readonly requests: number;
  readonly violations: number;
};

const perRequest = 5;
/** A burst may leave at once; what is measured comes after it. */
const skipped = 2 * burst.limit;
const measured = 25 * perSecond;

/** Three relays with more to send than they may, and nothing befalls them. */
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
