import { randomUUID } from 'node:crypto';
import type { IncomingMessage } from 'node:http';
import Fastify, { LogController, type FastifyInstance } from 'fastify';
import { validatorCompiler } from 'fastify-type-provider-zod';
import type { AcceptingDeps, ServerDeps } from './deps.js';
import {
  createKeyring,
  decorateCallers,
  rejectForeignPages,
  requireAccess,
} from './plugins/auth.js';
import { acceptJsonBodies } from './plugins/body.js';
import { createClientErrorHandler } from './plugins/client-errors.js';
import { delayContinue } from './plugins/expect-continue.js';
import { rejectOtherMethods } from './plugins/methods.js';
import { handleErrors, sendProblem, toNotFound } from './plugins/problems.js';
import { createCallerCount, limitCallers } from './plugins/rate-limit.js';
import { logResponses } from './plugins/request-log.js';
import { createUnadmitted } from './plugins/unadmitted.js';
import { routeDeadLetters } from './routes/dead-letters.js';
import { routeDeliveries } from './routes/deliveries.js';
import { docsPath, documentRoutes, routeDocs } from './routes/docs.js';
import { routeHealth } from './routes/health.js';
import { ingestLanes, routeIngest } from './routes/ingest.js';
import { routeLanes } from './routes/lanes.js';
import { routePeople } from './routes/people.js';
import { routeReceipts } from './routes/receipts.js';
import { routeSources } from './routes/sources/activity.js';

export type { HttpViews, ServerDeps } from './deps.js';

/**
 * The relay's HTTP server. The caller starts it with `listen`; `close` lets requests in flight finish.
 *
 * Scopes, each with the hooks that check its callers: ingest (API keys), one for each source (the source
 * checks its callers), admin (admin keys), and the open routes for probes, metrics and documentation. A
 * request runs through the hooks of its scope (caller, quota, backpressure), then its body is read, then
 * its route calls one function of `deps` and sends the response.
 */
export async function createServer(deps: ServerDeps): Promise<FastifyInstance> {
  const app = createBareServer(deps);
  const { config } = deps;
  const keyring = createKeyring(() => ({
    ingest: config.RELAY_API_KEYS,
    admin: config.RELAY_ADMIN_KEYS,
  }));
  // Hooks run in this order: every response gets its headers and is counted, whichever later hook rejects the request.
  const unadmitted = createUnadmitted(deps);
  decorateCallers(app);
  delayContinue(app);
  handleErrors(app);
  logResponses(app, deps.metrics, unadmitted);
  setResponseHeaders(app);
  if (keyring.isOpen) app.addHook('onRequest', rejectForeignPages);
  await documentRoutes(app, deps.sources);
  const routeOtherMethods = rejectOtherMethods(app);
  routeHealth(app, deps);
  const accepting = { ...deps, countCaller: createCallerCount(deps), keyring, unadmitted };
  await app.register((scope) => routeIngestScope(scope, accepting));
  for (const { add } of deps.sources) {
    await app.register(async (scope) => {
      await add(scope, accepting);
    });
  }
  await app.register((scope) => routeAdminScope(scope, accepting));
  await app.register(routeDocs);
  routeOtherMethods();
  return app;
}

function createBareServer({ config, logger, metrics, sources }: ServerDeps): FastifyInstance {
  const rewrites = sources.flatMap(({ rewriteUrl }) => rewriteUrl ?? []);
  const requestTimeout = config.REQUEST_TIMEOUT_MS;
  const headersTimeout = Math.min(config.HEADERS_TIMEOUT_MS, requestTimeout);
  const app: FastifyInstance = Fastify({
    loggerInstance: logger,
    // plugins/request-log.ts writes the lines.
    logController: new LogController({ disableRequestLogging: true }),
    // A child logger for each request costs more than the rest of a small request. Log lines add the request id themselves.
    childLoggerFactory: (parent) => parent,
    trustProxy: toTrustProxy(config.TRUST_PROXY),
    requestTimeout,
    http: {
      requestTimeout,
      headersTimeout,
      // Interval at which Node closes connections beyond these limits.
      connectionsCheckingInterval: Math.min(1000, headersTimeout / 2),
    },
    clientErrorHandler: createClientErrorHandler(metrics),
    frameworkErrors: sendProblem,
    genReqId: toRequestId,
    // While the relay stops, `isDraining` makes the routes respond with our own problem.
    return503OnClosing: false,
    rewriteUrl: ({ url = '/' }) => rewrites.reduce((now, rewrite) => rewrite(now), url),
    routerOptions: { maxParamLength: 200 },
    schemaController: {
      compilersFactory: { buildValidator: rejectCompiler, buildSerializer: rejectCompiler },
    },
  });
  app.setValidatorCompiler(validatorCompiler);
  // Typed functions make all responses, so that no check of them is needed.
  app.setSerializerCompiler(() => JSON.stringify);
  app.removeAllContentTypeParsers();
  return app;
}

