import type { JsonObject } from '../../json/json.js';
import { asBigInt, asObject, asText } from '../json.js';
import {
  createStripeEntry,
  readUnixTime,
  skipEvent,
  type StripeEvent,
  type StripeRules,
  type TopicMap,
  type TopicResult,
} from './event.js';
import { readStripeAmount } from './money.js';
import { describeInvoice } from './payments.js';
import { identifyStripePerson, readReferences, readStripeId } from './people.js';

/**
 * Maps topics that report no income: failed payments, expired checkouts and issued invoices. Metrics and
 * properties have the names of Klaviyo's own Stripe integration (help article 115005082267), if it has
 * them.
 */
export const otherTopics: ReadonlyMap<string, TopicMap> = new Map<string, TopicMap>([
  ['charge.failed', mapFailedCharge],
  ['invoice.payment_failed', mapFailedInvoice],
  ['checkout.session.expired', mapExpiredCheckout],
  ['invoice.finalized', mapIssuedInvoice],
  // invoice.paid reports the same, and also invoices that were paid outside Stripe.
  ['invoice.payment_succeeded', () => skipEvent('other_revenue_source')],
]);

const failedPayment = 'Failed Payment';

/** The amount as a property and not as `value`, which revenue reports add up: nothing was earned. */
function describeAmount(minor: unknown, currency: unknown): JsonObject {
  return {
    Amount: readStripeAmount(minor, currency)?.amount,
    Currency: asText(currency)?.toUpperCase(),
  };
}

function mapFailedCharge(event: StripeEvent, rules: StripeRules): TopicResult {
  const { object } = event;
  const facts = {
    name: failedPayment,
    // The id of the charge and not of the payment, because each attempt is a charge.
    insertId: readStripeId(object.id),
    at: readUnixTime(object.created),
    properties: {
      ...describeAmount(object.amount, object.currency),
      Reason:
        asText(object.failure_message) ??
        asText(asObject(object.outcome).seller_message) ??
        asText(object.failure_code),
    },
  };
  return { kind: 'entry', entry: createStripeEntry(event, facts, rules) };
}

function mapFailedInvoice(event: StripeEvent, rules: StripeRules): TopicResult {
  const { object } = event;
  const { charge, invoice } = readReferences(object);
  const attempts = asBigInt(object.attempt_count);
  const attempt = invoice === undefined ? undefined : `${invoice}:${attempts ?? ''}`;
  const intent = asObject(object.payment_intent);
  const facts = {
    name: failedPayment,
    // The id of the charge, if the API version has it: charge.failed reports the same attempt.
    insertId: charge ?? attempt,
    properties: {
      ...describeAmount(object.amount_due, object.currency),
      ...describeInvoice(object),
      AttemptCount: attempts === undefined ? undefined : object.attempt_count,
      Reason:
        asText(asObject(intent.last_payment_error).message) ??
        asText(asObject(object.charge).failure_message) ??
        asText(asObject(object.last_finalization_error).message),
    },
  };
  return { kind: 'entry', entry: createStripeEntry(event, facts, rules) };
}

/** Maps checkout.session.expired. Most abandoned checkouts name no person and are skipped. */
function mapExpiredCheckout(event: StripeEvent, rules: StripeRules): TopicResult {
  const { object } = event;
  const { person } = identifyStripePerson(object, event.account, rules);
  const isSomebody = Object.keys(person).length > 0;
  if (!isSomebody && readReferences(object).customer === undefined) return skipEvent('anonymous');
  const recovery = asObject(asObject(object.after_expiration).recovery);
  const facts = {
    name: 'Checkout Abandoned',
    insertId: readStripeId(object.id),
    properties: {
      ...describeAmount(object.amount_total, object.currency),
      CheckoutSession: readStripeId(object.id),
      Mode: asText(object.mode),
      RecoveryUrl: asText(recovery.url),
    },
  };
  return { kind: 'entry', entry: createStripeEntry(event, facts, rules) };
}

function mapIssuedInvoice(event: StripeEvent, rules: StripeRules): TopicResult {
  const { object } = event;
  const facts = {
    name: 'Issued Invoice',
    insertId: readStripeId(object.id),
    at: readUnixTime(asObject(object.status_transitions).finalized_at),
    properties: {
      ...describeAmount(object.amount_due, object.currency),
      ...describeInvoice(object),
      DueDate: readUnixTime(object.due_date),
    },
  };
  return { kind: 'entry', entry: createStripeEntry(event, facts, rules) };
}
