// Renders the tables of docs/operations/capacity.md: the measured cost of an event in Redis, and the
// computed needs (server threads for a rate, memory for an outage of Klaviyo).
// `npm run bench -- redis-capacity` measures, and `npm run docs` writes the tables.
// `node scripts/capacity.js ACCOUNTS EVENTS_PER_SECOND OUTAGE_HOURS` computes one more row.
import { readFileSync } from 'node:fs';
import { pathToFileURL } from 'node:url';
import { z } from 'zod';

/** @typedef {import('./capacity.js').Measured} Measured */
/** @typedef {import('./capacity.js').Cost} Cost */
/** @typedef {import('./capacity.js').Scenario} Scenario */

/** The share of a server's single thread that the plan uses. */
const plannedUse = 0.5;
/** The most unique_ids that the relay remembers per account: the default of DEDUPE_MAX_COUNT. */
const maxRemembered = 500_000;
const resultPath = new URL('../bench/results/redis-capacity.json', import.meta.url);

const measuredSchema = z.object({
  costs: z.array(
    z.object({
      payloadBytes: z.number(),
      waitingBytes: z.number(),
      rememberedBytes: z.number(),
      appendMicros: z.number(),
      singleAppendMicros: z.number(),
      deliverMicros: z.number(),
    }),
  ),
});

/** @type {readonly Scenario[]} */
const scenarios = [
  { accounts: 1, perSecond: 10, outageHours: 24 },
  { accounts: 1, perSecond: 2500, outageHours: 1 },
  { accounts: 100, perSecond: 50, outageHours: 6 },
  { accounts: 1000, perSecond: 20, outageHours: 6 },
  { accounts: 10_000, perSecond: 20, outageHours: 6 },
];

/** @returns {Measured} */
export function readMeasured() {
  return measuredSchema.parse(JSON.parse(readFileSync(resultPath, 'utf8')));
}

/**
 * Computes the server threads and the memory that a scenario needs for events of this cost.
 * @param {Scenario} scenario
 * @param {Cost} cost
 */
export function toNeeds({ accounts, perSecond, outageHours }, cost) {
  const total = accounts * perSecond;
  const perEvent = (cost.appendMicros + cost.deliverMicros) / 1e6;
  const waiting = perSecond * 3600 * outageHours;
  const remembered = Math.min(maxRemembered, perSecond * 86_400);
  const bytes = accounts * (waiting * cost.waitingBytes + remembered * cost.rememberedBytes);
  return {
    total,
    threads: Math.max(1, Math.ceil((total * perEvent) / plannedUse)),
    gigabytes: bytes / 1e9,
  };
}

/** @param {readonly string[]} cells */
const toRow = (cells) => `| ${cells.join(' | ')} |`;
/** @param {number} value @param {number} digits */
const fixed = (value, digits = 0) =>
  value.toLocaleString('en-US', { minimumFractionDigits: digits, maximumFractionDigits: digits });

/** @param {Measured} measured */
export function toCostTable({ costs }) {
  return [
    toRow([
      'payload (bytes)',
      'memory while buffered (bytes)',
      'memory while its unique_id is remembered (bytes)',
      'append of 500 (µs per event)',
      'append of 1 (µs)',
      'claim and settle (µs)',
      'events per second and thread',
    ]),
    '| --- | --- | --- | --- | --- | --- | --- |',
    ...costs.map((cost) =>
      toRow([
        fixed(cost.payloadBytes),
        fixed(cost.waitingBytes),
        fixed(cost.rememberedBytes),
        fixed(cost.appendMicros),
        fixed(cost.singleAppendMicros),
        fixed(cost.deliverMicros),
        fixed(1e6 / (cost.appendMicros + cost.deliverMicros)),
      ]),
    ),
  ].join('\n');
}

/** @param {Measured} measured @param {readonly Scenario[]} all */
export function toModelTable({ costs }, all = scenarios) {
  const cost = costs.find(({ payloadBytes }) => payloadBytes === 400);
  if (cost === undefined) throw new Error('events of 400 bytes were not measured');
  return [
    toRow([
      'accounts',
      'events per second of each',
      'outage of Klaviyo',
      'events per second in all',
      'server threads',
      'memory (GB)',
    ]),
    '| --- | --- | --- | --- | --- | --- |',
    ...all.map((scenario) => {
      const { total, threads, gigabytes } = toNeeds(scenario, cost);
      return toRow([
        fixed(scenario.accounts),
        fixed(scenario.perSecond),
        `${scenario.outageHours} h`,
        fixed(total),
        fixed(threads),
        fixed(gigabytes, 1),
      ]);
    }),
  ].join('\n');
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) {
  const [accounts, perSecond, outageHours] = process.argv.slice(2).map(Number);
  if (accounts === undefined || perSecond === undefined || outageHours === undefined) {
    console.error('node scripts/capacity.js ACCOUNTS EVENTS_PER_SECOND OUTAGE_HOURS');
    process.exitCode = 2;
  } else console.log(toModelTable(readMeasured(), [{ accounts, perSecond, outageHours }]));
}
