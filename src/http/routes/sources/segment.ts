import type { FastifyInstance, FastifyRequest, preValidationAsyncHookHandler } from 'fastify';
import type { ZodTypeProvider } from 'fastify-type-provider-zod';
import { z } from 'zod';
import { isJsonObject, type Parsed } from '../../../json/json.js';
import { parseInSteps } from '../../../json/large.js';
import type { Lane } from '../../../model/lane.js';
import { runInSlices } from '../../../slices.js';
import {
  callTypes,
  createCallBounds,
  type CallType,
  type SegmentBody,
} from '../../../sources/segment/calls.js';
import { mapSegmentRequest, type MappedSegmentRequest } from '../../../sources/segment/map.js';
import { segmentNames, type SegmentName } from '../../../sources/segment/paths.js';
import { pixelImage, readPixelCall } from '../../../sources/segment/pixel.js';
import type { SegmentSettings } from '../../../sources/segment/settings.js';
import type { AcceptingDeps } from '../../deps.js';
import { isAdmitted } from '../../plugins/auth.js';
import { rejectOnBackpressure, toBackpressureProblem } from '../../plugins/backpressure.js';
import { acceptRawBodies } from '../../plugins/body.js';
import { ProblemError, toNotFound } from '../../plugins/problems.js';
import { limitCallers } from '../../plugins/rate-limit.js';
import { checkQueryOnly } from '../ingest.js';
import { routeProbes, routeSourceConfig, routeUnsupported } from './segment-gateway.js';
import { batchBody, callBody, segmentHeaders, segmentQuery } from './segment-request-schemas.js';
import {
  createSegmentErrorHandler,
  listCallWarnings,
  listRejectedCalls,
  segmentAcceptedSchema,
  segmentErrors,
  type RejectedCalls,
} from './segment-responses.js';
import { admitByHeaders, admitByStart, checkBodyKey, decorateKeys } from './segment-write-keys.js';

/**
 * Adds the routes of the SDKs; paths.ts lists other spellings of their paths. A request goes through these
 * steps: the write key in its headers, the body (whose start may hold the key instead), JSON, the write key
 * in the whole body, the quota of the caller, backpressure, the map, `acceptFromSource`.
 */
export async function routeSegment(
  scope: FastifyInstance,
  deps: AcceptingDeps,
  settings: SegmentSettings,
): Promise<void> {
  scope.addHook('onRequest', (_request, reply, done) => {
    reply.headers(anyOrigin);
    done();
  });
  for (const name of segmentNames) {
    scope.options(`/v1/${name}`, { schema: { hide: true } }, (_request, reply) =>
      reply.code(204).headers(preflight).send(),
    );
  }
  routeProbes(scope, deps);
  await scope.register((posts) => routePosts(posts, deps, settings));
}

/** Web pages hold the write key, which is the only credential of these routes. So the routes allow every origin. */
const anyOrigin = {
  'access-control-allow-origin': '*',
  'access-control-expose-headers': 'retry-after',
} as const;

const preflight = {
  'access-control-allow-methods': 'POST',
  // `*` would leave out Authorization (Fetch standard).
  'access-control-allow-headers':
    'authorization, content-type, content-encoding, x-api-key, x-strict-mode, x-retry-count',
  'access-control-max-age': '86400',
} as const;

