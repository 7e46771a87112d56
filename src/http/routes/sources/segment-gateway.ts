import type { FastifyInstance } from 'fastify';
import type { ZodTypeProvider } from 'fastify-type-provider-zod';
import { z } from 'zod';
import { unsupportedNames } from '../../../sources/segment/paths.js';
import { readPixelCall } from '../../../sources/segment/pixel.js';
import type { AcceptingDeps } from '../../deps.js';
import { findBackpressure } from '../../plugins/backpressure.js';
import { segmentErrors, segmentErrorSchema } from './segment-responses.js';

/** Routes of RudderStack's gateway and control plane that accept no SDK calls. */

const healthSchema = z
  .object({ server: z.enum(['UP', 'DOWN']) })
  .meta({ id: 'SegmentHealth', description: 'Whether the relay takes calls now.' });

const versionSchema = z
  .object({ Version: z.string() })
  .meta({ id: 'SegmentVersion', description: 'The name of the relay, in place of a version.' });

/** Adds the routes that SDKs and load balancers request from a gateway, without a key. */
export function routeProbes(app: FastifyInstance, deps: AcceptingDeps): void {
  const routes = app.withTypeProvider<ZodTypeProvider>();
  const health = {
    tags: ['segment'],
    operationId: 'segment_health',
    summary: "As /health of RudderStack's gateway",
    security: [],
    response: { 200: healthSchema, 503: healthSchema },
  };
  routes.get('/health', { schema: health }, (_request, reply) => {
    const isUp = findBackpressure(deps) === null;
    void reply.code(isUp ? 200 : 503).send({ server: isUp ? 'UP' : 'DOWN' });
  });
  const version = {
    tags: ['segment'],
    operationId: 'segment_version',
    summary: "As /version of RudderStack's gateway",
    security: [],
    response: { 200: versionSchema },
  };
  routes.get('/version', { schema: version }, () => ({ Version: 'klaviyo-relay' }));
}

const off = z.object({ enabled: z.boolean() });

const sourceConfigSchema = z
  .object({
    source: z.object({
      id: z.string(),
      name: z.string(),
      writeKey: z.string(),
      enabled: z.boolean(),
      workspaceId: z.string(),
      config: z.object({ statsCollection: z.object({ errors: off, metrics: off }) }),
      connections: z.array(z.string()),
      destinations: z.array(z.string()),
    }),
  })
  .meta({ id: 'SegmentSourceConfig', description: 'A source without destinations of its own.' });

/** Adds the route of the configuration that RudderStack's SDKs request: a source without destinations. */
export function routeSourceConfig(app: FastifyInstance): void {
  const routes = app.withTypeProvider<ZodTypeProvider>();
  const schema = {
    tags: ['segment'],
    operationId: 'segment_source_config',
    summary: "The configuration that RudderStack's SDKs ask their control plane for",
    description: 'For SDKs whose `configUrl` or `controlPlaneUrl` is the relay. No destinations.',
    security: [{ writeKey: [] }, { bearer: [] }, { apiKey: [] }],
    response: { 200: sourceConfigSchema, ...segmentErrors },
  };
  routes.get('/sourceConfig', { schema }, (request, reply) => {
    const { writeKey } = readPixelCall(request.query);
    const name = 'klaviyo-relay';
    const isOff = { enabled: false };
    void reply.code(200).send({
      source: {
        id: name,
        name,
        writeKey: typeof writeKey === 'string' ? writeKey : '',
        enabled: true,
        workspaceId: name,
        config: { statsCollection: { errors: isOff, metrics: isOff } },
        connections: [],
        destinations: [],
      },
    });
  });
}

/** Adds routes that reject requests whose bodies are not calls of an SDK. */
export function routeUnsupported(app: FastifyInstance): void {
  const routes = app.withTypeProvider<ZodTypeProvider>();
  for (const name of unsupportedNames) {
    for (const method of ['GET', 'POST'] as const) {
      const schema = {
        tags: ['segment'],
        operationId: `segment_${name}_${method.toLowerCase()}`,
        summary: `/v1/${name} of RudderStack is not supported`,
        security: [{ writeKey: [] }, { bearer: [] }, { apiKey: [] }],
        response: { ...segmentErrors, 400: segmentErrorSchema },
      };
      routes.route({
        method,
        url: `/v1/${name}`,
        schema,
        handler: (_request, reply) => {
          const message = `/v1/${name} of RudderStack is not supported: post calls of an SDK to /v1/batch`;
          return reply.code(400).send({ success: false, code: 'unsupported_path', message });
        },
      });
    }
  }
}
