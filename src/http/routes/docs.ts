import helmet from '@fastify/helmet';
import swagger from '@fastify/swagger';
import swaggerUi from '@fastify/swagger-ui';
import type { FastifyInstance } from 'fastify';
import type { SourceRoutes } from '../deps.js';
import { toOpenApiInfo, toDocumentedRoute, toTidyDocument } from '../plugins/openapi.js';

/** Collects the routes for the document. To be awaited before the first route is added. */
export async function documentRoutes(
  app: FastifyInstance,
  sources: readonly Pick<SourceRoutes, 'name' | 'docs'>[],
): Promise<void> {
  await app.register(swagger, {
    openapi: toOpenApiInfo(sources),
    transform: toDocumentedRoute,
    transformObject: toTidyDocument,
  });
}

export const docsPath = '/docs';

/** The documentation pages. They are the only pages for a browser, so only their content security policy allows scripts. */
export async function routeDocs(app: FastifyInstance): Promise<void> {
  await app.register(helmet, {
    // Helmet's default policy also upgrades requests to https, which the relay does not support.
    contentSecurityPolicy: {
      useDefaults: false,
      directives: {
        defaultSrc: ["'none'"],
        baseUri: ["'none'"],
        connectSrc: ["'self'"],
        fontSrc: ["'self'", 'data:'],
        formAction: ["'none'"],
        frameAncestors: ["'none'"],
        imgSrc: ["'self'", 'data:'],
        scriptSrc: ["'self'"],
        // Swagger UI sets style attributes.
        styleSrc: ["'self'", "'unsafe-inline'"],
      },
    },
    strictTransportSecurity: false,
    xFrameOptions: { action: 'deny' },
  });
  await app.register(swaggerUi, {
    routePrefix: docsPath,
    uiConfig: { deepLinking: true },
    theme: { title: 'klaviyo-relay' },
  });
  app.get('/openapi.json', { schema: { hide: true } }, () => app.swagger());
}
