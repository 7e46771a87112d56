import type { IncomingHttpHeaders } from 'node:http';
import { z } from 'zod';
import { flag, int, keys } from '../../config/setting-rules.js';
import { asObject } from '../json.js';
import { defineWebhookSource } from '../webhook.js';
import type { StripeRules } from './event.js';
import { mapStripeEvent } from './map.js';
import {
  checkStripeHeader,
  verifyStripeSignature,
  type SignatureRules,
  type Verified,
} from './signature.js';

const settings = {
  STRIPE_WEBHOOK_SECRETS: keys.describe(
    'Signing secrets (whsec_…) of webhooks of Stripe, comma-separated (or `STRIPE_WEBHOOK_SECRETS_FILE`, also one a line). Absent: the route answers 404',
  ),
  STRIPE_TOLERANCE_SECONDS: int(1, 86_400, 300).describe('Age of a Stripe signature, at most'),
  STRIPE_REVENUE_SOURCE: z
    .enum(['charge', 'payment_intent', 'checkout', 'invoice'], {
      error: 'must be charge, payment_intent, checkout or invoice',
    })
    .default('charge')
    .describe(
      'The one kind of Stripe object that counts as a payment, since one payment raises events of several',
    ),
  STRIPE_TEST_EVENTS: flag
    .default(false)
    .describe("Whether events of Stripe's test mode are sent on to Klaviyo"),
  STRIPE_CUSTOMER_ID_KEY: z
    .string()
    .optional()
    .describe(
      "Name in a Stripe customer's metadata that holds your id of the customer. Absent: Stripe's own (cus_…)",
    ),
  STRIPE_CLIENT_REFERENCE_ID: flag
    .default(true)
    .describe(
      'Whether client_reference_id of a checkout session is your id of the customer. Turn it off where it names a cart or an order',
    ),
} as const;

/** The source `stripe`: POST /webhooks/stripe. */
export const stripe = defineWebhookSource({
  name: 'stripe',
  settings,
  secrets: ['STRIPE_WEBHOOK_SECRETS'],
  consent: { channels: ['email'] },
  docs: {
    description: 'Webhooks of Stripe. The signature is the key.',
    securitySchemes: {
      stripeSignature: {
        type: 'apiKey',
        in: 'header',
        name: 'Stripe-Signature',
        description: 'Time and HMAC-SHA256 of the body with one of STRIPE_WEBHOOK_SECRETS.',
      },
    },
  },
  sample: {
    recognizes: ({ headers, body }) =>
      headers['stripe-signature'] !== undefined ||
      /^(?:v2\.core\.)?event$/.test(String(asObject(body).object)),
  },
  path: '/webhooks/stripe',
  schema: {
    operationId: 'stripe_webhook',
    summary: 'Accept a webhook of Stripe',
    description:
      'An Event of Stripe, signed with one of STRIPE_WEBHOOK_SECRETS; without any the answer is 404. Events that are not mapped, and those of test mode, are answered 200 and skipped. A list of more than 5,000 members is left out (`too_long`).',
    headers: z.object({
      'stripe-signature': z.string().meta({ examples: ['t=1767268800,v1=5257a869…'] }),
    }),
    body: z
      .looseObject({ id: z.string(), type: z.string(), data: z.looseObject({}) })
      .meta({ id: 'StripeEvent', description: "Stripe's Event object, as Stripe sends it." }),
  },
  signature: ({ settings: current, clock }) => {
    const createSignatureRules = (): SignatureRules => ({
      secrets: current.STRIPE_WEBHOOK_SECRETS,
      toleranceSeconds: current.STRIPE_TOLERANCE_SECONDS,
      now: clock.now(),
    });
    return {
      challenge: 'Stripe-Signature',
      isConfigured: () => current.STRIPE_WEBHOOK_SECRETS.length > 0,
      checkHeaders: ({ headers }) =>
        findFault(checkStripeHeader(findStripeSignature(headers), createSignatureRules())),
      checkBody: ({ headers }, bytes) =>
        findFault(
          verifyStripeSignature(findStripeSignature(headers), bytes, createSignatureRules()),
        ),
    };
  },
  map({ body }, current) {
    const rules: StripeRules = {
      revenueSource: current.STRIPE_REVENUE_SOURCE,
      takesTestEvents: current.STRIPE_TEST_EVENTS,
      customerIdKey: current.STRIPE_CUSTOMER_ID_KEY,
      takesClientReference: current.STRIPE_CLIENT_REFERENCE_ID,
    };
    return { ok: true, post: mapStripeEvent(body, rules) };
  },
});

const findFault = (verified: Verified): string | null => (verified.ok ? null : verified.detail);

function findStripeSignature({
  'stripe-signature': header,
}: IncomingHttpHeaders): string | undefined {
  return typeof header === 'string' ? header : undefined;
}
