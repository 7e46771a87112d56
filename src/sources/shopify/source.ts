import type { IncomingHttpHeaders } from 'node:http';
import { z } from 'zod';
import { keys } from '../../config/setting-rules.js';
import { asObject, asText } from '../json.js';
import { isSigned, type HmacForm } from '../hmac.js';
import { defineWebhookSource } from '../webhook.js';
import { mapShopifyWebhook } from './map.js';

const settings = {
  SHOPIFY_WEBHOOK_SECRETS: keys.describe(
    'Secrets that sign webhooks of Shopify, comma-separated (or `SHOPIFY_WEBHOOK_SECRETS_FILE`, also one a line); several allow rotation. Absent: the route answers 404',
  ),
  SHOPIFY_ORDER_VALUE: z
    .enum(['total', 'subtotal_and_shipping'], { error: 'must be total or subtotal_and_shipping' })
    .default('total')
    .describe(
      "Value of an order: Shopify's total with tax, or what Klaviyo's own integration counts: subtotal and shipping, both after discounts",
    ),
  SHOPIFY_PENDING_REFUNDS: z
    .enum(['wait', 'count'], { error: 'must be wait or count' })
    .default('wait')
    .describe(
      'A refund whose payment is pending: recorded when an `orders/updated` webhook says that it succeeded, or counted at once, for shops that do not send that topic',
    ),
} as const;

/** The source `shopify`: POST /webhooks/shopify. */
export const shopify = defineWebhookSource({
  name: 'shopify',
  settings,
  secrets: ['SHOPIFY_WEBHOOK_SECRETS'],
  consent: { channels: ['email', 'sms'] },
  docs: {
    description: 'Webhooks of Shopify. The signature is the key.',
    securitySchemes: {
      shopifySignature: {
        type: 'apiKey',
        in: 'header',
        name: 'X-Shopify-Hmac-Sha256',
        description: 'Base64 of the HMAC-SHA256 of the body with one of SHOPIFY_WEBHOOK_SECRETS.',
      },
    },
  },
  sample: {
    recognizes: ({ headers, body }) =>
      findShopifyHeader(headers, 'Topic') !== undefined ||
      asText(asObject(body).admin_graphql_api_id)?.startsWith('gid://shopify/') === true,
    topicHeader: 'x-shopify-topic',
    headers: { 'x-shopify-shop-domain': 'sample.myshopify.com' },
  },
  path: '/webhooks/shopify',
  schema: {
    operationId: 'accept_shopify_webhook',
    summary: 'Accept a webhook of Shopify',
    description: [
      'Answers once the store has what it becomes; Shopify waits five seconds. `Shopify-…` headers count as `X-Shopify-…`.',
      'orders/create, orders/fulfilled, orders/partially_fulfilled, orders/cancelled, refunds/create, the refunds in orders/updated, fulfillments/create, fulfillments/update, fulfillment_events/create, checkouts/create and checkouts/update become events, customers/create and customers/update profiles. Their consents, and those of customers_email_marketing_consent/update and customers_marketing_consent/update, become subscriptions and unsubscriptions if MAPPING_FILE turns this on. Any other topic is answered 200 and skipped. What cannot be sent as it stands becomes a dead letter. A list of more than 5,000 members is left out (`too_long`).',
      '404 where SHOPIFY_WEBHOOK_SECRETS is not set.',
    ].join('\n\n'),
    headers: z.object({
      'x-shopify-topic': z.string().meta({ examples: ['orders/create'] }),
      'x-shopify-shop-domain': z.string().meta({ examples: ['ada.myshopify.com'] }),
      'x-shopify-webhook-id': z.string().optional().meta({
        description: 'The same whenever a webhook is repeated: a repeat is not taken again.',
      }),
    }),
    body: z.looseObject({}).meta({ description: "The topic's payload, in any content type." }),
  },
  signature: ({ settings: current }) => {
    const secrets = (): readonly string[] => current.SHOPIFY_WEBHOOK_SECRETS;
    return {
      challenge: 'Shopify-Hmac-Sha256 realm="klaviyo-relay"',
      isConfigured: () => secrets().length > 0,
      checkHeaders({ headers }) {
        const signature = findShopifyHeader(headers, 'Hmac-Sha256');
        if (signature === undefined) return 'the header X-Shopify-Hmac-Sha256 is missing';
        return signaturePattern.test(signature) ? null : noMatch;
      },
      checkBody({ headers }, bytes) {
        const signature = findShopifyHeader(headers, 'Hmac-Sha256') ?? '';
        const signed = { signatures: [signature], secrets: secrets(), content: [bytes] };
        return isSigned(signed, hmac) ? null : noMatch;
      },
    };
  },
  map({ headers, body }, current) {
    const topic = findShopifyHeader(headers, 'Topic');
    if (topic === undefined) return reportMissingHeader('Topic');
    const shop = findShopifyHeader(headers, 'Shop-Domain');
    if (shop === undefined) return reportMissingHeader('Shop-Domain');
    const delivery = findShopifyHeader(headers, 'Webhook-Id');
    const orderValue = current.SHOPIFY_ORDER_VALUE;
    const pendingRefunds = current.SHOPIFY_PENDING_REFUNDS;
    const post = mapShopifyWebhook({ topic, shop, delivery, body, orderValue, pendingRefunds });
    return { ok: true, post };
  },
});

const hmac: HmacForm = { algorithm: 'sha256', encoding: 'base64' };
/** Base64 of 32 bytes, as Shopify writes it. Any other text is rejected before the body is read. */
const signaturePattern = /^[A-Za-z0-9+/]{43}=$/;
const noMatch = 'no secret of SHOPIFY_WEBHOOK_SECRETS made this signature of the body';

type ShopifyHeader = 'Hmac-Sha256' | 'Topic' | 'Shop-Domain' | 'Webhook-Id';

/** Newer webhooks of Shopify omit the `X-`. An empty header counts as absent. */
function findShopifyHeader(headers: IncomingHttpHeaders, named: ShopifyHeader): string | undefined {
  const name = `shopify-${named.toLowerCase()}`;
  return [headers[`x-${name}`], headers[name]].find(
    (value): value is string => typeof value === 'string' && value !== '',
  );
}

function reportMissingHeader(named: ShopifyHeader) {
  const detail = `the header X-Shopify-${named} is missing`;
  return { ok: false as const, errors: [{ pointer: '', detail }] };
}
