import { afterAll, beforeAll, it, expect } from 'vitest';
import { systemClock } from '../src/clock.js';
import { startSandbox } from '../src/sandbox/sandbox.js';
import { toSpread } from './support/compare.js';
import { post } from './support/load.js';
import { needTools, startRelay, type Program } from './support/program.js';
import { save, type Row } from './support/results.js';

const seconds = Number(process.env.RATE_SECONDS ?? 180);
/** Klaviyo's for bulk events. */
const perMinute = 150;
const evenMs = 60_000 / perMinute;

const rows: Row[] = [];
beforeAll(() => needTools('wrk', 'taskset'));
afterAll(() => save('rate', rows));

it(`the permitted rate is used for ${seconds} s, by the windows that the sandbox judges`, async () => {
  const sandbox = await startSandbox({ clock: systemClock, maxEvents: 1000 });
  const relay = await startRelay({ pid: -1, url: sandbox.url, stop: () => Promise.resolve() });
  try {
    await saturate(relay);
    const { requests, violationCount } = sandbox.state();
    const sent = requests.filter(({ endpoint }) => endpoint === 'bulk-events');
    const times = sent.map(({ at }) => at).sort((a, b) => a - b);
    const first = times[0] ?? 0;
    const within = times.filter((at) => at < first + seconds * 1000);
    // Whatever the windows permit from the first request on.
    const permitted = (seconds / 60) * perMinute;
    const gaps = within.slice(1).map((at, index) => at - (within[index] ?? at));
    const refused = sent.filter(({ status }) => status === 429).length;
    expect(sent.every(({ count }) => count === 1000)).toBe(true);
    rows.push(
      {
        ...{ row: '8 use', what: `use of the permitted rate under saturation, ${seconds} s` },
        against: `what 10/1s and 150/60s permit: ${permitted} requests`,
        measured: toSpread([within.length / permitted]),
        ...{ unit: '×', least: '0.98', aim: '0.995' },
        absolute: { requests: toSpread([within.length]) },
      },
      {
        ...{ row: '8 refused', what: '429s, and windows exceeded, meanwhile', against: '–' },
        measured: toSpread([refused + violationCount]),
        ...{ unit: 'requests', least: 'none', aim: 'none', absolute: {} },
      },
      {
        ...{ row: '8 gap', what: 'longest gap between two requests', unit: '×' },
        against: `the even pace, ${evenMs} ms`,
        measured: toSpread([Math.max(...gaps) / evenMs]),
        ...{ least: '3', aim: '1.5', absolute: {} },
      },
    );
  } finally {
    await relay.stop();
    await sandbox.close();
  }
});

/** Ever more than may leave: 3,000 events a second, where 2,500 are permitted. */
async function saturate(relay: Program): Promise<void> {
  // A start, so that the first requests are full.
  await post(relay, { kind: 'ndjson', perRequest: 500, connections: 4, seconds: 1 });
  const load = { kind: 'ndjson', perRequest: 500, connections: 2, delayMs: 333 } as const;
  await post(relay, { ...load, seconds });
}
