import type { FastifyInstance } from 'fastify';
import { ProblemError } from './problems.js';

const allMethods = ['GET', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS'];

/**
 * Responds 405 with an Allow header to a wrong method at a known address (RFC 9110, 15.5.6). To be called
 * before the routes are added; the returned function is to be called after. It also rejects CORS preflight
 * requests, because no origin is allowed, unless the address has an OPTIONS route.
 */
export function rejectOtherMethods(app: FastifyInstance): () => void {
  const allowed = new Map<string, Set<string>>();
  app.addHook('onRoute', ({ url, method, schema }) => {
    if (schema?.hide === true && method !== 'OPTIONS') return;
    const methods = allowed.get(url) ?? new Set<string>();
    for (const name of [method].flat()) methods.add(name);
    allowed.set(url, methods);
  });
  return () => {
    for (const [url, methods] of allowed) {
      const allow = [...methods].sort().join(', ');
      app.route({
        url,
        method: allMethods.filter((method) => !methods.has(method)),
        schema: { hide: true },
        onRequest: (_request, _reply, done) => {
          const headers = { allow };
          done(
            new ProblemError('method-not-allowed', `this address accepts ${allow}`, { headers }),
          );
        },
        handler: () => null,
      });
    }
  };
}
