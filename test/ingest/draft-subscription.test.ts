import { describe, expect, it } from 'vitest';
import { draftSubscription, draftUnsubscription } from '../../src/ingest/draft-subscription.js';
import { createToE164 } from '../../src/ingest/phone.js';
import { toProfileKeys } from '../../src/ingest/identity.js';
import { parseSubscriptionGroup, readElement, readGroup } from '../../src/model/group.js';
import { startMs } from '../support/builders.js';

const context = { toE164: createToE164(undefined), acceptedAt: startMs };
const email = 'ada@klaviyo-demo.com';
const phone = '+15005550006';
const byEmail = { email, channels: { email: ['marketing'] } };

/** The group and the element of a draft. */
function read(drafted: ReturnType<typeof draftSubscription>): {
  readonly group: unknown;
  readonly element: unknown;
} {
  if (!drafted.ok) throw new Error(JSON.stringify(drafted.errors));
  const { payload } = drafted.draft;
  return {
    group: parseSubscriptionGroup(readGroup(payload)),
    element: JSON.parse(Buffer.from(readElement(payload)).toString()),
  };
}

/** The issues of a draft as `pointer detail`. */
const issuesOf = (drafted: ReturnType<typeof draftSubscription>): readonly string[] =>
  drafted.ok ? [] : drafted.errors.map(({ pointer, detail }) => `${pointer} ${detail}`);

describe('a subscription', () => {
  it('becomes one profile with the consent for each channel and message type', () => {
    const posted = {
      email,
      phone_number: '+1 (500) 555-0006',
      channels: { email: ['marketing'], sms: ['marketing', 'transactional'] },
      list_id: 'Y6nRLr',
      custom_source: 'Kasse "7"; ä',
    };
    const consent = { consent: 'SUBSCRIBED' };
    expect(read(draftSubscription(posted, context))).toEqual({
      group: { listId: 'Y6nRLr', customSource: 'Kasse "7"; ä' },
      element: {
        type: 'profile',
        attributes: {
          email,
          phone_number: phone,
          subscriptions: {
            email: { marketing: consent },
            sms: { marketing: consent, transactional: consent },
          },
        },
      },
    });
  });

  it('has the keys of a profile of the same person', () => {
    const drafted = draftSubscription({ ...byEmail, distinct_id: 42 }, context);
    expect(drafted).toMatchObject({
      ok: true,
      draft: { lane: 'subscribe', keys: toProfileKeys({ email, externalId: '42' }) },
    });
  });

  it('has the time of the consent only if it is historical', () => {
    const consented_at = '2020-05-01T00:00:00Z';
    const historical = draftSubscription({ ...byEmail, historical: true, consented_at }, context);
    expect(read(historical)).toMatchObject({
      group: { isHistorical: true },
      element: {
        attributes: {
          subscriptions: { email: { marketing: { consent: 'SUBSCRIBED', consented_at } } },
        },
      },
    });
    const now = read(draftSubscription({ ...byEmail, consented_at }, context));
    expect(now.group).toEqual({});
    expect(JSON.stringify(now.element)).not.toContain('consented_at');
  });

  it.each<[string, object, string]>([
    ['no channel', { email }, '/channels '],
    [
      'an empty object of channels',
      { email, channels: {} },
      '/channels needs at least one channel',
    ],
    ['a channel without message types', { email, channels: { email: [] } }, '/channels/email '],
    ['an unknown channel', { email, channels: { fax: ['marketing'] } }, '/channels/fax '],
    [
      'transactional e-mail, which Klaviyo does not have',
      { email, channels: { email: ['transactional'] } },
      '/channels/email/0 ',
    ],
    [
      'e-mail without an address',
      { phone_number: phone, channels: { email: ['marketing'] } },
      '/email is required for email',
    ],
    [
      'a text message without a number',
      { email, channels: { sms: ['marketing'] } },
      '/phone_number is required for sms',
    ],
    [
      'a number that cannot be read',
      { email, phone_number: '12', channels: { sms: ['marketing'] } },
      '/phone_number is required for sms',
    ],
    ['no person', { channels: { email: ['marketing'] } }, ' needs at least one of email and '],
    [
      'a historical consent without its time',
      { ...byEmail, historical: true },
      '/consented_at is required with historical: true',
    ],
    [
      'a consent in the future',
      { ...byEmail, historical: true, consented_at: new Date(startMs + 1).toISOString() },
      '/consented_at must be in the past',
    ],
    [
      'a time without an offset',
      { ...byEmail, historical: true, consented_at: '2020-05-01T00:00:00' },
      '/consented_at must be ISO 8601',
    ],
    ['a list that is no id', { ...byEmail, list_id: 'a b' }, '/list_id must be the id of a list'],
    ['an unknown field', { ...byEmail, everywhere: true }, '/everywhere '],
  ])('with %s is invalid', (_name, posted, issue) => {
    const issues = issuesOf(draftSubscription(posted, context));
    expect(issues).toHaveLength(1);
    expect(issues[0]?.startsWith(issue), issues[0]).toBe(true);
  });

  it('that is no object is invalid', () => {
    expect(issuesOf(draftSubscription([byEmail], context))).toEqual([
      ' must be a JSON object: one subscription',
    ]);
  });

  it('keeps an e-mail subscription when only the number cannot be read, with a warning', () => {
    const drafted = draftSubscription({ ...byEmail, phone_number: '12' }, context);
    expect(drafted).toMatchObject({ ok: true, warnings: [{ pointer: '/phone_number' }] });
    expect(JSON.stringify(read(drafted).element)).not.toContain('phone_number');
  });
});

describe('an unsubscription', () => {
  it('withdraws the consent for a list', () => {
    expect(read(draftUnsubscription({ ...byEmail, list_id: 'Y6nRLr' }, context))).toEqual({
      group: { listId: 'Y6nRLr' },
      element: {
        type: 'profile',
        attributes: {
          email,
          subscriptions: { email: { marketing: { consent: 'UNSUBSCRIBED' } } },
        },
      },
    });
  });

  it('names no list if it is for everything', () => {
    expect(read(draftUnsubscription({ ...byEmail, everywhere: true }, context)).group).toEqual({});
  });

  it.each<[string, object, string]>([
    ['neither a list nor everything', byEmail, ' needs list_id, or everywhere: true'],
    ['everywhere: false and no list', { ...byEmail, everywhere: false }, ' needs list_id'],
    [
      'a list and everything',
      { ...byEmail, list_id: 'Y6nRLr', everywhere: true },
      '/everywhere must not be true if list_id is given',
    ],
    [
      'a time in the future',
      { ...byEmail, everywhere: true, unsubscribed_at: '2030-01-01T00:00:00Z' },
      '/unsubscribed_at must be in the past',
    ],
    ['a time of consent', { ...byEmail, everywhere: true, consented_at: null }, '/consented_at '],
  ])('with %s is invalid', (_name, posted, issue) => {
    const issues = issuesOf(draftUnsubscription(posted, context));
    expect(issues).toHaveLength(1);
    expect(issues[0]?.startsWith(issue), issues[0]).toBe(true);
  });
});
