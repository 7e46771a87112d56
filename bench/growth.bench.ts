import { afterAll, beforeAll, it } from 'vitest';
import { systemClock } from '../src/clock.js';
import { toSpread } from './support/compare.js';
import { post, type Load } from './support/load.js';
import { needTools, startRelay, type Program } from './support/program.js';
import { save, type Row } from './support/results.js';

const rounds = Number(process.env.ROUNDS ?? 3);
const seconds = 3;
const backlog = Number(process.env.BACKLOG ?? 10_000_000);
/** No server listens there, so nothing is settled and only intake is measured. */
const nobody: Program = { pid: -1, url: 'http://127.0.0.1:9', stop: () => Promise.resolve() };
const roomy = { MAX_BUFFER_COUNT: '1000000000', MAX_BUFFER_BYTES: '1000000000000' };

const rows: Row[] = [];
beforeAll(() => needTools('wrk', 'taskset'));
afterAll(() => save('growth', rows));

type Point = { readonly at: number; readonly cost: number };

/**
 * How far the costliest point lies above the straight line through its neighbours, or through the two
 * before it where it is the last: 1 on the line, more at a cliff.
 */
function toWorst(points: readonly Point[]): number {
  const excess = points.slice(2).flatMap((point, index) => {
    const [first, middle] = [points[index], points[index + 1]];
    if (first === undefined || middle === undefined) return [];
    return [
      middle.cost / lineAt(middle.at, first, point),
      point.cost / lineAt(point.at, first, middle),
    ];
  });
  return Math.max(...excess);
}

function lineAt(at: number, one: Point, other: Point): number {
  // A line that falls would foretell less than nothing.
  const slope = Math.max(0, (other.cost - one.cost) / (other.at - one.at));
  return one.cost + slope * (at - one.at);
}

/** Microseconds a request. */
async function measure(load: Omit<Load, 'seconds'>): Promise<number> {
  const relay = await startRelay(nobody, roomy);
  try {
    await post(relay, { ...load, seconds: 4 });
    const { requests, seconds: took } = await post(relay, { ...load, seconds });
    return (took / requests) * 1e6;
  } finally {
    await relay.stop();
  }
}

async function compare(
  what: string,
  unit: string,
  ats: readonly number[],
  toLoad: (at: number) => Omit<Load, 'seconds'>,
): Promise<void> {
  const all: Point[][] = [];
  for (let round = 0; round < rounds; round++) {
    const points: Point[] = [];
    for (const at of ats) points.push({ at, cost: await measure(toLoad(at)) });
    all.push(points);
  }
  rows.push({
    row: `10, ${what}`,
    what: `cost of a request as its ${what} grows`,
    against: 'a straight line',
    measured: toSpread(all.map(toWorst)),
    ...{ unit: '×', least: 'no cliff', aim: '–' },
    absolute: Object.fromEntries(
      ats.map((at, index) => [
        `${at.toLocaleString('en-US')} ${unit}, µs`,
        toSpread(all.map((points) => points[index]?.cost ?? NaN)),
      ]),
    ),
  });
}

it('measures intake of events of 0.4 to 20 KB', () =>
  compare('events in size', 'bytes more', [0, 1000, 5000, 20_000], (padBytes) => ({
    ...{ kind: 'events', perRequest: 20, connections: 16, padBytes },
  })));

it('measures intake of batches of 1 to 1,000', () =>
  compare('number of events', 'events', [1, 10, 100, 1000], (perRequest) => ({
    ...{ kind: 'events', perRequest, connections: 16 },
  })));

it('measures intake of events about 1 to 1,000,000 people', () =>
  compare('number of people', 'people', [1, 1000, 1_000_000], (people) => ({
    ...{ kind: 'events', perRequest: 100, connections: 16, people },
  })));

it(`measures intake with a backlog of up to ${backlog}`, async () => {
  const step = backlog / 10;
  const relay = await startRelay(nobody, roomy);
  const costs: number[] = [];
  const load: Load = { kind: 'ndjson', perRequest: 500, connections: 8, seconds: 2 };
  try {
    for (let reached = 0; reached < backlog;) {
      const from = systemClock.monotonic();
      let posted = 0;
      while (posted < step) posted += 500 * (await post(relay, load)).requests;
      costs.push(((systemClock.monotonic() - from) * 1000) / posted);
      reached += posted;
    }
  } finally {
    await relay.stop();
  }
  // The first one includes the start of a process that is not warm yet.
  const [base = NaN, ...later] = costs.slice(1);
  rows.push({
    row: '10, backlog',
    what: `cost of an event as ${backlog.toLocaleString('en-US')} of them wait`,
    against: `the first ${step.toLocaleString('en-US')}`,
    measured: toSpread([Math.max(...later) / base]),
    ...{ unit: '×', least: 'no cliff', aim: '–' },
    absolute: { 'an event, µs': toSpread(costs) },
  });
});
