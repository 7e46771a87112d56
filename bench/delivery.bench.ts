import { it, afterAll, beforeAll } from 'vitest';
import { interleave, toRatio, toSpread } from './support/compare.js';
import { measureEndToEnd, unlimited } from './support/end-to-end.js';
import type { Load } from './support/load.js';
import { needTools, startBare, startRelay, type Cores } from './support/program.js';
import { save, type Row } from './support/results.js';

const rounds = Number(process.env.ROUNDS ?? 5);
const warmUpSeconds = 5;
const seconds = 5;

const rows: Row[] = [];
beforeAll(() => needTools('wrk', 'taskset'));
afterAll(() => save('delivery', rows));

type Way = { readonly load: Load; readonly cores: Cores };

const toRelay =
  ({ load, cores }: Way, env: Readonly<Record<string, string>> = {}) =>
  () =>
    measureEndToEnd({
      ...{ mark: '"type":"event-bulk-create"', load, cores, warmUpSeconds },
      start: (sink) => startRelay(sink, { ...unlimited, ...env }, cores),
    });

const toForwarder =
  ({ load, cores }: Way, perRequest: number) =>
  () =>
    measureEndToEnd({
      ...{ mark: '"distinct_id"', load, cores, warmUpSeconds },
      start: (sink) =>
        startBare('forwarder', { SINK_URL: sink.url, PER_REQUEST: String(perRequest) }, cores),
    });

/** Marks forwarded records like those of the relay. */
const toDraftingForwarder =
  ({ load, cores }: Way, perRequest: number) =>
  () => {
    const isOfProfiles = load.kind === 'profiles';
    const env = { LANE: isOfProfiles ? 'profiles' : 'events', PER_REQUEST: String(perRequest) };
    return measureEndToEnd({
      ...{ mark: isOfProfiles ? '"type":"profile"' : '"type":"event-bulk-create"' },
      ...{ load, cores, warmUpSeconds },
      start: (sink) => startBare('drafting-forwarder', { ...env, SINK_URL: sink.url }, cores),
    });
  };

/** A part of the relay, compared with the same baseline. */
function addBound(row: string, bound: readonly number[], floor: readonly number[]): void {
  rows.push({
    row,
    what: 'the same by a program that drafts with the relay’s code, syncs to a log and forwards, and no more',
    against: 'the program that parses, serialises and forwards',
    measured: toRatio(bound, floor),
    ...{ unit: '×', least: '–', aim: '–' },
    absolute: { 'drafted, synced and forwarded': toSpread(bound) },
  });
}

it.each(['events', 'ndjson'] as const)('events delivered per second, %s', async (kind) => {
  const way: Way = { load: { kind, perRequest: 500, seconds }, cores: 'server' };
  const { relay, bound, floor } = await interleave(rounds, {
    relay: toRelay(way),
    bound: toDraftingForwarder(way, 1000),
    floor: toForwarder(way, 1000),
  });
  rows.push({
    row: `3 ${kind === 'events' ? 'JSON' : 'NDJSON'}`,
    what: 'events delivered per second, posted 500 a request, one core',
    against: 'a program that parses, serialises and forwards 1,000 a request',
    measured: toRatio(relay, floor),
    ...{ unit: '×', least: '0.60', aim: '0.90' },
    absolute: { 'relay, events/s': toSpread(relay), forwarder: toSpread(floor) },
  });
  addBound(`3 ${kind === 'events' ? 'JSON' : 'NDJSON'} bound`, bound, floor);
});

it('measures events delivered per second on both cores', async () => {
  // More than one core, so that neither waits for the other.
  const load: Load = { kind: 'events', perRequest: 500, connections: 12, seconds };
  const way: Way = { load, cores: 'both' };
  const { none, one, two, floor } = await interleave(rounds, {
    none: toRelay(way),
    one: toRelay(way, { WORKERS: '1' }),
    two: toRelay(way, { WORKERS: '2' }),
    floor: toForwarder(way, 1000),
  });
  const ceiling = "Klaviyo's ceiling for an account, 75 requests/s × 1,000 events";
  rows.push({
    row: '4',
    what: 'the same on both cores with WORKERS=1, the load and the sink on them, too',
    against: ceiling,
    measured: toSpread(one),
    ...{ unit: 'events/s', least: '50,000', aim: '75,000' },
    absolute: { 'WORKERS=0': toSpread(none), 'WORKERS=2': toSpread(two) },
  });
  rows.push({
    row: '4 bound',
    what: 'the same by the program that parses, serialises and forwards 1,000 a request',
    against: ceiling,
    measured: toSpread(floor),
    ...{ unit: 'events/s', least: '–', aim: '–' },
    absolute: {},
  });
});

it.each([0, 0.1, 0.9])('profiles delivered per second, %f of them repeated', async (repeated) => {
  const load: Load = { kind: 'profiles', perRequest: 10_000, repeated, connections: 4, seconds };
  const way: Way = { load, cores: 'server' };
  const { relay, bound, floor } = await interleave(rounds, {
    relay: toRelay(way),
    bound: toDraftingForwarder(way, 10_000),
    floor: toForwarder(way, 10_000),
  });
  rows.push({
    row: `11, ${repeated * 100} %`,
    what: `profiles posted and delivered per second, 10,000 a request, ${repeated * 100} % of repeated identities, one core`,
    against: 'a program that parses, serialises and forwards 10,000 a request',
    measured: toRatio(relay, floor),
    ...{ unit: '×', least: '0.50', aim: '0.80' },
    absolute: { 'relay, profiles/s': toSpread(relay), forwarder: toSpread(floor) },
  });
  addBound(`11, ${repeated * 100} % bound`, bound, floor);
});
