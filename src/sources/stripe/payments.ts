import type { JsonObject } from '../../json/json.js';
import { asList, asObject, asText, asBigInt, compact } from '../json.js';
import { addCapture, withChargeLedger } from './charge-ledger.js';
import {
  readUnixTime,
  skipEvent,
  createStripeEntry,
  type TopicResult,
  type RevenueSource,
  type StripeEntry,
  type StripeEvent,
  type StripeRules,
  type TopicMap,
} from './event.js';
import {
  readStripeValue,
  readStripeAmount,
  createStripeAmount,
  type StripeValue,
} from './money.js';
import { readStripeId, readReferences } from './people.js';

/** The metric of Klaviyo's own Stripe integration (help article 115005082267). */
const successfullyPaid = 'Successfully Paid';

/** A payment as one kind of object reports it. */
type Payment = {
  readonly counted: StripeValue;
  /** Absent: the id of the payment. */
  readonly insertId?: string | undefined;
  readonly at?: string | undefined;
  readonly properties: JsonObject;
};

type RevenueTopic = {
  readonly source: RevenueSource;
  readonly toPayment: (event: StripeEvent) => Payment;
};

/** One payment raises all of these topics. Only the kind of object in STRIPE_REVENUE_SOURCE is counted. */
const revenueTopics: ReadonlyMap<string, RevenueTopic> = new Map<string, RevenueTopic>([
  ['charge.succeeded', { source: 'charge', toPayment: readChargePayment }],
  ['payment_intent.succeeded', { source: 'payment_intent', toPayment: readIntentPayment }],
  ['checkout.session.completed', { source: 'checkout', toPayment: readCheckoutPayment }],
  [
    'checkout.session.async_payment_succeeded',
    { source: 'checkout', toPayment: readCheckoutPayment },
  ],
  ['invoice.paid', { source: 'invoice', toPayment: readInvoicePayment }],
]);

export const paymentTopics: ReadonlyMap<string, TopicMap> = new Map<string, TopicMap>([
  ...Array.from(revenueTopics, ([topic, revenue]): [string, TopicMap] => [
    topic,
    (event, rules) => {
      if (isOnlyAuthorized(event.object)) return mapAuthorization(event, rules);
      if (revenue.source !== rules.revenueSource) return skipEvent('other_revenue_source');
      const payment = revenue.toPayment(event);
      if (payment.counted.kind === 'none') return skipEvent('no_amount');
      return { kind: 'entry', entry: createPaymentEntry(event, payment, rules) };
    },
  ]),
  ['charge.captured', mapCapture],
  ['charge.updated', mapUpdatedCharge],
]);

function createPaymentEntry(event: StripeEvent, payment: Payment, rules: StripeRules): StripeEntry {
  const insertId = payment.insertId ?? findPaymentId(event.object);
  return createStripeEntry(event, { ...payment, name: successfullyPaid, insertId }, rules);
}

/** The same id for every object of a payment, so that a change of STRIPE_REVENUE_SOURCE does not count it again. */
function findPaymentId(object: JsonObject): string | undefined {
  const { payment, charge, invoice } = readReferences(object);
  return payment ?? charge ?? invoice ?? readStripeId(object.id);
}

/** Returns true if the charge is only authorized. charge.succeeded reports it, but money arrives with a capture. */
function isOnlyAuthorized({ object, captured }: JsonObject): boolean {
  return object === 'charge' && captured === false;
}

/** Notes the authorization in the ledger, because a refund of an authorization returns no money. */
function mapAuthorization(event: StripeEvent, { revenueSource }: StripeRules): TopicResult {
  const reason = revenueSource === 'charge' ? 'no_amount' : 'other_revenue_source';
  return withChargeLedger(event, (ledger) => {
    const isNew = ledger.captures.length === 0 && ledger.refunds.length === 0;
    return { ledger: isNew ? { ...ledger, isOpen: true } : ledger, entries: [], reasons: [reason] };
  });
}

