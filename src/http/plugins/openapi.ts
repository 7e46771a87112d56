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

const lookUp = 'Needs an admin key.';

/** What no route can say by itself. The version is that of the contract, not of the package. */
const openApiInfo = {
  openapi: '3.1.0',
  info: {
    title: 'klaviyo-relay',
    version: '1.0.0',
    description: [
      "Accepts events and profiles, keeps them safe, and delivers them to Klaviyo's bulk APIs within Klaviyo's limits.",
      'A 202 is given once the store has what was sent. Send again after 429 and 503, when `Retry-After` says so; after a timeout, with the same `insert_id` or `Idempotency-Key`.',
      'Errors are `application/problem+json` (RFC 9457), save where SDKs of Segment expect their own.',
    ].join('\n\n'),
    license: { name: 'MIT', identifier: 'MIT' },
  },
  servers: [{ url: '/' }],
  tags: [
    { name: 'events', description: 'Things people did.' },
    { name: 'profiles', description: 'People.' },
    { name: 'receipts', description: `What became of one of them. ${lookUp}` },
    { name: 'deliveries', description: `The delivery log. ${lookUp}` },
    { name: 'dead letters', description: `What the relay gave up on. ${lookUp}` },
    { name: 'sources', description: `What sources sent. ${lookUp}` },
    { name: 'flush', description: lookUp },
    { name: 'lanes', description: `Pause and resume delivery. ${lookUp}` },
    { name: 'operation', description: 'For probes and scrapers. Open.' },
  ],
  components: {
    securitySchemes: {
      bearer: { type: 'http', scheme: 'bearer', description: 'An ingest or admin key.' },
      apiKey: { type: 'apiKey', in: 'header', name: 'X-API-Key', description: 'The same keys.' },
    },
  },
  security: [{ bearer: [] }, { apiKey: [] }],
} satisfies Partial<OpenAPIV3_1.Document>;

/** With the tag and the security schemes of each source. */
export function toOpenApiInfo(
  sources: readonly Pick<SourceRoutes, 'name' | 'docs'>[],
): Partial<OpenAPIV3_1.Document> {
  const { tags, components } = openApiInfo;
  const own = sources.map(({ name, docs }) => ({ name, description: docs.description }));
  const schemes = sources.map(({ docs }) => docs.securitySchemes);
  return {
    ...openApiInfo,
    tags: [...tags.slice(0, 2), ...own, ...tags.slice(2)],
    components: {
      securitySchemes: Object.assign({}, components.securitySchemes, ...schemes) as Schemes,
    },
  };
}

type Schemes = NonNullable<OpenAPIV3_1.ComponentsObject['securitySchemes']>;

type ZodOptions = NonNullable<Parameters<typeof createJsonSchemaTransform>[0]['zodToJsonConfig']>;

/** Leaves out what zod adds and a reader gains nothing from, and what would forbid us to ever add a field to an answer. */
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

/** An answer that is a component would lose its description on the way. */
function toDescribedAnswers(response: unknown): unknown {
  if (typeof response !== 'object' || response === null) return response;
  const toDescribed = (answer: unknown): unknown => {
    if (!(answer instanceof z.ZodType) || answer instanceof z.ZodNull) return answer;
    const { description } = answer;
    return { description, content: { 'application/json': { schema: answer } } };
  };
  return Object.fromEntries(
    Object.entries(response).map(([status, answer]) => [status, toDescribed(answer)]),
  );
}

/** zod to JSON Schema. The type provider knows one schema for a body; a route that takes several media types has several. */
export const toDocumentedRoute: SwaggerTransform = (document) => {
  const { body } = document.schema;
  const response = toDescribedAnswers(document.schema.response);
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

/** The type provider adds each component twice, as what is sent and as what is answered; those nobody refers to go. */
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
  const header = '# Made from the zod schemas in src/ by `npm run openapi`. Do not edit.\n';
  return header + stringify(app.swagger(), { aliasDuplicateObjects: false, lineWidth: 100 });
}
