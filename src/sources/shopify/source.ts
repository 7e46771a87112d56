import type { IncomingHttpHeaders } from 'node:http';
import type { FastifyInstance } from 'fastify';
import type { ZodTypeProvider } from 'fastify-type-provider-zod';
import { z } from 'zod';
import { mapShopify } from './map.js';
import type { Parsed } from '../../json.js';
import type { AcceptingDeps } from '../../http/deps.js';
import { ProblemError } from '../../http/problems.js';
import { isSignatureForm, isSigned } from './signature.js';
import {
  markCut,
  openWebhooks,
  readWebhook,
  toRawBody,
  toWebhookAnswer,
  webhookAnswers,
} from '../webhook.js';

const schema = {
  tags: ['shopify'],
  operationId: 'accept_shopify_webhook',
  summary: 'Accept a webhook of Shopify',
  description: [
    'Answers once the store has what it comes to; Shopify waits five seconds. `Shopify-…` headers count as `X-Shopify-…`.',
    'orders/create, orders/fulfilled, orders/partially_fulfilled, orders/cancelled, refunds/create and checkouts/create become events, customers/create and customers/update profiles; any other topic is answered 200 and goes no further. What cannot be sent as it stands becomes a dead letter. A list of more than 5,000 members is left out (`too_long`).',
    '404 where SHOPIFY_WEBHOOK_SECRETS is not set.',
  ].join('\n\n'),
  security: [{ shopifySignature: [] }],
  headers: z.object({
    'x-shopify-topic': z.string().meta({ examples: ['orders/create'] }),
    'x-shopify-shop-domain': z.string().meta({ examples: ['ada.myshopify.com'] }),
    'x-shopify-webhook-id': z.string().optional().meta({
      description: 'The same whenever a webhook is repeated: a repeat is not taken again.',
    }),
  }),
  body: z.looseObject({}).meta({ description: "The topic's payload, in any content type." }),
  response: webhookAnswers,
};

const noMatch = 'no secret of SHOPIFY_WEBHOOK_SECRETS made this signature of the body';

/** POST /webhooks/shopify. */
export function routeShopify(scope: FastifyInstance, deps: AcceptingDeps): void {
  const { config } = deps;
  const secrets = (): readonly string[] => config.SHOPIFY_WEBHOOK_SECRETS;
  openWebhooks(scope, deps, {
    secrets,
    checkHeaders({ headers }) {
      const signature = toHeader(headers, 'Hmac-Sha256');
      if (signature === undefined) {
        return toUnauthorized('the header X-Shopify-Hmac-Sha256 is missing');
      }
      return isSignatureForm(signature) ? null : toUnauthorized(noMatch);
    },
    checkBody({ headers }, bytes) {
      const signature = toHeader(headers, 'Hmac-Sha256') ?? '';
      return isSigned(bytes, signature, secrets()) ? null : toUnauthorized(noMatch);
    },
  });
  const routes = scope.withTypeProvider<ZodTypeProvider>();
  routes.post('/webhooks/shopify', { schema }, async (request, reply) => {
    const { headers } = request;
    const { text } = toRawBody(request);
    const read = await readWebhook(text, deps);
    const mapped = mapShopify({
      topic: requireHeader(headers, 'Topic'),
      shop: requireHeader(headers, 'Shop-Domain'),
      delivery: toHeader(headers, 'Webhook-Id'),
      body: toPayload(read.parsed),
      orderValue: config.SHOPIFY_ORDER_VALUE,
    });
    const post = markCut(mapped, read);
    const taken = await deps.acceptSourced(post, { strict: false });
    return reply.code(200).send(toWebhookAnswer(post, taken));
  });
}

/** Faults inside the text are no reason to refuse it: the map reads what it knows and nothing else. */
function toPayload(parsed: Parsed): unknown {
  if (parsed.ok) return parsed.value;
  throw new ProblemError('invalid', `the body ${parsed.fault.detail}`);
}

type Named = 'Hmac-Sha256' | 'Topic' | 'Shop-Domain' | 'Webhook-Id';

/** Deliveries of Shopify's newer kind leave the `X-` out. An empty header counts as absent. */
function toHeader(headers: IncomingHttpHeaders, named: Named): string | undefined {
  const name = `shopify-${named.toLowerCase()}`;
  return [headers[`x-${name}`], headers[name]].find(isText);
}

function isText(value: unknown): value is string {
  return typeof value === 'string' && value !== '';
}

function requireHeader(headers: IncomingHttpHeaders, named: Named): string {
  const value = toHeader(headers, named);
  if (value !== undefined) return value;
  throw new ProblemError('invalid', `the header X-Shopify-${named} is missing`);
}

/** RFC 9110 (11.6.1) wants a challenge with each 401. */
function toUnauthorized(detail: string): ProblemError {
  const headers = { 'www-authenticate': 'Shopify-Hmac-Sha256 realm="klaviyo-relay"' };
  return new ProblemError('unauthorized', detail, { headers });
}
