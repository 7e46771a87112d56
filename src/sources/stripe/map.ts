import { asObject } from '../json.js';
import type { KnownPerson, SourcePost } from '../../ingest/source-entry.js';
import { mapStripeCustomer } from './customer.js';
import { disputeTopics } from './disputes.js';
import {
  readStripeEvent,
  skipEvent,
  type TopicResult,
  type StripeEvent,
  type StripeRules,
} from './event.js';
import { otherTopics } from './other-events.js';
import { paymentTopics } from './payments.js';
import { listKnownPeople } from './people.js';
import { refundTopics } from './refunds.js';

export type { StripeRules } from './event.js';

const topics = new Map([
  ...paymentTopics,
  ...refundTopics,
  ...disputeTopics,
  ...otherTopics,
  ['customer.created', mapStripeCustomer],
  ['customer.updated', mapStripeCustomer],
]);

/** What a webhook's body, parsed, comes to. Pure; takes any JSON. */
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
  // A thin event names its object and does not hold it.
  if (given.object === 'v2.core.event') return toPost(skipEvent('unmapped'), []);
  // The people of test payments are not kept either.
  if (given.livemode === false && !rules.takesTestEvents) return toPost(skipEvent('test'), []);
  const made = topics.get(event.topic)?.(event, rules) ?? skipEvent('unmapped');
  return toPost(made, toPeople(event, rules));
}

/** Also of topics that become no event: a charge that is not counted says who its payer is. */
function toPeople({ topic, object, account }: StripeEvent, rules: StripeRules) {
  return topic === 'customer.deleted' ? [] : listKnownPeople(object, account, rules);
}
