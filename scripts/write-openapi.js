// Writes openapi.yaml from the routes of the built relay; `npm run openapi` builds and runs it.
// test/http/docs.test.ts renders the same text from src/ and fails if the file has drifted.
import { writeFileSync } from 'node:fs';
import { pino } from 'pino';
import { z } from 'zod';

// Loads the build, because Node 20 cannot load TypeScript. The types come from src/, which needs no build.
const load = (/** @type {string} */ name) => import(new URL(name, import.meta.url).href);

const { createServer } = /** @type {typeof import('../src/http/server.js')} */ (
  await load('../dist/http/server.js')
);
const { toOpenApiYaml } = /** @type {typeof import('../src/http/plugins/openapi.js')} */ (
  await load('../dist/http/plugins/openapi.js')
);
const { systemClock } = /** @type {typeof import('../src/clock.js')} */ (
  await load('../dist/clock.js')
);
const { createMetrics } = /** @type {typeof import('../src/metrics.js')} */ (
  await load('../dist/metrics.js')
);
const { sourceSettings } = /** @type {typeof import('../src/sources/list.js')} */ (
  await load('../dist/sources/list.js')
);
const { createSourceRoutes } =
  /** @type {typeof import('../src/http/routes/sources/source-routes.js')} */ (
    await load('../dist/http/routes/sources/source-routes.js')
  );

const never = () => {
  throw new Error('this script only describes routes: they must not be called');
};

const app = await createServer({
  config: {
    RELAY_API_KEYS: [],
    RELAY_ADMIN_KEYS: [],
    INGEST_RATE_LIMIT_PER_SECOND: null,
    BODY_LIMIT_BYTES: 5_000_000,
    HEADERS_TIMEOUT_MS: 10_000,
    REQUEST_TIMEOUT_MS: 30_000,
    SHUTDOWN_TIMEOUT_MS: 10_000,
    TRUST_PROXY: false,
  },
  clock: systemClock,
  metrics: createMetrics('0.0.0'),
  logger: pino({ level: 'silent' }),
  accept: { one: never, many: never },
  sources: createSourceRoutes(z.object(sourceSettings).parse({})),
  views: {
    sources: never,
    receipt: never,
    deliveries: never,
    delivery: never,
    deadLetters: never,
    deadLetter: never,
    redrive: never,
    discard: never,
  },
  readiness: never,
  backpressure: never,
  flush: never,
  isDraining: never,
});
await app.ready();
writeFileSync(new URL('../openapi.yaml', import.meta.url), toOpenApiYaml(app));
await app.close();
