import { z } from 'zod';
import { mappingFile } from './sources/mapping/file.js';
import { int, keys } from './setting-rules.js';

const flag = z.stringbool({ error: 'must be true or false' });

/** Variables of the sources whose own formats the relay reads; a part of config.ts. */
export const sourceSettings = {
  SEGMENT_PAGE_EVENTS: flag
    .default(true)
    .describe('Whether page and screen calls of Segment and RudderStack SDKs become events'),
  SEGMENT_REMEMBER_USERS: flag
    .default(true)
    .describe(
      'Whether the e-mail address and phone number of an identify call complete later calls with the same userId',
    ),
  SHOPIFY_WEBHOOK_SECRETS: keys.describe(
    'Secrets that sign webhooks of Shopify, comma-separated (or `SHOPIFY_WEBHOOK_SECRETS_FILE`, also one a line); several allow rotation. Absent: the route answers 404',
  ),
  SHOPIFY_ORDER_VALUE: z
    .enum(['total', 'subtotal_and_shipping'], { error: 'must be total or subtotal_and_shipping' })
    .default('total')
    .describe(
      "Value of an order: Shopify's total with tax, or what Klaviyo's own integration counts: subtotal after discounts, and shipping",
    ),
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
  MAPPING_FILE: mappingFile
    .optional()
    .describe(
      'JSON or YAML file that renames metrics, picks properties and turns topics off; `klaviyo-relay check` explains it',
    ),
} as const;