async function routePosts(
  scope: FastifyInstance,
  deps: AcceptingDeps,
  settings: SegmentSettings,
): Promise<void> {
  const { config, countCaller, keyring, unadmitted } = deps;
  const isKnown = (request: FastifyRequest): boolean => isAdmitted(request, keyring);
  const checkBackpressure = rejectOnBackpressure(deps, 'events');
  scope.setErrorHandler(createSegmentErrorHandler(isKnown, unadmitted));
  scope.setValidatorCompiler(checkQueryOnly);
  decorateKeys(scope);
  acceptRawBodies(scope, {
    limitBytes: config.BODY_LIMIT_BYTES,
    begin: admitByStart(keyring, unadmitted),
  });
  scope.decorateRequest(parsedBody, null);
  scope.addHook('onRequest', admitByHeaders(keyring));
  scope.addHook('onRequest', function (request, reply, done) {
    if (isKnown(request)) checkBackpressure.call(this, request, reply, done);
    else done();
  });
  scope.addHook('preValidation', createParseBody(deps));
  scope.addHook('preValidation', checkBodyKey(keyring, findWriteKey));
  const perSecond = config.INGEST_RATE_LIMIT_PER_SECOND;
  // After the body was read, because it may hold the key that identifies the caller.
  if (perSecond !== null) {
    await limitCallers(scope, { perSecond, countCaller, hook: 'preValidation' });
  }
  scope.addHook('preHandler', checkBackpressure);
  for (const name of segmentNames) routeName(scope, { ...deps, settings }, name);
  routePixels(scope, { ...deps, settings });
  routeSourceConfig(scope);
  routeUnsupported(scope);
}

const pixelParams = z.object({ type: z.enum(callTypes) });

/** `GET /pixel/v1/track?…` of RudderStack, `GET /v1/pixel/track?data=…` of Segment; a POST is as one to `/v1/track`. */
function routePixels(app: FastifyInstance, deps: SegmentDeps): void {
  const routes = app.withTypeProvider<ZodTypeProvider>();
  const common = {
    tags: ['segment'],
    security: [{ writeKey: [] }, { bearer: [] }, { apiKey: [] }],
    params: pixelParams,
  };
  const image = { 'image/gif': { schema: z.string().meta({ format: 'binary' }) } };
  const inQuery = {
    ...common,
    operationId: 'segment_pixel',
    summary: 'Accept one call in a query',
    description:
      'For pages and mails without JavaScript. A parameter is a member of the call (`properties.path=/a`), or `data` is the whole call as JSON, in Base64 or not. Also as `/pixel/v1/{type}`.',
    response: { 200: { description: 'One transparent pixel.', content: image }, ...segmentErrors },
  };
  const asBody = {
    ...common,
    operationId: 'segment_pixel_post',
    summary: 'Accept one call, or a batch',
    description: 'As /v1/{type}.',
    body: callBody,
    response: { 200: segmentAcceptedSchema, ...segmentErrors },
  };
  const findType = ({ params }: FastifyRequest): CallType => {
    const parsed = pixelParams.safeParse(params);
    if (!parsed.success) throw toNotFound();
    return parsed.data.type;
  };
  app.get('/v1/pixel/:type', { schema: inQuery }, async (request, reply) => {
    const call = { value: readPixelCall(request.query), issues: [] };
    await acceptCalls(await mapCalls(call, deps, findType(request)), deps, false);
    return reply.header('cache-control', 'no-store').type('image/gif').send(pixelImage);
  });
  routes.post('/v1/pixel/:type', { schema: asBody }, async (request, reply) => {
    const taken = await acceptCalls(
      await readPostedCalls(request, deps, findType(request)),
      deps,
      false,
    );
    if (taken.success) return reply.code(200).send(taken);
    return reply.code(400).send(taken);
  });
}

const parsedBody = 'parsedBody';

function createParseBody({ clock }: Pick<AcceptingDeps, 'clock'>): preValidationAsyncHookHandler {
  return async (request) => {
    const { body } = request;
    const text = isJsonObject(body) && typeof body.text === 'string' ? body.text : '';
    const parsed = await runInSlices(parseInSteps(text, createCallBounds()), clock);
    request.setDecorator(parsedBody, parsed);
  };
}

function findWriteKey(request: FastifyRequest): string | null {
  const parsed = request.getDecorator<Parsed>(parsedBody);
  if (!parsed.ok || !isJsonObject(parsed.value)) return null;
  const { writeKey } = parsed.value;
  return typeof writeKey === 'string' ? writeKey : null;
}

type SegmentDeps = AcceptingDeps & { readonly settings: SegmentSettings };

