import type { SwaggerTransform, SwaggerTransformObject } from '@fastify/swagger';
import type { FastifyInstance } from 'fastify';
import {
  createJsonSchemaTransform,
  createJsonSchemaTransformObject,
} from 'fastify-type-provider-zod';
import type { OpenAPIV3_1 } from 'openapi-types';
import { stringify } from 'yaml';
import { z } from 'zod';
import type { SourceRoutes } from '../deps.js';

const needsAdminKey = 'Needs an admin key.';

/** The parts of the document that belong to no route. The version is that of the interface, not of the package. */
const openApiInfo = {
  openapi: '3.1.0',
  info: {
    title: 'klaviyo-relay',
    version: '1.0.0',
    description: [
      "Accepts events and profiles, keeps them safe, and delivers them to Klaviyo's bulk APIs within Klaviyo's limits.",
      '202 means that the store has what was sent. After 429 and 503, send the request again when `Retry-After` has passed. After a timeout, send it again with the same `insert_id` or `Idempotency-Key`.',
      'Errors are `application/problem+json` (RFC 9457), except on the routes for Segment SDKs, which have their own format.',
    ].join('\n\n'),
    license: { name: 'MIT', identifier: 'MIT' },
  },
  servers: [{ url: '/' }],
  tags: [
    { name: 'events', description: 'What people did.' },
    { name: 'profiles', description: 'People.' },
    {
      name: 'people',
      description: `What the relay holds about a person. ${needsAdminKey}`,
    },
    { name: 'receipts', description: `The state of an event or profile. ${needsAdminKey}` },
    { name: 'deliveries', description: `The delivery log. ${needsAdminKey}` },
    { name: 'dead letters', description: `What the relay gave up on. ${needsAdminKey}` },
    { name: 'sources', description: `Counts of what sources sent. ${needsAdminKey}` },
    { name: 'flush', description: `Send what is buffered now. ${needsAdminKey}` },
    { name: 'lanes', description: `Pause and resume delivery. ${needsAdminKey}` },
    { name: 'operation', description: 'For probes and scrapers. Needs no key.' },
  ],
  components: {
    securitySchemes: {
      bearer: { type: 'http', scheme: 'bearer', description: 'An ingest or admin key.' },
      apiKey: { type: 'apiKey', in: 'header', name: 'X-API-Key', description: 'The same keys.' },
    },
  },
  security: [{ bearer: [] }, { apiKey: [] }],
} satisfies Partial<OpenAPIV3_1.Document>;

/** Adds the tag and the security schemes of each source. */
export function toOpenApiInfo(
  sources: readonly Pick<SourceRoutes, 'name' | 'docs'>[],
): Partial<OpenAPIV3_1.Document> {
  const { tags, components } = openApiInfo;
  const sourceTags = sources.map(({ name, docs }) => ({ name, description: docs.description }));
  const schemes = sources.map(({ docs }) => docs.securitySchemes);
  return {
    ...openApiInfo,
    tags: [...tags.slice(0, 2), ...sourceTags, ...tags.slice(2)],
    components: {
      securitySchemes: Object.assign({}, components.securitySchemes, ...schemes) as Schemes,
    },
  };
}

type Schemes = NonNullable<OpenAPIV3_1.ComponentsObject['securitySchemes']>;

type ZodOptions = NonNullable<Parameters<typeof createJsonSchemaTransform>[0]['zodToJsonConfig']>;

/** Removes what zod adds without use to a reader, and `additionalProperties`, which would forbid new fields in a response. */
const override: ZodOptions['override'] = ({ zodSchema, jsonSchema }) => {
  if (jsonSchema.format === 'date-time') delete jsonSchema.pattern;
  if (jsonSchema.maximum === Number.MAX_SAFE_INTEGER) delete jsonSchema.maximum;
  if (jsonSchema.minimum === Number.MIN_SAFE_INTEGER) delete jsonSchema.minimum;
  const { def } = zodSchema._zod;
  if (def.type === 'object' && !('catchall' in def && def.catchall !== undefined)) {
    delete jsonSchema.additionalProperties;
  }
};

const options = { zodToJsonConfig: { override } };
const jsonSchemaTransform = createJsonSchemaTransform(options);
const jsonSchemaTransformObject = createJsonSchemaTransformObject(options);

type ByMediaType = { readonly content: Readonly<Record<string, { readonly schema: unknown }>> };

const isByMediaType = (body: unknown): body is ByMediaType =>
  typeof body === 'object' && body !== null && 'content' in body;

/** The type provider drops the description of a response whose schema is a component, so it is stated beside the schema. */
function describeResponses(response: unknown): unknown {
  if (typeof response !== 'object' || response === null) return response;
  const describeOne = (schema: unknown): unknown => {
    if (!(schema instanceof z.ZodType) || schema instanceof z.ZodNull) return schema;
    const { description } = schema;
    return { description, content: { 'application/json': { schema } } };
  };
  return Object.fromEntries(
    Object.entries(response).map(([status, schema]) => [status, describeOne(schema)]),
  );
}

/**
 * Converts the zod schemas of a route to JSON Schema. The type provider supports one schema for a body; a
 * route that accepts several media types has several.
 */
export const toDocumentedRoute: SwaggerTransform = (document) => {
  const { body } = document.schema;
  const response = describeResponses(document.schema.response);
  const described = { ...document, schema: { ...document.schema, response } };
  if (!isByMediaType(body)) return jsonSchemaTransform(described);
  const toBody = (schema: unknown): unknown =>
    jsonSchemaTransform({ ...document, schema: { body: schema } }).schema.body;
  const content = Object.fromEntries(
    Object.entries(body.content).map(([type, { schema }]) => [type, { schema: toBody(schema) }]),
  );
  const { schema, url } = jsonSchemaTransform({
    ...described,
    schema: { ...described.schema, body: undefined },
  });
  return { schema: { ...schema, body: { content } }, url };
};

/** Removes unused components: the type provider adds each one twice, for requests and for responses. */
export const toTidyDocument: SwaggerTransformObject = (document) => {
  const described = jsonSchemaTransformObject(document);
  if (!('paths' in described) || !('components' in described)) return described;
  const schemas = new Map<string, unknown>(Object.entries(described.components.schemas ?? {}));
  const used = new Set<string>();
  const visit = (part: unknown): void => {
    for (const [, name = ''] of JSON.stringify(part).matchAll(/"#\/components\/schemas\/(\w+)"/g)) {
      if (used.has(name)) continue;
      used.add(name);
      visit(schemas.get(name));
    }
  };
  visit(described.paths);
  for (const name of schemas.keys()) {
    if (!used.has(name)) delete described.components.schemas?.[name];
  }
  return described;
};

/** The text of openapi.yaml. `app` must be ready. */
export function toOpenApiYaml(app: FastifyInstance): string {
  const header = '# Generated from the zod schemas in src/ by `npm run openapi`. Do not edit.\n';
  return header + stringify(app.swagger(), { aliasDuplicateObjects: false, lineWidth: 100 });
}
