import { asObject } from '../json.js';
import type { KnownPerson, SourceEntry, SourcePost } from '../../ingest/source-entry.js';
import { toCustomerProfile } from './customer.js';
import {
  readStripeEvent,
  type Made,
  type SkipReason,
  type StripeEvent,
  type StripeRules,
} from './event.js';
import { otherTopics } from './other-events.js';
import { paymentTopics } from './payments.js';
import { toKnownPeople } from './people.js';

export type { StripeRules } from './event.js';

const topics = new Map([
  ...paymentTopics,
  ...otherTopics,
  ['customer.created', toCustomerProfile],
  ['customer.updated', toCustomerProfile],
]);

/** What a webhook's body, parsed, comes to. Pure; takes any JSON. */
export function mapStripe(body: unknown, rules: StripeRules): SourcePost {
  const given = asObject(body);
  const event = readStripeEvent(given);
  const toPost = (made: Made, people: readonly KnownPerson[]): SourcePost => ({
    source: 'stripe',
    ...(event.topic !== '' && { topic: event.topic }),
    ...(event.id !== undefined && { delivery: event.id }),
    entries: isSkip(made) ? [] : [{ ...made, index: 0 } satisfies SourceEntry],
    people,
    skipped: isSkip(made) ? [{ reason: made }] : [],
  });
  // A thin event names its object and does not hold it.
  if (given.object === 'v2.core.event') return toPost('unmapped', []);
  // Whom test payments are about is nobody's business either.
  if (given.livemode === false && !rules.takesTestEvents) return toPost('test', []);
  return toPost(topics.get(event.topic)?.(event, rules) ?? 'unmapped', tellPeople(event, rules));
}

/** Also of topics that go no further: a charge that is not counted tells whom its payment is about. */
function tellPeople({ topic, object, account }: StripeEvent, rules: StripeRules) {
  return topic === 'customer.deleted' ? [] : toKnownPeople(object, account, rules);
}

function isSkip(made: Made): made is SkipReason {
  return typeof made === 'string';
}