function routeName(app: FastifyInstance, deps: SegmentDeps, name: SegmentName): void {
  const isBatch = name === 'batch' || name === 'import';
  const schema = {
    tags: ['segment'],
    operationId: `segment_${name}`,
    summary: isBatch ? 'Accept many calls of an SDK' : `Accept one ${name} call of an SDK`,
    description: descriptions[name],
    security: [{ writeKey: [] }, { bearer: [] }, { apiKey: [] }],
    headers: segmentHeaders,
    querystring: segmentQuery,
    body: isBatch ? batchBody : callBody,
    response: { 200: segmentAcceptedSchema, ...segmentErrors },
  };
  const routes = app.withTypeProvider<ZodTypeProvider>();
  routes.post(`/v1/${name}`, { schema }, async (request, reply) => {
    const strict = request.query.strict || request.headers['x-strict-mode'] === '1';
    const found = await readPostedCalls(request, deps, isBatch ? 'batch' : name);
    const taken = await acceptCalls(found, deps, strict);
    if (taken.success) return reply.code(200).send(taken);
    return reply.code(400).send(taken);
  });
}

const descriptions: Readonly<Record<SegmentName, string>> = {
  batch: 'Each call becomes an event or a profile, or is skipped, as if posted by itself.',
  import: 'The same as /v1/batch, by the name that analytics-ruby and analytics-java use.',
  track: 'Becomes an event.',
  identify: 'Becomes a profile, and identifies the person of later calls with this userId.',
  page: 'Becomes the event "Viewed … Page", unless SEGMENT_PAGE_EVENTS is false.',
  screen: 'Becomes the event "Viewed … Screen", unless SEGMENT_PAGE_EVENTS is false.',
  group: 'Skipped, and counted.',
  alias: 'Skipped, and counted.',
  merge: 'Skipped, and counted. Of RudderStack.',
};

type Found = Extract<MappedSegmentRequest, { ok: true }>;
type Kind = Parameters<typeof mapSegmentRequest>[0]['kind'];

async function readPostedCalls(
  request: FastifyRequest,
  deps: SegmentDeps,
  kind: Kind,
): Promise<Found> {
  const parsed = request.getDecorator<Parsed>(parsedBody);
  if (!parsed.ok) throw new ProblemError('invalid', `the body ${parsed.issue.detail}`);
  return mapCalls(parsed, deps, kind);
}

async function mapCalls(
  { value, issues: faults }: SegmentBody,
  { settings, clock }: SegmentDeps,
  kind: Kind,
): Promise<Found> {
  const steps = mapSegmentRequest({
    kind,
    value,
    issues: faults,
    receivedAt: clock.now(),
    settings,
  });
  const found = await runInSlices(steps, clock);
  if (!found.ok) throw new ProblemError('invalid', `the body ${found.detail}`);
  return found;
}

async function acceptCalls(found: Found, deps: AcceptingDeps, strict: boolean) {
  const { post, invalidCalls: noCalls } = found;
  const countInvalid = (lane: Lane, count = 1): void =>
    deps.metrics.ingest.inc({ lane, outcome: 'invalid' }, count);
  if (noCalls.length > 0) countInvalid('events', noCalls.length);
  if (strict && noCalls.length > 0) {
    for (const { lane } of post.entries) countInvalid(lane);
    return createStrictError(listRejectedCalls(found, []));
  }
  const answer = await deps.acceptFromSource(post, { strict });
  if (answer.kind === 'backpressure') throw toBackpressureProblem(answer);
  const rejected = listRejectedCalls(found, answer.rejected);
  if (answer.kind === 'invalid') return createStrictError(rejected);
  const { accepted, duplicates, waiting, warnings } = answer;
  return {
    success: true as const,
    accepted,
    duplicates,
    ...(waiting > 0 && { waiting }),
    ...rejected,
    ...listCallWarnings(found, warnings),
  };
}

function createStrictError(view: RejectedCalls) {
  const count = view.rejected.length + (view.rejected_unlisted ?? 0);
  const calls = count === 1 ? '1 call is' : `${count} calls are`;
  const message = `${calls} not valid, and in strict mode nothing is taken then`;
  return { success: false as const, code: 'rejected', message, ...view };
}
