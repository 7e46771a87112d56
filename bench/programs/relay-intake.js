// The relay's own HTTP server (keys, ids, metrics, headers, errors) with a part of the accept half:
// WHAT=http answers 202 at once, WHAT=draft once the event is parsed, validated, mapped and serialised.
// Nothing is stored or delivered. The difference to the relay is the cost of store and delivery; the
// difference to bare Fastify is the cost of the HTTP server, which no store can recover.
import { randomUUID } from 'node:crypto';

// The built modules, with the types of src/.
const load = (/** @type {string} */ name) => import(new URL(name, import.meta.url).href);

const { createServer } = /** @type {typeof import('../../src/http/server.js')} */ (
  await load('../../dist/http/server.js')
);
const { createAccept } = /** @type {typeof import('../../src/ingest/accept.js')} */ (
  await load('../../dist/ingest/accept.js')
);
const { loadConfig } = /** @type {typeof import('../../src/config/config.js')} */ (
  await load('../../dist/config/config.js')
);
const { createLogger } = /** @type {typeof import('../../src/log/logger.js')} */ (
  await load('../../dist/log/logger.js')
);
const { openOutput } = /** @type {typeof import('../../src/log/output.js')} */ (
  await load('../../dist/log/output.js')
);
const { createMetrics } = /** @type {typeof import('../../src/metrics.js')} */ (
  await load('../../dist/metrics.js')
);
const { systemClock: clock } = /** @type {typeof import('../../src/clock.js')} */ (
  await load('../../dist/clock.js')
);
const { toRules } = /** @type {typeof import('../../src/klaviyo/revision.js')} */ (
  await load('../../dist/klaviyo/revision.js')
);

const config = loadConfig(process.env);
const metrics = createMetrics('0.0.0');
const output = openOutput({ fd: 1, stream: process.stdout, clock });
const notUsed = () => Promise.reject(new Error('this part of the relay is not used here'));

const createEnvelope = () => ({ id: randomUUID(), duplicate: false });
const drafting = createAccept({
  store: {
    append: (drafts) => Promise.resolve({ ok: true, envelopes: drafts.map(createEnvelope) }),
    putFacts: () => Promise.resolve({ ok: true }),
    getFacts: (keys) => Promise.resolve(keys.map(() => null)),
  },
  ...{ clock, metrics, newId: randomUUID },
  eventRules: () => toRules('2026-07-15'),
  backfillAfterMs: config.BACKFILL_AFTER,
});
const acceptAtOnce = {
  ...drafting,
  one: () =>
    Promise.resolve({
      ...{ kind: /** @type {const} */ ('accepted'), ...createEnvelope() },
      ...{ listIds: [], removalIds: [], warnings: [] },
    }),
};

const server = await createServer({
  ...{ config, clock, metrics, logger: await createLogger(config, { output, isTerminal: false }) },
  accept: process.env.WHAT === 'http' ? acceptAtOnce : drafting,
  acceptFromSource: notUsed,
  sources: [],
  views: {
    sources: () => [],
    ...{ receipt: notUsed, deliveries: notUsed, delivery: notUsed, deadLetters: notUsed },
    ...{ deadLetter: notUsed, redrive: notUsed, discard: notUsed },
    ...{ person: notUsed, personByHash: notUsed },
  },
  readiness: () => ({ ready: true, checks: {} }),
  backpressure: () => null,
  ...{ flush: () => undefined, pauseLane: () => undefined, resumeLane: () => undefined },
  isDraining: () => false,
});
console.log(JSON.stringify({ url: await server.listen({ port: 0, host: '127.0.0.1' }) }));
