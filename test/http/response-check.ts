import ajvFormats from 'ajv-formats';
import { Ajv2020, type AnySchema, type ValidateFunction } from 'ajv/dist/2020.js';
import type { FastifyInstance } from 'fastify';
import { expect } from 'vitest';
import { normalizeSegmentUrl } from '../../src/sources/segment/paths.js';

type Exchange = {
  readonly method: string;
  readonly path: string;
  readonly response: {
    readonly status: number;
    readonly headers: Readonly<Record<string, unknown>>;
    readonly json: unknown;
  };
};

/** Statuses of problems that every route can respond with. The document does not list them for each route. */
const commonStatuses = [403, 404, 405, 413, 415, 500];

type Document = { readonly ajv: Ajv2020; readonly routes: readonly Route[] };
type Route = { readonly pattern: string; readonly matches: RegExp };

/** Read once, from the first server of a test file: the document is the same for all servers (docs.test.ts), and reading it takes long. */
let cached: Document | undefined;

function readDocument(app: FastifyInstance): Document {
  const ajv = new Ajv2020({ strict: false, allErrors: true });
  ajvFormats.default(ajv);
  const document = app.swagger();
  ajv.addSchema(document satisfies AnySchema, 'openapi');
  const routes = Object.keys(document.paths ?? {})
    // Longest first, so that /redrive is not taken for an id.
    .sort((a, b) => b.length - a.length)
    .map((pattern) => ({
      pattern,
      matches: new RegExp(`^${pattern.replaceAll(/\{\w+\}/g, '[^/]+')}$`),
    }));
  return { ajv, routes };
}

/**
 * Validates a JSON response against its schema in the OpenAPI document. A response that is not documented
 * fails the test.
 */
export function checkResponse(
  app: FastifyInstance,
  { method, path, response: result }: Exchange,
): void {
  cached ??= readDocument(app);
  const [, mediaType] = /^([^;]+json)/.exec(String(result.headers['content-type'])) ?? [];
  const address = normalizeSegmentUrl(path).split('?')[0] ?? '';
  if (mediaType === undefined || address === '/openapi.json' || method === 'HEAD') return;
  const where = `${method} ${path} ${result.status}`;
  const check = findSchema(cached, { method, address, mediaType, status: result.status });
  if (check === undefined) throw new Error(`${where} is not documented`);
  void check(result.json);
  expect(check.errors ?? [], where).toEqual([]);
}

type SchemaQuery = {
  readonly method: string;
  readonly address: string;
  readonly mediaType: string;
  readonly status: number;
};

function findSchema(
  { ajv, routes }: Document,
  { method, address, mediaType, status }: SchemaQuery,
): ValidateFunction | undefined {
  const route = routes.find(({ matches }) => matches.test(address))?.pattern ?? '';
  const pointer = ['paths', route, method.toLowerCase(), 'responses', String(status)]
    .concat('content', mediaType, 'schema')
    .map((part) => encodeURIComponent(part.replaceAll('~', '~0').replaceAll('/', '~1')))
    .join('/');
  const isGeneric = commonStatuses.includes(status) && mediaType === 'application/problem+json';
  return (
    ajv.getSchema(`openapi#/${pointer}`) ??
    (isGeneric ? ajv.getSchema('openapi#/components/schemas/Problem') : undefined)
  );
}
