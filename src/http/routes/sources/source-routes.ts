import type { FastifyInstance } from 'fastify';
import { sources, type AllSourceValues, type SourceName } from '../../../sources/list.js';
import type { AcceptingDeps, SourceRoutes } from '../../deps.js';
import { routeSegment } from './segment.js';
import { routeWebhook } from './webhook.js';

type WebhookSourceName = Extract<(typeof sources)[number], { readonly webhook: unknown }>['name'];

/** The routes of the sources that are not webhooks, by the name of the source. */
const ownRoutes: Readonly<
  Record<
    Exclude<SourceName, WebhookSourceName>,
    (scope: FastifyInstance, deps: AcceptingDeps, settings: AllSourceValues) => Promise<void>
  >
> = { segment: routeSegment };

/** Creates the routes of all sources for the server. The routes read `settings` at each use. */
export function createSourceRoutes(settings: AllSourceValues): readonly SourceRoutes[] {
  return sources.map((source) => ({
    name: source.name,
    docs: source.docs,
    ...('rewriteUrl' in source && { rewriteUrl: source.rewriteUrl }),
    add(scope, deps) {
      if (!('webhook' in source)) return ownRoutes[source.name](scope, deps, settings);
      const { name, docs } = source;
      const webhook = source.webhook({ settings, clock: deps.clock });
      routeWebhook(scope, deps, { name, docs, webhook });
      return undefined;
    },
  }));
}
