import { describe, expect, it } from 'vitest';
import {
  aConsent,
  aCustomer,
  anEmailConsent,
  anOrder,
  anSmsConsent,
} from '../../support/shopify.js';
import { mapTopic } from './fixture.js';

const decidedAt = '2026-01-02T14:30:00.000Z';
const email = 'ada@klaviyo-demo.com';

/** The entries of consents, and the reasons of skips. */
function consentsOf(topic: string, payload: unknown) {
  const { entries, skipped } = mapTopic(topic, payload);
  return [
    ...entries
      .filter(({ decision }) => decision !== undefined)
      .map(({ lane, entry, decision }) => ({ lane, entry, decision })),
    ...skipped.map(({ reason }) => reason),
  ];
}

const subscribed = {
  lane: 'subscribe',
  entry: { email, distinct_id: '42', consented_at: decidedAt },
  decision: { channel: 'email', state: 'email:42' },
};
const subscribedBySms = {
  lane: 'subscribe',
  entry: { phone_number: '+16175551212', distinct_id: '42', consented_at: decidedAt },
  decision: { channel: 'sms', state: 'sms:42' },
};

describe.each(['customers/create', 'customers/update'])('a consent in %s', (topic) => {
  it('is an entry of its own for each channel, beside the profile', () => {
    const customer = aCustomer({
      email_marketing_consent: aConsent(),
      sms_marketing_consent: aConsent(),
    });
    expect(consentsOf(topic, customer)).toEqual([subscribed, subscribedBySms]);
    const { entries } = mapTopic(topic, customer);
    expect(entries.map(({ lane, index }) => [lane, index])).toEqual([
      ['profiles', 0],
      ['subscribe', 1],
      ['subscribe', 2],
    ]);
  });

  it('is none if the webhook has no consents, as from the API version 2025-01 on', () => {
    expect(consentsOf(topic, aCustomer())).toEqual([]);
  });

  it('leaves the profile alone if nothing was decided', () => {
    const customer = aCustomer({
      email_marketing_consent: aConsent({ state: 'not_subscribed', consent_updated_at: null }),
      sms_marketing_consent: null,
    });
    expect(consentsOf(topic, customer)).toEqual([]);
  });
});

it.each(['unsubscribed', 'redacted', 'UNSUBSCRIBED'])(
  'the state %s of a consent withdraws it',
  (state) => {
    expect(
      consentsOf('customers_email_marketing_consent/update', anEmailConsent({ state })),
    ).toEqual([
      {
        ...subscribed,
        lane: 'unsubscribe',
        entry: { email, distinct_id: '42', unsubscribed_at: decidedAt },
      },
    ]);
  },
);

it.each(['not_subscribed', 'pending', 'invalid', null])(
  'the state %s of a consent is neither a consent nor a withdrawal',
  (state) => {
    expect(
      consentsOf('customers_email_marketing_consent/update', anEmailConsent({ state })),
    ).toEqual(['no_decision']);
    expect(consentsOf('customers_marketing_consent/update', anSmsConsent({ state }))).toEqual([
      'no_decision',
    ]);
  },
);

describe('the topic of a consent', () => {
  it('gives the same entry as the topic of its customer', () => {
    expect(consentsOf('customers_email_marketing_consent/update', anEmailConsent())).toEqual([
      subscribed,
    ]);
    expect(consentsOf('customers_marketing_consent/update', anSmsConsent())).toEqual([
      subscribedBySms,
    ]);
  });

  it.each([
    ['a state that Shopify does not document', { state: 'maybe' }, {}, 'unknown_consent_state'],
    ['a consent without a time', { consent_updated_at: null }, {}, 'consent_without_time'],
    [
      'a consent with an unreadable time',
      { consent_updated_at: 'soon' },
      {},
      'consent_without_time',
    ],
    ['a consent without an address', {}, { email_address: '' }, 'consent_without_address'],
  ])('skips %s', (_, consent, overrides, reason) => {
    const payload = anEmailConsent(consent, overrides);
    expect(consentsOf('customers_email_marketing_consent/update', payload)).toEqual([reason]);
  });

  it('passes on a withdrawal without a time', () => {
    const payload = anEmailConsent({ state: 'unsubscribed', consent_updated_at: null });
    expect(consentsOf('customers_email_marketing_consent/update', payload)).toMatchObject([
      { lane: 'unsubscribe', entry: { email, distinct_id: '42' } },
    ]);
  });
});

it.each(['orders/create', 'orders/updated', 'checkouts/create'])(
  'a box that the buyer ticked in %s is no consent',
  (topic) => {
    const customer = {
      id: 42,
      email,
      email_marketing_consent: aConsent(),
      accepts_marketing: true,
    };
    const order = anOrder({ buyer_accepts_marketing: true, customer, token: 'token-1' });
    expect(consentsOf(topic, order).filter((each) => typeof each !== 'string')).toEqual([]);
  },
);