/**
 * Fastify does not trust a number of proxies, because a caller that bypasses them could claim any
 * address. With a number, the operator promises that the relay is reached through the proxies only.
 */
function toTrustProxy(
  trusted: ServerDeps['config']['TRUST_PROXY'],
): boolean | string[] | ((address: string, hop: number) => boolean) {
  return typeof trusted === 'number' ? (_address, hop) => hop < trusted : trusted;
}

/** Without this, Fastify loads its own compilers (ajv and others, a tenth of all code) before ours are set. */
const rejectCompiler = (): never => {
  throw new Error('the compilers are set for all routes');
};

const safeRequestId = /^[\w.-]{1,128}$/;

/** The caller's X-Request-Id if it is safe for logs and headers, else a new id. */
function toRequestId({ headers }: Pick<IncomingMessage, 'headers'>): string {
  const given = headers['x-request-id'];
  return typeof given === 'string' && safeRequestId.test(given) ? given : randomUUID();
}

/**
 * Security headers of JSON responses (OWASP REST security cheat sheet). They are constants, because
 * helmet builds its headers anew for each response; routes/docs.ts uses helmet for the pages.
 */
const apiHeaders = {
  'cache-control': 'no-store',
  'content-security-policy': "default-src 'none'; frame-ancestors 'none'",
  'cross-origin-resource-policy': 'same-origin',
  'referrer-policy': 'no-referrer',
  'x-content-type-options': 'nosniff',
  'x-frame-options': 'DENY',
} as const;

function setResponseHeaders(app: FastifyInstance): void {
  app.addHook('onRequest', (request, reply, done) => {
    reply.header('x-request-id', request.id);
    if (request.routeOptions.url?.startsWith(docsPath) !== true) reply.headers(apiHeaders);
    // Here and not in the 404 handler, which runs after the body was read.
    done(request.is404 ? toNotFound() : undefined);
  });
}

async function routeIngestScope(scope: FastifyInstance, deps: AcceptingDeps): Promise<void> {
  const { config, countCaller, keyring } = deps;
  const perSecond = config.INGEST_RATE_LIMIT_PER_SECOND;
  scope.addHook('onRequest', requireAccess(keyring, 'ingest', deps.unadmitted));
  // After the key check: a caller without a key must not use up another caller's quota.
  if (perSecond !== null) await limitCallers(scope, { perSecond, countCaller });
  for (const lane of ingestLanes) {
    await scope.register((laneScope, _options, done) => {
      routeIngest(laneScope, deps, lane);
      done();
    });
  }
}

/** 10,000 ids of dead letters have about 300 KB. */
const adminMaxBytes = 1_000_000;

function routeAdminScope(scope: FastifyInstance, deps: AcceptingDeps): Promise<void> {
  scope.addHook('onRequest', requireAccess(deps.keyring, 'admin', deps.unadmitted));
  const limitBytes = Math.min(deps.config.BODY_LIMIT_BYTES, adminMaxBytes);
  acceptJsonBodies(scope, { limitBytes, clock: deps.clock });
  routeReceipts(scope, deps.views);
  routePeople(scope, deps.views);
  routeDeliveries(scope, deps.views);
  routeDeadLetters(scope, deps.views);
  routeSources(scope, deps.views);
  routeLanes(scope, deps);
  return Promise.resolve();
}
