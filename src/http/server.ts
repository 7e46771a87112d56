import { randomUUID } from 'node:crypto';
import type { IncomingMessage } from 'node:http';
import Fastify, { LogController, type FastifyInstance } from 'fastify';
import { validatorCompiler } from 'fastify-type-provider-zod';
import { createKeyring, decorateCallers, requireAccess } from './plugins/auth.js';
import { acceptJsonBodies } from './plugins/body.js';
import { createClientErrorHandler } from './plugins/client-errors.js';
import { routeDeadLetters } from './routes/dead-letters.js';
import { routeDeliveries } from './routes/deliveries.js';
import type { AcceptingDeps, ServerDeps } from './deps.js';
import { docsPath, documentRoutes, routeDocs } from './routes/docs.js';
import { eventRoutes } from './routes/events.js';
import { delayContinue } from './plugins/expect-continue.js';
import { sendProblem, handleErrors, toNotFound } from './plugins/errors.js';
import { routeFlush } from './routes/flush.js';
import { routeHealth } from './routes/health.js';
import { routeIngest } from './routes/ingest.js';
import { routeLanes } from './routes/lanes.js';
import { rejectForeignPages } from './plugins/loopback.js';
import { rejectOtherMethods } from './plugins/methods.js';
import { routeMetrics } from './routes/metrics.js';
import { logResponses } from './plugins/request-log.js';
import { profileRoutes } from './routes/profiles.js';
import { createCallerCount, limitCallers } from './plugins/rate-limit.js';
import { routeReceipts } from './routes/receipts.js';
import { routeSources } from './routes/sources.js';
import { createUnadmitted } from './plugins/unadmitted.js';

export type { HttpViews, ServerDeps } from './deps.js';

/** The relay's outer face, as design/interface.md has it. Not listening yet; `close` lets requests in flight finish. */
export async function createServer(deps: ServerDeps): Promise<FastifyInstance> {
  const app = createBareServer(deps);
  const { config } = deps;
  const keyring = createKeyring(() => ({
    ingest: config.RELAY_API_KEYS,
    admin: config.RELAY_ADMIN_KEYS,
  }));
  // Hooks run in the order of this list: an answer is stamped and counted whoever refuses it later.
  const unadmitted = createUnadmitted(deps);
  decorateCallers(app);
  delayContinue(app);
  handleErrors(app);
  logResponses(app, deps.metrics, unadmitted);
  stampAnswers(app);
  if (keyring.isOpen) app.addHook('onRequest', rejectForeignPages);
  await documentRoutes(app, deps.sources);
  const routeOtherMethods = rejectOtherMethods(app);
  routeHealth(app, deps);
  routeMetrics(app, deps.metrics);
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
    // observe.ts writes the lines.
    logController: new LogController({ disableRequestLogging: true }),
    // A child logger a request costs more than the rest of a small request; lines name the id themselves.
    childLoggerFactory: (parent) => parent,
    trustProxy: toTrust(config.TRUST_PROXY),
    requestTimeout,
    http: {
      requestTimeout,
      headersTimeout,
      // How often Node looks for connections past these limits.
      connectionsCheckingInterval: Math.min(1000, headersTimeout / 2),
    },
    clientErrorHandler: createClientErrorHandler(metrics),
    frameworkErrors: sendProblem,
    genReqId: toRequestId,
    // Whoever stops the relay first has it refuse by `isDraining`, in our own words.
    return503OnClosing: false,
    rewriteUrl: ({ url = '/' }) => rewrites.reduce((now, rewrite) => rewrite(now), url),
    routerOptions: { maxParamLength: 200 },
    schemaController: { compilersFactory: { buildValidator: notAsked, buildSerializer: notAsked } },
  });
  app.setValidatorCompiler(validatorCompiler);
  // Answers are made by typed functions and by nobody else: checking them again buys nothing.
  app.setSerializerCompiler(() => JSON.stringify);
  app.removeAllContentTypeParsers();
  return app;
}

/**
 * Fastify believes nobody where it is given a number, since a caller that comes around the proxies could
 * then name any address. That the relay is reached through them alone is the operator's promise here.
 */
function toTrust(
  trusted: ServerDeps['config']['TRUST_PROXY'],
): boolean | string[] | ((address: string, hop: number) => boolean) {
  return typeof trusted === 'number' ? (_address, hop) => hop < trusted : trusted;
}

/** Fastify would load its own otherwise (ajv and its like, a tenth of all code) before it is told of ours. */
const notAsked = (): never => {
  throw new Error('the compilers are set for all routes');
};

const saneRequestId = /^[\w.-]{1,128}$/;

/** The caller's own id, where it is fit for logs and headers. */
function toRequestId({ headers }: Pick<IncomingMessage, 'headers'>): string {
  const given = headers['x-request-id'];
  return typeof given === 'string' && saneRequestId.test(given) ? given : randomUUID();
}

/**
 * What an answer of JSON needs of the security headers (OWASP REST security cheat sheet). Written down
 * instead of asking helmet, which puts them together anew for each answer: see docs.ts for the pages.
 */
const apiHeaders = {
  'cache-control': 'no-store',
  'content-security-policy': "default-src 'none'; frame-ancestors 'none'",
  'cross-origin-resource-policy': 'same-origin',
  'referrer-policy': 'no-referrer',
  'x-content-type-options': 'nosniff',
  'x-frame-options': 'DENY',
} as const;

function stampAnswers(app: FastifyInstance): void {
  app.addHook('onRequest', (request, reply, done) => {
    reply.header('x-request-id', request.id);
    if (request.routeOptions.url?.startsWith(docsPath) !== true) reply.headers(apiHeaders);
    // Here and not in the 404 handler, which comes after the body was read.
    done(request.is404 ? toNotFound() : undefined);
  });
}

async function routeIngestScope(scope: FastifyInstance, deps: AcceptingDeps): Promise<void> {
  const { config, countCaller, keyring } = deps;
  const perSecond = config.INGEST_RATE_LIMIT_PER_SECOND;
  scope.addHook('onRequest', requireAccess(keyring, 'ingest', deps.unadmitted));
  // After the key check: a quota belongs to a caller, and a stranger must not use it up.
  if (perSecond !== null) await limitCallers(scope, { perSecond, countCaller });
  for (const lane of [eventRoutes, profileRoutes]) {
    await scope.register((laneScope, _options, done) => {
      routeIngest(laneScope, deps, lane);
      done();
    });
  }
}

/** 10,000 ids of dead letters have some 300 KB. */
const adminMaxBytes = 1_000_000;

function routeAdminScope(scope: FastifyInstance, deps: AcceptingDeps): Promise<void> {
  scope.addHook('onRequest', requireAccess(deps.keyring, 'admin', deps.unadmitted));
  const limitBytes = Math.min(deps.config.BODY_LIMIT_BYTES, adminMaxBytes);
  acceptJsonBodies(scope, { limitBytes, clock: deps.clock });
  routeReceipts(scope, deps.views);
  routeDeliveries(scope, deps.views);
  routeDeadLetters(scope, deps.views);
  routeSources(scope, deps.views);
  routeFlush(scope, deps);
  routeLanes(scope, deps);
  return Promise.resolve();
}
