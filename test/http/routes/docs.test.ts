import { readFileSync } from 'node:fs';
import { Validator } from '@seriousme/openapi-schema-validator';
import { describe, expect, it } from 'vitest';
import { parse } from 'yaml';
import { z } from 'zod';
import { problems } from '../../../src/http/plugins/problems.js';
import { adminKey, ingestKey, startServer } from '../harness.js';

const documentSchema = z.object({
  paths: z.record(z.string(), z.record(z.string(), z.unknown())),
  components: z.object({ schemas: z.record(z.string(), z.unknown()) }),
});

const file = readFileSync(new URL('../../../openapi.yaml', import.meta.url), 'utf8');
const document = documentSchema.parse(parse(file));

describe('openapi.yaml', () => {
  it('is equal to what the server serves (after a change: npm run openapi)', async () => {
    const server = await startServer();
    const response = await server.call('GET', '/openapi.json');
    expect(response.json).toEqual(parse(file));
  });

  it('does not depend on the configuration', async () => {
    const server = await startServer({
      config: {
        RELAY_API_KEYS: [ingestKey],
        RELAY_ADMIN_KEYS: [adminKey],
        INGEST_RATE_LIMIT_PER_SECOND: 5,
      },
    });
    expect((await server.call('GET', '/openapi.json')).json).toEqual(parse(file));
  });

  it('is a valid OpenAPI 3.1 document', async () => {
    const validator = new Validator();
    expect(await validator.validate(file)).toEqual({ valid: true });
    expect(validator.version).toBe('3.1');
  });

  it('contains every route of the contract', () => {
    const routes = Object.entries(document.paths).flatMap(([path, methods]) =>
      Object.keys(methods).map((method) => `${method.toUpperCase()} ${path}`),
    );
    expect(routes.sort()).toEqual(
      [
        'DELETE /v1/dead-letters',
        'DELETE /v1/dead-letters/{id}',
        'GET /health',
        'GET /sourceConfig',
        'GET /v1/audiencelist',
        'GET /v1/extract',
        'GET /v1/pixel/{type}',
        'GET /v1/webhook',
        'GET /version',
        'POST /v1/audiencelist',
        'POST /v1/extract',
        'POST /v1/merge',
        'POST /v1/pixel/{type}',
        'POST /v1/webhook',
        'GET /livez',
        'GET /metrics',
        'GET /readyz',
        'GET /v1/dead-letters',
        'GET /v1/dead-letters/{id}',
        'GET /v1/deliveries',
        'GET /v1/deliveries/{id}',
        'GET /v1/people',
        'GET /v1/people/{hash}',
        'GET /v1/receipts/{id}',
        'GET /v1/sources',
        'POST /v1/alias',
        'POST /v1/batch',
        'POST /v1/dead-letters/redrive',
        'POST /v1/dead-letters/{id}/redrive',
        'POST /v1/erasures',
        'POST /v1/erasures/batch',
        'POST /v1/events',
        'POST /v1/events/batch',
        'POST /v1/flush',
        'POST /v1/group',
        'POST /v1/identify',
        'POST /v1/import',
        'POST /v1/lanes/{lane}/pause',
        'POST /v1/lanes/{lane}/resume',
        'POST /v1/page',
        'POST /v1/profiles',
        'POST /v1/profiles/batch',
        'POST /v1/subscriptions',
        'POST /v1/subscriptions/batch',
        'POST /v1/unsubscriptions',
        'POST /v1/unsubscriptions/batch',
        'POST /v1/suppressions',
        'POST /v1/suppressions/batch',
        'POST /v1/unsuppressions',
        'POST /v1/unsuppressions/batch',
        'POST /v1/screen',
        'POST /v1/track',
        'POST /webhooks/generic/{name}',
        'POST /webhooks/shopify',
        'POST /webhooks/stripe',
        'POST /webhooks/woocommerce',
      ].sort(),
    );
  });

  it('describes each response and has no dangling reference', () => {
    expect(file).not.toContain('Default Response');
    const defined = Object.keys(document.components.schemas);
    const referred = [...file.matchAll(/#\/components\/schemas\/(\w+)/g)].map(([, name]) => name);
    expect(new Set(defined)).toEqual(new Set(referred));
  });
});

describe('/docs', () => {
  it('is a page whose scripts and styles are all served by the relay', async () => {
    const server = await startServer();
    const page = await server.call('GET', '/docs');
    expect(page.status).toBe(200);
    expect(page.headers['content-type']).toMatch(/^text\/html/);
    const assets = [...page.text.matchAll(/(?:src|href)="([^"]+)"/g)].map(([, path = '']) => path);
    expect(assets.length).toBeGreaterThan(3);
    for (const asset of assets) {
      const { pathname } = new URL(asset, `${server.url}/docs`);
      expect((await server.call('GET', pathname)).status, asset).toBe(200);
    }
  });

  it('may run only its own scripts, unlike any other response', async () => {
    const server = await startServer();
    const policyOf = async (path: string) =>
      (await server.call('GET', path)).headers['content-security-policy'];
    const policy = await policyOf('/docs');
    expect(policy).toContain("script-src 'self';");
    expect(policy).toContain("frame-ancestors 'none'");
    expect(policy).not.toContain('upgrade-insecure-requests');
    expect(await policyOf('/openapi.json')).not.toContain('script-src');
  });
});

describe('problems', () => {
  it('each have one error status', () => {
    for (const { status } of Object.values(problems)) expect(status).toBeGreaterThanOrEqual(400);
  });
});
