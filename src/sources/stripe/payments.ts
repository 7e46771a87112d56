import type { JsonObject } from '../../json/json.js';
import { asList, asObject, asText, asWhole, compact } from '../json.js';
import { addCapture, parseLedger, stringifyLedger } from './charge-ledger.js';
import {
  readTime,
  skip,
  toEventEntry,
  toResolved,
  type Made,
  type RevenueSource,
  type StripeEntry,
  type StripeEvent,
  type StripeRules,
  type ToMade,
} from './event.js';
import { readCounted, readMoney, toMoney, type CountedMoney } from './money.js';
import { readId, toLedgerKey, toRefs } from './people.js';

/** Klaviyo's own Stripe integration names the metric so (help article 115005082267). */
const successfullyPaid = 'Successfully Paid';

/** What an object says of the money that arrived. */
type Payment = {
  readonly counted: CountedMoney;
  /** Absent: the payment's. */
  readonly insertId?: string | undefined;
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
  ['payment_intent.succeeded', { source: 'payment_intent', toPayment: toIntentPayment }],
  ['checkout.session.completed', { source: 'checkout', toPayment: toCheckoutPayment }],
  [
    'checkout.session.async_payment_succeeded',
    { source: 'checkout', toPayment: toCheckoutPayment },
  ],
  ['invoice.paid', { source: 'invoice', toPayment: toInvoicePayment }],
]);

export const paymentTopics: ReadonlyMap<string, ToMade> = new Map<string, ToMade>([
  ...Array.from(revenueTopics, ([topic, revenue]): [string, ToMade] => [
    topic,
    (event, rules) => {
      if (isAuthorised(event.object)) return toAuthorised(event, rules);
      if (revenue.source !== rules.revenueSource) return skip('other_revenue_source');
      const payment = revenue.toPayment(event);
      if (payment.counted.kind === 'none') return skip('no_amount');
      return { kind: 'entry', entry: toPaid(event, payment, rules) };
    },
  ]),
  ['charge.captured', toCaptured],
  ['charge.updated', toUpdated],
]);

function toPaid(event: StripeEvent, payment: Payment, rules: StripeRules): StripeEntry {
  const insertId = payment.insertId ?? toPaymentId(event.object);
  return toEventEntry(event, { ...payment, name: successfullyPaid, insertId }, rules);
}

/** The same whichever object tells of a payment, so that another STRIPE_REVENUE_SOURCE does not count it anew. */
function toPaymentId(object: JsonObject): string | undefined {
  const { payment, charge, invoice } = toRefs(object);
  return payment ?? charge ?? invoice ?? readId(object.id);
}

/** A charge that is only authorised succeeds, too: its money arrives with a capture, if at all. */
function isAuthorised({ object, captured }: JsonObject): boolean {
  return object === 'charge' && captured === false;
}

/** Remembers it: a refund of an authorisation gives nothing back. */
function toAuthorised(event: StripeEvent, { revenueSource }: StripeRules): Made {
  const reason = revenueSource === 'charge' ? 'no_amount' : 'other_revenue_source';
  return {
    kind: 'ledger',
    ledger: {
      kind: 'charge',
      key: toLedgerKey(event),
      resolve: (kept) => {
        const ledger = parseLedger(kept);
        const isNew = ledger.captures.length === 0 && ledger.refunds.length === 0;
        const changed = isNew ? stringifyLedger({ ...ledger, isOpen: true }) : kept;
        return { ...toResolved([], [reason]), kept: changed };
      },
    },
  };
}

/** A charge can be captured in parts. Stripe gives the sum so far, and mostly the sum before. */
function toCaptured(event: StripeEvent, rules: StripeRules): Made {
  const { id, object, previous } = event;
  const properties = toChargeProperties(object);
  const isCharge = rules.revenueSource === 'charge';
  const counted = readChargeAmount(object);
  if (counted.kind === 'none') return skip('no_amount');
  if (counted.kind === 'unreadable') {
    if (!isCharge) return skip('other_revenue_source');
    const insertId = id === undefined ? undefined : `${toPaymentId(object) ?? ''}:${id}`;
    return { kind: 'entry', entry: toPaid(event, { counted, properties, insertId }, rules) };
  }
  const { minor: sum, currency } = counted.money;
  const report = { by: id ?? `${sum}`, sum, before: asWhole(previous.amount_captured) };
  return {
    kind: 'ledger',
    ledger: {
      kind: 'charge',
      key: toLedgerKey(event),
      resolve: (kept) => {
        const { ledger, counted: parts } = addCapture(parseLedger(kept), report);
        const entries = parts.map(({ from, to }) => {
          const money = toMoney(to - from, currency);
          const paymentId = toPaymentId(object);
          const insertId = from === 0n ? paymentId : `${paymentId}:${to}`;
          const payment: Payment = { counted: { kind: 'read', money }, insertId, properties };
          return toPaid(event, payment, rules);
        });
        const reason = isCharge ? 'already_counted' : 'other_revenue_source';
        return { ...toResolved(isCharge ? entries : [], [reason]), kept: stringifyLedger(ledger) };
      },
    },
  };
}

/** Raised for each capture, and for much else. */
function toUpdated(event: StripeEvent, rules: StripeRules): Made {
  const { object, previous } = event;
  const before = asWhole(previous.amount_captured);
  const sum = asWhole(object.amount_captured);
  const isCapture = before !== undefined && sum !== undefined && sum > before;
  return isCapture ? toCaptured(event, rules) : skip('unmapped');
}

function toChargePayment({ object }: StripeEvent): Payment {
  return {
    counted: readChargeAmount(object),
    at: readTime(object.created),
    properties: toChargeProperties(object),
  };
}

/** Older events have the amount alone. */
function readChargeAmount(charge: JsonObject): CountedMoney {
  const captured = charge.amount_captured ?? undefined;
  return readCounted(charge, captured === undefined ? 'amount' : 'amount_captured');
}

function toChargeProperties(charge: JsonObject): JsonObject {
  return {
    PaymentMethod: asText(asObject(charge.payment_method_details).type),
    ReceiptUrl: asText(charge.receipt_url),
  };
}

/** An intent is made long before it is paid, hence the time of the event. */
function toIntentPayment({ object }: StripeEvent): Payment {
  const received = object.amount_received ?? undefined;
  const field = received === undefined ? 'amount' : 'amount_received';
  return { counted: readCounted(object, field), properties: {} };
}

function toCheckoutPayment({ object }: StripeEvent): Payment {
  const details = asObject(object.total_details);
  const toAmount = (minor: unknown) => readMoney(minor, object.currency)?.amount;
  const isPaid = object.payment_status === 'paid';
  return {
    counted: isPaid ? readCounted(object, 'amount_total') : { kind: 'none' },
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
    counted: readCounted(object, 'amount_paid'),
    at: readTime(asObject(object.status_transitions).paid_at),
    properties: {
      ...toInvoiceProperties(object),
      PaidOutOfBand: object.paid_out_of_band === true ? true : undefined,
    },
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