/** Maps a capture. A charge can be captured in parts: Stripe gives the sum so far, and mostly the sum before. */
function mapCapture(event: StripeEvent, rules: StripeRules): TopicResult {
  const { id, object, previous } = event;
  const properties = describeCharge(object);
  const isCharge = rules.revenueSource === 'charge';
  const counted = readChargeAmount(object);
  if (counted.kind === 'none') return skipEvent('no_amount');
  if (counted.kind === 'unreadable') {
    if (!isCharge) return skipEvent('other_revenue_source');
    const insertId = id === undefined ? undefined : `${findPaymentId(object) ?? ''}:${id}`;
    return {
      kind: 'entry',
      entry: createPaymentEntry(event, { counted, properties, insertId }, rules),
    };
  }
  const { minor: sum, currency } = counted.money;
  const report = { by: id ?? `${sum}`, sum, before: asBigInt(previous.amount_captured) };
  return withChargeLedger(event, (before) => {
    const { ledger, counted: parts } = addCapture(before, report);
    if (!isCharge) return { ledger, entries: [], reasons: ['other_revenue_source'] };
    const entries = parts.map(({ from, to }) => {
      const money = createStripeAmount(to - from, currency);
      const paymentId = findPaymentId(object);
      const insertId = from === 0n ? paymentId : `${paymentId}:${to}`;
      return createPaymentEntry(
        event,
        { counted: { kind: 'read', money }, insertId, properties },
        rules,
      );
    });
    return { ledger, entries, reasons: ['already_counted'] };
  });
}

/** Maps charge.updated, which Stripe raises for each capture and for many other changes. */
function mapUpdatedCharge(event: StripeEvent, rules: StripeRules): TopicResult {
  const { object, previous } = event;
  const before = asBigInt(previous.amount_captured);
  const sum = asBigInt(object.amount_captured);
  const isCapture = before !== undefined && sum !== undefined && sum > before;
  return isCapture ? mapCapture(event, rules) : skipEvent('unmapped');
}

function readChargePayment({ object }: StripeEvent): Payment {
  return {
    counted: readChargeAmount(object),
    at: readUnixTime(object.created),
    properties: describeCharge(object),
  };
}

/** Older events have `amount` alone. */
function readChargeAmount(charge: JsonObject): StripeValue {
  const captured = charge.amount_captured ?? undefined;
  return readStripeValue(charge, captured === undefined ? 'amount' : 'amount_captured');
}

function describeCharge(charge: JsonObject): JsonObject {
  return {
    PaymentMethod: asText(asObject(charge.payment_method_details).type),
    ReceiptUrl: asText(charge.receipt_url),
  };
}

/** Reads a payment intent. It has no `at`, because an intent is created long before it is paid. */
function readIntentPayment({ object }: StripeEvent): Payment {
  const received = object.amount_received ?? undefined;
  const field = received === undefined ? 'amount' : 'amount_received';
  return { counted: readStripeValue(object, field), properties: {} };
}

function readCheckoutPayment({ object }: StripeEvent): Payment {
  const details = asObject(object.total_details);
  const toAmount = (minor: unknown) => readStripeAmount(minor, object.currency)?.amount;
  const isPaid = object.payment_status === 'paid';
  return {
    counted: isPaid ? readStripeValue(object, 'amount_total') : { kind: 'none' },
    properties: {
      CheckoutSession: readStripeId(object.id),
      Mode: asText(object.mode),
      Subtotal: toAmount(object.amount_subtotal),
      Discount: toAmount(details.amount_discount),
      Shipping: toAmount(details.amount_shipping),
      Tax: toAmount(details.amount_tax),
    },
  };
}

function readInvoicePayment({ object }: StripeEvent): Payment {
  return {
    counted: readStripeValue(object, 'amount_paid'),
    at: readUnixTime(asObject(object.status_transitions).paid_at),
    properties: {
      ...describeInvoice(object),
      PaidOutOfBand: object.paid_out_of_band === true ? true : undefined,
    },
  };
}

/** Properties that all events of an invoice share. */
export function describeInvoice(invoice: JsonObject): JsonObject {
  const items = asList(asObject(invoice.lines).data).map((each) => {
    const line = asObject(each);
    const quantity = asBigInt(line.quantity);
    return compact({
      Description: asText(line.description),
      Quantity: quantity === undefined ? undefined : line.quantity,
      Amount: readStripeAmount(line.amount, line.currency ?? invoice.currency)?.amount,
    });
  });
  return {
    Number: asText(invoice.number),
    BillingReason: asText(invoice.billing_reason),
    HostedInvoiceUrl: asText(invoice.hosted_invoice_url),
    Items: items.length === 0 ? undefined : items,
  };
}
