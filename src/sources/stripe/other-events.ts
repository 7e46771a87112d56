import type { JsonObject } from '../../json/json.js';
import { asObject, asText, asWhole } from '../json.js';
import {
  readTime,
  skip,
  toEventEntry,
  type Made,
  type StripeEvent,
  type StripeRules,
  type ToMade,
} from './event.js';
import { readMoney } from './money.js';
import { toInvoiceProperties } from './payments.js';
import { readId, toIdentity, toRefs } from './people.js';

/**
 * Topics that tell of no income. Metrics and properties are named as in Klaviyo's own Stripe
 * integration (help article 115005082267), where that has them.
 */
export const otherTopics: ReadonlyMap<string, ToMade> = new Map<string, ToMade>([
  ['charge.failed', toFailedCharge],
  ['invoice.payment_failed', toFailedInvoice],
  ['checkout.session.expired', toAbandoned],
  ['invoice.finalized', toIssued],
  // Says what invoice.paid says, but for invoices that were paid outside Stripe.
  ['invoice.payment_succeeded', () => skip('other_revenue_source')],
]);

const failedPayment = 'Failed Payment';

/** Not as `value`, which revenue reports add up: nothing was earned. */
function toAmount(minor: unknown, currency: unknown): JsonObject {
  return {
    Amount: readMoney(minor, currency)?.amount,
    Currency: asText(currency)?.toUpperCase(),
  };
}

function toFailedCharge(event: StripeEvent, rules: StripeRules): Made {
  const { object } = event;
  const facts = {
    name: failedPayment,
    // Its own and not the payment's: each attempt is a charge.
    insertId: readId(object.id),
    at: readTime(object.created),
    properties: {
      ...toAmount(object.amount, object.currency),
      Reason:
        asText(object.failure_message) ??
        asText(asObject(object.outcome).seller_message) ??
        asText(object.failure_code),
    },
  };
  return { kind: 'entry', entry: toEventEntry(event, facts, rules) };
}

function toFailedInvoice(event: StripeEvent, rules: StripeRules): Made {
  const { object } = event;
  const { charge, invoice } = toRefs(object);
  const attempts = asWhole(object.attempt_count);
  const attempt = invoice === undefined ? undefined : `${invoice}:${attempts ?? ''}`;
  const intent = asObject(object.payment_intent);
  const facts = {
    name: failedPayment,
    // The charge's where the API version still names it: charge.failed tells of the same attempt.
    insertId: charge ?? attempt,
    properties: {
      ...toAmount(object.amount_due, object.currency),
      ...toInvoiceProperties(object),
      AttemptCount: attempts === undefined ? undefined : object.attempt_count,
      Reason:
        asText(asObject(intent.last_payment_error).message) ??
        asText(asObject(object.charge).failure_message) ??
        asText(asObject(object.last_finalization_error).message),
    },
  };
  return { kind: 'entry', entry: toEventEntry(event, facts, rules) };
}

/** Most who leave a checkout have told nobody who they are. */
function toAbandoned(event: StripeEvent, rules: StripeRules): Made {
  const { object } = event;
  const { person } = toIdentity(object, event.account, rules);
  const isSomebody = Object.keys(person).length > 0;
  if (!isSomebody && toRefs(object).customer === undefined) return skip('anonymous');
  const recovery = asObject(asObject(object.after_expiration).recovery);
  const facts = {
    name: 'Checkout Abandoned',
    insertId: readId(object.id),
    properties: {
      ...toAmount(object.amount_total, object.currency),
      CheckoutSession: readId(object.id),
      Mode: asText(object.mode),
      RecoveryUrl: asText(recovery.url),
    },
  };
  return { kind: 'entry', entry: toEventEntry(event, facts, rules) };
}

function toIssued(event: StripeEvent, rules: StripeRules): Made {
  const { object } = event;
  const facts = {
    name: 'Issued Invoice',
    insertId: readId(object.id),
    at: readTime(asObject(object.status_transitions).finalized_at),
    properties: {
      ...toAmount(object.amount_due, object.currency),
      ...toInvoiceProperties(object),
      DueDate: readTime(object.due_date),
    },
  };
  return { kind: 'entry', entry: toEventEntry(event, facts, rules) };
}
