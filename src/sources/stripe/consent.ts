import type { Skipped, SourceEntry } from '../../ingest/source-entry.js';
import { asObject, asText, compact } from '../json.js';
import type { StripeEvent } from './event.js';

/**
 * Maps `consent.promotions` of checkout.session.completed: the customer's answer to the box about promotional
 * messages, which Checkout shows if the session was created with `consent_collection.promotions` (API
 * reference, "The Checkout Session object"). `opt_in` is a consent to e-mail, `opt_out` a refusal. Null: the
 * customer was not asked.
 */
export function mapCheckoutConsent({ topic, object, createdAt }: StripeEvent): {
  readonly entries: readonly SourceEntry[];
  readonly skipped: readonly Skipped[];
} {
  const answer = asText(asObject(object.consent).promotions);
  if (topic !== 'checkout.session.completed' || (answer !== 'opt_in' && answer !== 'opt_out')) {
    return { entries: [], skipped: [] };
  }
  // The address that the customer typed beside the box. Others that are known of the customer were not asked.
  const email = asText(asObject(object.customer_details).email) ?? asText(object.customer_email);
  if (email === undefined) {
    return { entries: [], skipped: [{ reason: 'consent_without_address' }] };
  }
  const isSubscription = answer === 'opt_in';
  const entry = compact({
    email,
    [isSubscription ? 'consented_at' : 'unsubscribed_at']: createdAt,
  });
  return {
    entries: [
      {
        lane: isSubscription ? 'subscribe' : 'unsubscribe',
        index: 1,
        entry,
        decision: { channel: 'email' },
      },
    ],
    skipped: [],
  };
}
