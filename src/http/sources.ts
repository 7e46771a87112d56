import type { FastifyInstance } from 'fastify';
import type { Keyring } from './auth.js';
import type { ServerDeps } from './deps.js';

/** The routes of one source in a scope of their own. Each checks its own kind of key. */
export type RouteSource = (scope: FastifyInstance, deps: ServerDeps, keyring: Keyring) => void;

const sources: readonly RouteSource[] = [];

export function routeSources(app: FastifyInstance, deps: ServerDeps, keyring: Keyring): void {
  for (const route of sources) {
    app.register((scope, _options, done) => {
      route(scope, deps, keyring);
      done();
    });
  }
}
