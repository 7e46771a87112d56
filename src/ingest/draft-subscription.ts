import type { Identifiers } from '../identity-keys.js';
import { isGiven, isJsonObject } from '../json/json.js';
import type { Draft } from '../model/envelope.js';
import { toGroupedPayload, toSubscriptionGroup } from '../model/group.js';
import type { Issue } from '../model/outcome.js';
import { identify, toProfileKeys } from './identity.js';
import type { ToE164 } from './phone.js';
import {
  notAnEntry,
  subscriptionSchema,
  unsubscriptionSchema,
  type Channels,
  type PostedSubscription,
  type PostedUnsubscription,
} from './schema.js';
import { createCheck, invalidBody, type Invalid } from './validation.js';

/**
 * Drafting of subscriptions and unsubscriptions. Consent is never invented: an entry names each channel,
 * and has the identifier that the channel needs. Klaviyo refuses a whole request for one number that it
 * does not accept, so a phone number that cannot be read rejects the entry if a channel needs it.
 */
type Context = { readonly toE164: ToE164; readonly acceptedAt: number };
type Drafted =
  { readonly ok: true; readonly draft: Draft; readonly warnings: readonly Issue[] } | Invalid;

const checkSubscription = createCheck(subscriptionSchema, 'a subscription');
const checkUnsubscription = createCheck(unsubscriptionSchema, 'an unsubscription');

export function draftSubscription(entry: unknown, context: Context): Drafted {
  if (!isJsonObject(entry)) return invalidBody('', notAnEntry.subscribe);
  const checked = checkSubscription(entry);
  if (!checked.ok) return checked;
  const posted = checked.value;
  const issues = findConsentIssues(posted, context);
  const person = identify(posted, { lane: 'subscribe', toE164: context.toE164 });
  if (!person.ok) return person;
  const { identifiers, warnings } = person;
  issues.push(...findChannelIssues(posted.channels, identifiers));
  if (issues.length > 0) return { ok: false, errors: issues };
  const isHistorical = posted.historical === true;
  const group = toSubscriptionGroup({
    listId: posted.list_id ?? undefined,
    isHistorical,
    customSource: posted.custom_source ?? undefined,
  });
  // Klaviyo rejects `consented_at` in a request that is not historical.
  const consentedAt =
    isHistorical && isGiven(posted.consented_at) ? posted.consented_at : undefined;
  const consent = {
    consent: 'SUBSCRIBED',
    ...(consentedAt !== undefined && { consented_at: consentedAt }),
  };
  const element = toElement(identifiers, posted.channels, consent);
  const { acceptedAt } = context;
  const decidedAt = isGiven(posted.consented_at) ? Date.parse(posted.consented_at) : acceptedAt;
  const payload = Buffer.from(toGroupedPayload(group, element, decidedAt));
  const keys = toProfileKeys(identifiers);
  return { ok: true, draft: { lane: 'subscribe', keys, acceptedAt, payload }, warnings };
}

export function draftUnsubscription(entry: unknown, context: Context): Drafted {
  if (!isJsonObject(entry)) return invalidBody('', notAnEntry.unsubscribe);
  const checked = checkUnsubscription(entry);
  if (!checked.ok) return checked;
  const posted = checked.value;
  const person = identify(posted, { lane: 'unsubscribe', toE164: context.toE164 });
  if (!person.ok) return person;
  const { identifiers, warnings } = person;
  const { acceptedAt } = context;
  const decidedAt = isGiven(posted.unsubscribed_at)
    ? Date.parse(posted.unsubscribed_at)
    : acceptedAt;
  const issues = [
    ...findScopeIssues(posted),
    ...findFutureIssues('/unsubscribed_at', decidedAt, acceptedAt),
    ...findChannelIssues(posted.channels, identifiers),
  ];
  if (issues.length > 0) return { ok: false, errors: issues };
  const group = toSubscriptionGroup({ listId: posted.list_id ?? undefined });
  const element = toElement(identifiers, posted.channels, { consent: 'UNSUBSCRIBED' });
  const payload = Buffer.from(toGroupedPayload(group, element, decidedAt));
  const keys = toProfileKeys(identifiers);
  return { ok: true, draft: { lane: 'unsubscribe', keys, acceptedAt, payload }, warnings };
}

/** One element of `profiles.data`: the person, and the consent for each channel and message type. */
function toElement(
  { email, phoneNumber }: Identifiers,
  channels: Channels,
  consent: Readonly<Record<string, string>>,
): string {
  const subscriptions = Object.fromEntries(
    Object.entries(channels).flatMap(([channel, types]) =>
      isGiven(types) ? [[channel, Object.fromEntries(types.map((type) => [type, consent]))]] : [],
    ),
  );
  return JSON.stringify({
    type: 'profile',
    attributes: {
      ...(email !== undefined && { email }),
      ...(phoneNumber !== undefined && { phone_number: phoneNumber }),
      subscriptions,
    },
  });
}

function findConsentIssues(
  { historical, consented_at: consentedAt }: PostedSubscription,
  { acceptedAt }: Context,
): Issue[] {
  if (!isGiven(consentedAt)) {
    return historical === true
      ? [{ pointer: '/consented_at', detail: 'is required with historical: true' }]
      : [];
  }
  return findFutureIssues('/consented_at', Date.parse(consentedAt), acceptedAt);
}

const findFutureIssues = (pointer: string, decidedAt: number, acceptedAt: number): Issue[] =>
  decidedAt > acceptedAt ? [{ pointer, detail: 'must be in the past' }] : [];

/** Klaviyo unsubscribes from everything if no list is given, so the caller must say so. */
function findScopeIssues({ list_id: listId, everywhere }: PostedUnsubscription): readonly Issue[] {
  if (isGiven(listId) !== (everywhere === true)) return [];
  return everywhere === true
    ? [{ pointer: '/everywhere', detail: 'must not be true if list_id is given' }]
    : [
        {
          pointer: '',
          detail: 'needs list_id, or everywhere: true to unsubscribe from everything',
        },
      ];
}

function findChannelIssues(channels: Channels, { email, phoneNumber }: Identifiers): Issue[] {
  const given = Object.entries(channels).flatMap(([channel, types]) =>
    isGiven(types) ? [channel] : [],
  );
  if (given.length === 0) return [{ pointer: '/channels', detail: 'needs at least one channel' }];
  return given.flatMap((channel) => {
    if (channel === 'email') {
      return email === undefined ? [{ pointer: '/email', detail: 'is required for email' }] : [];
    }
    return phoneNumber === undefined
      ? [
          {
            pointer: '/phone_number',
            detail: `is required for ${channel}, in a form that can be read`,
          },
        ]
      : [];
  });
}
