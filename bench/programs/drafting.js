// Measures one thread with bodies in memory: WHAT=draft parses, validates, maps and serialises their
// entries as the relay does; WHAT=parse runs only JSON.parse and JSON.stringify. LANE=events or profiles.
// Prints the entries per second as a JSON line on stdout.
import { randomUUID } from 'node:crypto';
import { performance } from 'node:perf_hooks';

// The built modules, with the types of src/.
const load = (/** @type {string} */ name) => import(new URL(name, import.meta.url).href);

const { createDraftMany } = /** @type {typeof import('../../src/ingest/draft-many.js')} */ (
  await load('../../dist/ingest/draft-many.js')
);
const { createToE164 } = /** @type {typeof import('../../src/ingest/phone.js')} */ (
  await load('../../dist/ingest/phone.js')
);
const { toRules } = /** @type {typeof import('../../src/klaviyo/revision.js')} */ (
  await load('../../dist/klaviyo/revision.js')
);
const { systemClock } = /** @type {typeof import('../../src/clock.js')} */ (
  await load('../../dist/clock.js')
);

const perRequest = 500;
const warmUpMs = 2000;
const measuredMs = 4000;
let number = 0;

function toEvent() {
  const id = ++number;
  const person = (id * 7919) % 100_003;
  return {
    event_name: 'Placed Order',
    email: `shopper-${person}@klaviyo-demo.com`,
    distinct_id: `customer-${person}`,
    insert_id: `order-${id}`,
    event_time: `2026-01-0${1 + (id % 9)}T09:${10 + (id % 50)}:12Z`,
    value: 20.95 + (id % 90),
    currency: 'EUR',
    order_id: String(id),
    properties: {
      items: [{ sku: `AB-${id % 997}`, name: 'Walking Boots', quantity: 2, price: 64.95 }],
      coupon: 'WINTER',
      shipping: 'express',
      source: 'web',
      page: 'https://shop.klaviyo-demo.com/checkout/done',
    },
  };
}

function toProfile() {
  const id = ++number;
  return {
    email: `shopper-${id}@klaviyo-demo.com`,
    distinct_id: `customer-${id}`,
    first_name: 'Ada',
    last_name: 'Lovelace',
    location: { city: 'London', country: 'GB' },
    properties: {
      plan: 'gold',
      orders: id % 90,
      last_seen: '2026-01-31T09:30:12Z',
      source: 'checkout',
    },
  };
}

const lane = process.env.LANE === 'profiles' ? 'profiles' : 'events';
const bodies = Array.from({ length: 40 }, () =>
  Buffer.from(
    JSON.stringify(
      Array.from({ length: perRequest }, () => (lane === 'events' ? toEvent() : toProfile())),
    ),
  ),
);
const rules = toRules('2026-07-15');
const draftMany = createDraftMany({
  ...{ clock: systemClock, newId: randomUUID },
  toE164: createToE164(undefined),
});

/** @param {Buffer} body */
async function draft(body) {
  const acceptedAt = Date.now();
  const terms = { acceptedAt, rules, backfillBefore: acceptedAt - 86_400_000 };
  const drafted = await draftMany({ lane, body, format: 'json', ...terms });
  if (!drafted.ok || drafted.built.rejected.length > 0) throw new Error('not all are valid');
}

/** @param {Buffer} body */
function parse(body) {
  const entries = /** @type {unknown} */ (JSON.parse(body.toString()));
  if (JSON.stringify({ data: entries }).length < body.length) throw new Error('something is lost');
  return Promise.resolve();
}

const once = process.env.WHAT === 'parse' ? parse : draft;

/** @param {number} forMs */
async function run(forMs) {
  const from = performance.now();
  let count = 0;
  while (performance.now() - from < forMs) {
    for (const body of bodies) await once(body);
    count += bodies.length * perRequest;
  }
  return (count / (performance.now() - from)) * 1000;
}

await run(warmUpMs);
console.log(JSON.stringify({ perSecond: await run(measuredMs) }));
