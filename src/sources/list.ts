import type { FastifyInstance } from 'fastify';
import type { Keyring } from '../http/auth.js';
import type { AcceptingDeps } from '../http/deps.js';
import { routeSegment } from './segment/routes.js';
import { routeShopify } from './shopify/source.js';
import { routeStripe } from './stripe/source.js';

/** The routes of one source in a scope of their own. Each checks its own kind of key. */
export type RouteSource = (
  scope: FastifyInstance,
  deps: AcceptingDeps,
  keyring: Keyring,
) => void | Promise<void>;

const sources: readonly RouteSource[] = [routeSegment, routeShopify, routeStripe];

export function routeSources(app: FastifyInstance, deps: AcceptingDeps, keyring: Keyring): void {
  for (const route of sources) {
    app.register(async (scope) => {
      await route(scope, deps, keyring);
    });
  }
}
