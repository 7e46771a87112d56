import type { JsonObject } from '../../json.js';
import { asList, asObject, asText, asWhole, compact } from '../json.js';
import {
  readTime,
  toEventEntry,
  type RevenueSource,
  type StripeEvent,
  type ToMade,
} from './event.js';
import { readMoney } from './money.js';
import { readId, toRefs } from './people.js';

/** Klaviyo's own Stripe integration names the metric so (help article 115005082267). */
const successfullyPaid = 'Successfully Paid';

/** What an object says of the money that arrived. `minor` absent: none did. */
type Payment = {
  readonly minor: unknown;
  readonly at?: string | undefined;
  readonly properties: JsonObject;
};

type RevenueTopic = {
  readonly source: RevenueSource;
  readonly toPayment: (event: StripeEvent) => Payment;
};

/** One payment raises all of these; the source that STRIPE_REVENUE_SOURCE names is counted. */
const revenueTopics: ReadonlyMap<string, RevenueTopic> = new Map<string, RevenueTopic>([
  ['charge.succeeded', { source: 'charge', toPayment: toChargePayment }],
  ['charge.captured', { source: 'charge', toPayment: toCapturedPayment }],
  ['payment_intent.succeeded', { source: 'payment_intent', toPayment: toIntentPayment }],
  ['checkout.session.completed', { source: 'checkout', toPayment: toCheckoutPayment }],
  [
    'checkout.session.async_payment_succeeded',
    { source: 'checkout', toPayment: toCheckoutPayment },
  ],
  ['invoice.paid', { source: 'invoice', toPayment: toInvoicePayment }],
]);

export const paymentTopics: ReadonlyMap<string, ToMade> = new Map(
  Array.from(revenueTopics, ([topic, revenue]): [string, ToMade] => [
    topic,
    (event, rules) => {
      if (revenue.source !== rules.revenueSource) return 'other_revenue_source';
      const { minor, at, properties } = revenue.toPayment(event);
      const { object } = event;
      const money = readMoney(minor, object.currency);
      if (money === undefined || money.minor <= 0n) return 'no_amount';
      const facts = {
        name: successfullyPaid,
        insertId: toPaymentId(object),
        at,
        fields: { value: money.amount, currency: money.currency },
        properties,
      };
      return toEventEntry(event, facts, rules);
    },
  ]),
);

/** The same whichever object tells of a payment, so that another STRIPE_REVENUE_SOURCE does not count it anew. */
function toPaymentId(object: JsonObject): string | undefined {
  const { payment, charge, invoice } = toRefs(object);
  return payment ?? charge ?? invoice ?? readId(object.id);
}

/** One that is only authorised succeeds, too: its money arrives with charge.captured, if at all. */
function toChargePayment({ object }: StripeEvent): Payment {
  const captured = object.amount_captured ?? object.amount;
  return {
    minor: object.captured === false ? undefined : captured,
    at: readTime(object.created),
    properties: toChargeProperties(object),
  };
}

function toCapturedPayment({ object }: StripeEvent): Payment {
  const minor = object.amount_captured ?? object.amount;
  return { minor, properties: toChargeProperties(object) };
}

function toChargeProperties(charge: JsonObject): JsonObject {
  return {
    PaymentMethod: asText(asObject(charge.payment_method_details).type),
    ReceiptUrl: asText(charge.receipt_url),
  };
}

/** An intent is made long before it is paid, hence the time of the event. */
function toIntentPayment({ object }: StripeEvent): Payment {
  return { minor: object.amount_received ?? object.amount, properties: {} };
}

function toCheckoutPayment({ object }: StripeEvent): Payment {
  const details = asObject(object.total_details);
  const toAmount = (minor: unknown) => readMoney(minor, object.currency)?.amount;
  return {
    minor: object.payment_status === 'paid' ? object.amount_total : undefined,
    properties: {
      CheckoutSession: readId(object.id),
      Mode: asText(object.mode),
      Subtotal: toAmount(object.amount_subtotal),
      Discount: toAmount(details.amount_discount),
      Shipping: toAmount(details.amount_shipping),
      Tax: toAmount(details.amount_tax),
    },
  };
}

function toInvoicePayment({ object }: StripeEvent): Payment {
  return {
    minor: object.amount_paid,
    at: readTime(asObject(object.status_transitions).paid_at),
    properties: toInvoiceProperties(object),
  };
}

/** What an invoice says whatever happens to it. */
export function toInvoiceProperties(invoice: JsonObject): JsonObject {
  const items = asList(asObject(invoice.lines).data).map((each) => {
    const line = asObject(each);
    const quantity = asWhole(line.quantity);
    return compact({
      Description: asText(line.description),
      Quantity: quantity === undefined ? undefined : line.quantity,
      Amount: readMoney(line.amount, line.currency ?? invoice.currency)?.amount,
    });
  });
  return {
    Number: asText(invoice.number),
    BillingReason: asText(invoice.billing_reason),
    HostedInvoiceUrl: asText(invoice.hosted_invoice_url),
    Items: items.length === 0 ? undefined : items,
  };
}
