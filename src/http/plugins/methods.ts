import type { FastifyInstance } from 'fastify';
import { ProblemError } from './problems.js';

const known = ['GET', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS'];

/**
 * Answers a known address with a wrong method by 405 and Allow (RFC 9110, 15.5.6). Call it before the
 * routes are made; the function it returns, after. A CORS preflight ends here, as no origin is allowed,
 * unless the address has a route of its own for it.
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
        method: known.filter((method) => !methods.has(method)),
        schema: { hide: true },
        onRequest: (_request, _reply, done) => {
          const headers = { allow };
          done(new ProblemError('method-not-allowed', `this address takes ${allow}`, { headers }));
        },
        handler: () => null,
      });
    }
  };
}
