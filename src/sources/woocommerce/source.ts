import type { IncomingHttpHeaders } from 'node:http';
import { z } from 'zod';
import { isSignatureForm, isSigned, type HmacForm } from '../hmac.js';
import { defineWebhookSource } from '../webhook.js';
import { mapWooWebhook } from './map.js';
import type { WooRules } from './payload.js';

const minSecretChars = 8;

/**
 * One secret a line, or several separated by commas. Secrets of WooCommerce may contain commas, so a line
 * whose parts are all long enough counts both as one secret and as a list.
 */
const secrets = z
  .string()
  .default('')
  .transform((text) =>
    text
      .split('\n')
      .map((line) => line.trim())
      .filter((line) => line !== '')
      .flatMap((line) => {
        const parts = line.split(',').map((part) => part.trim());
        const isList = parts.length > 1 && parts.every((part) => part.length >= minSecretChars);
        return isList ? [line, ...parts] : [line];
      }),
  )
  .refine(
    (list) => list.every((secret) => secret.length >= minSecretChars),
    `each secret must have at least ${minSecretChars} characters`,
  );

const names = z
  .string()
  .default('')
  .transform((text) =>
    text
      .split(',')
      .map((name) => name.trim())
      .filter((name) => name !== ''),
  );

const settings = {
  WOOCOMMERCE_WEBHOOK_SECRETS: secrets.describe(
    'Secrets of webhooks of WooCommerce, one a line or comma-separated (or `WOOCOMMERCE_WEBHOOK_SECRETS_FILE`); several allow rotation. Absent: the route answers 404',
  ),
  WOOCOMMERCE_ORDER_VALUE: z
    .enum(['total', 'subtotal_and_shipping'], { error: 'must be total or subtotal_and_shipping' })
    .default('total')
    .describe(
      "Value of an order: WooCommerce's total with tax, or subtotal after discounts and shipping, without tax and fees",
    ),
  WOOCOMMERCE_CUSTOMER_ID: z
    .enum(['property', 'external_id'], { error: 'must be property or external_id' })
    .default('property')
    .describe(
      "What the id of a customer's account becomes. WordPress counts accounts from 1 in each shop: `external_id` only where one shop is connected and no other system has ids of its own",
    ),
  WOOCOMMERCE_CUSTOMER_META: names.describe(
    "Keys of a customer's meta data that become properties of the profile, comma-separated",
  ),
} as const;

const hmac: HmacForm = { algorithm: 'sha256', encoding: 'base64' };

/** The source `woocommerce`: POST /webhooks/woocommerce. */
export const woocommerce = defineWebhookSource({
  name: 'woocommerce',
  settings,
  secrets: ['WOOCOMMERCE_WEBHOOK_SECRETS'],
  docs: {
    description: 'Webhooks of WooCommerce. The signature is the key.',
    securitySchemes: {
      woocommerceSignature: {
        type: 'apiKey',
        in: 'header',
        name: 'X-WC-Webhook-Signature',
        description:
          'Base64 of the HMAC-SHA256 of the body with one of WOOCOMMERCE_WEBHOOK_SECRETS.',
      },
    },
  },
  sample: {
    recognizes: ({ headers }) => findWooHeader(headers, 'topic') !== undefined,
    topicHeader: 'x-wc-webhook-topic',
  },
  path: '/webhooks/woocommerce',
  schema: {
    operationId: 'accept_woocommerce_webhook',
    summary: 'Accept a webhook of WooCommerce',
    description: [
      'Answers once the store has what it becomes. WooCommerce disables a webhook after six failures in a row, so all that is authentic is answered 200.',
      'order.created, order.updated and order.restored become events by the state of the order, customer.created and customer.updated profiles; any other topic is skipped. The ping of a new webhook, `webhook_id=…`, is not signed, and is answered 200.',
      '404 where WOOCOMMERCE_WEBHOOK_SECRETS is not set.',
    ].join('\n\n'),
    headers: z.object({
      'x-wc-webhook-topic': z.string().meta({ examples: ['order.updated'] }),
      'x-wc-webhook-source': z
        .string()
        .optional()
        .meta({ examples: ['https://shop.example.com/'] }),
    }),
    body: z.looseObject({}).meta({ description: "The topic's payload, in any content type." }),
  },
  signature: ({ settings: current }) => ({
    challenge: 'X-WC-Webhook-Signature realm="klaviyo-relay"',
    isConfigured: () => current.WOOCOMMERCE_WEBHOOK_SECRETS.length > 0,
    checkHeaders({ headers }) {
      const signature = findWooHeader(headers, 'signature');
      if (signature === undefined) return mayBePing(headers) ? null : noSignature;
      return isSignatureForm(signature, hmac) ? null : noMatch;
    },
    checkBody({ headers }, bytes) {
      const signature = findWooHeader(headers, 'signature');
      if (signature === undefined) return isPing(bytes.toString('latin1')) ? null : noSignature;
      const signed = {
        signatures: [signature],
        secrets: current.WOOCOMMERCE_WEBHOOK_SECRETS,
        content: [bytes],
      };
      return isSigned(signed, hmac) ? null : noMatch;
    },
  }),
  findSkipReason(text) {
    if (isPing(text)) return 'ping';
    // PHP sends an empty body for an object that it cannot encode as JSON.
    return text.trim() === '' ? 'no_payload' : null;
  },
  map({ headers, body }, current) {
    const topic = findWooHeader(headers, 'topic');
    if (topic === undefined) {
      const detail = 'the header X-WC-Webhook-Topic is missing';
      return { ok: false, errors: [{ pointer: '', detail }] };
    }
    const rules: WooRules = {
      orderValue: current.WOOCOMMERCE_ORDER_VALUE,
      hasCustomerIds: current.WOOCOMMERCE_CUSTOMER_ID === 'external_id',
      customerMeta: current.WOOCOMMERCE_CUSTOMER_META,
    };
    return {
      ok: true,
      post: mapWooWebhook({ topic, shopUrl: findWooHeader(headers, 'source'), body, rules }),
    };
  },
});

const noSignature = 'the header X-WC-Webhook-Signature is missing';
const noMatch = 'no secret of WOOCOMMERCE_WEBHOOK_SECRETS made this signature of the body';

/** Returns true for the unsigned form with which WooCommerce tests the URL of a new webhook. */
const isPing = (text: string): boolean => /^webhook_id=\d{1,20}\s*$/.test(text);

const pingMaxBytes = 40;

function mayBePing(headers: IncomingHttpHeaders): boolean {
  const isForm = headers['content-type']?.startsWith('application/x-www-form-urlencoded') === true;
  return isForm && Number(headers['content-length']) <= pingMaxBytes;
}

/** An empty header counts as absent. */
function findWooHeader(
  headers: IncomingHttpHeaders,
  name: 'signature' | 'topic' | 'source',
): string | undefined {
  const value = headers[`x-wc-webhook-${name}`];
  return typeof value === 'string' && value !== '' ? value : undefined;
}
