import type { KnownPerson, SourcePost } from '../../ingest/source-entry.js';
import { asObject } from '../json.js';
import { mapCheckoutConsent } from './consent.js';
import { mapStripeCustomer } from './customers.js';
import { disputeTopics } from './disputes.js';
import {
  readStripeEvent,
  skipEvent,
  type StripeEvent,
  type StripeRules,
  type TopicResult,
} from './event.js';
import { paymentTopics } from './payments.js';
import { listKnownPeople } from './people.js';
import { refundTopics } from './refunds.js';
import { otherTopics } from './unpaid-events.js';

export type { StripeRules } from './event.js';

const topics = new Map([
  ...paymentTopics,
  ...refundTopics,
  ...disputeTopics,
  ...otherTopics,
  ['customer.created', mapStripeCustomer],
  ['customer.updated', mapStripeCustomer],
]);

/** Maps the parsed body of a webhook. Pure, and accepts any JSON. */
export function mapStripeEvent(body: unknown, rules: StripeRules): SourcePost {
  const given = asObject(body);
  const event = readStripeEvent(given);
  const toPost = (made: TopicResult, people: readonly KnownPerson[]): SourcePost => ({
    source: 'stripe',
    ...(event.topic !== '' && { topic: event.topic }),
    ...(event.id !== undefined && { delivery: event.id }),
    entries: made.kind === 'entry' ? [{ ...made.entry, index: 0 }] : [],
    people,
    skipped: made.kind === 'skip' ? [{ reason: made.reason }] : [],
    ...(made.kind === 'ledger' && { ledger: made.ledger }),
  });
  // A thin event holds the id of its object, and not the object.
  if (given.object === 'v2.core.event') return toPost(skipEvent('unmapped'), []);
  // People of test payments are not kept either.
  if (given.livemode === false && !rules.takesTestEvents) return toPost(skipEvent('test'), []);
  const made = topics.get(event.topic)?.(event, rules) ?? skipEvent('unmapped');
  const post = toPost(made, toPeople(event, rules));
  const consent = mapCheckoutConsent(event);
  return {
    ...post,
    entries: [...post.entries, ...consent.entries],
    skipped: [...post.skipped, ...consent.skipped],
  };
}

/** Topics that give no event still give people: a charge that is not counted names its payer. */
function toPeople({ topic, object, account }: StripeEvent, rules: StripeRules) {
  return topic === 'customer.deleted' ? [] : listKnownPeople(object, account, rules);
}
