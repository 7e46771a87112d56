import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { readDecidedAt, readElement, readGroup } from '../../src/model/group.js';
import { parseMapping } from '../../src/sources/mapping/mapping.js';
import { receivedAt } from '../ingest/fixture.js';
import { aConsent, aCustomer, anEmailConsent, anSmsConsent, shop } from '../support/shopify.js';
import { createPipeline, type Pipeline } from './pipeline.js';

const checked = parseMapping({
  shopify: { consent: { list: 'Y6nRLr', email: true, sms: true, unsubscribe: 'everywhere' } },
});
const mapping = checked.ok ? checked.value : {};
const emailTopic = 'customers_email_marketing_consent/update';

const deliver = (pipeline: Pipeline, topic: string, body: unknown) =>
  pipeline.send('shopify', {
    headers: { 'x-shopify-topic': topic, 'x-shopify-shop-domain': shop },
    body,
  });

const decisionsOf = ({ drafts }: Pipeline): readonly string[] =>
  drafts.flatMap(({ lane, deadLetterReason }) =>
    lane === 'profiles' ? [] : [deadLetterReason === undefined ? lane : deadLetterReason.code],
  );

const reasonsOf = (pipeline: Pipeline): readonly string[] =>
  pipeline
    .activity()
    .filter(({ outcome }) => outcome === 'skipped')
    .map(({ reason, count }) => `${reason} ${count}`);

const at = (day: number): string => `2026-01-0${day}T10:00:00Z`;

describe('the state of a consent that Shopify repeats', () => {
  it('is accepted once, whichever topics repeat it', async () => {
    const pipeline = createPipeline({}, mapping);
    const customer = aCustomer({ email_marketing_consent: aConsent() });
    await deliver(pipeline, 'customers/create', customer);
    await deliver(pipeline, 'customers/update', { ...customer, orders_count: 4 });
    const accepted = await deliver(pipeline, emailTopic, anEmailConsent());
    expect(accepted).toMatchObject({ accepted: 0, skipped: ['consent_unchanged'] });
    expect(decisionsOf(pipeline)).toEqual(['subscribe']);
    expect(reasonsOf(pipeline)).toEqual(['consent_unchanged 1', 'consent_unchanged 1']);
  });

  it('is accepted again if it changed, or if the customer has another address', async () => {
    const pipeline = createPipeline({}, mapping);
    const moved = { email_address: 'lovelace@klaviyo-demo.com' };
    await deliver(pipeline, emailTopic, anEmailConsent({ consent_updated_at: at(1) }));
    await deliver(
      pipeline,
      emailTopic,
      anEmailConsent({ state: 'unsubscribed', consent_updated_at: at(2) }),
    );
    await deliver(pipeline, emailTopic, anEmailConsent({ consent_updated_at: at(3) }));
    await deliver(pipeline, emailTopic, anEmailConsent({ consent_updated_at: at(3) }, moved));
    expect(decisionsOf(pipeline)).toEqual(['subscribe', 'unsubscribe', 'subscribe', 'subscribe']);
  });

  it('is skipped if a newer one was accepted before', async () => {
    const pipeline = createPipeline({}, mapping);
    await deliver(
      pipeline,
      emailTopic,
      anEmailConsent({ state: 'unsubscribed', consent_updated_at: at(2) }),
    );
    await deliver(pipeline, emailTopic, anEmailConsent({ consent_updated_at: at(1) }));
    expect(decisionsOf(pipeline)).toEqual(['unsubscribe']);
    expect(reasonsOf(pipeline)).toEqual(['consent_outdated 1']);
  });

  it('of one channel does not affect that of another', async () => {
    const pipeline = createPipeline({}, mapping);
    await deliver(pipeline, emailTopic, anEmailConsent());
    await deliver(pipeline, 'customers_marketing_consent/update', anSmsConsent());
    expect(decisionsOf(pipeline)).toEqual(['subscribe', 'subscribe']);
  });

  it.each(['subscribed', 'unsubscribed'])(
    'is not remembered if it became a dead letter: %s',
    async (state) => {
      const pipeline = createPipeline({}, mapping);
      const bad = anEmailConsent({ state }, { email_address: 'n/a' });
      await deliver(pipeline, emailTopic, bad);
      await deliver(pipeline, emailTopic, bad);
      expect(decisionsOf(pipeline)).toEqual(['not_valid', 'not_valid']);
    },
  );

  it('is passed on in an order in which the newest counts, for any order of arrival', async () => {
    const state = fc.record({
      day: fc.integer({ min: 1, max: 9 }),
      subscribed: fc.boolean(),
    });
    await fc.assert(
      fc.asyncProperty(
        fc.uniqueArray(state, { selector: ({ day }) => day, minLength: 1 }),
        fc.array(fc.nat(8), { minLength: 1, maxLength: 12 }),
        async (states, arrivals) => {
          const pipeline = createPipeline({}, mapping);
          const arrived = arrivals.map((index) => states[index % states.length]!);
          for (const { day, subscribed } of arrived) {
            const consent = {
              state: subscribed ? 'subscribed' : 'unsubscribed',
              consent_updated_at: at(day),
            };
            await deliver(pipeline, emailTopic, anEmailConsent(consent));
          }
          const newest = arrived.reduce((a, b) => (b.day > a.day ? b : a));
          expect(decisionsOf(pipeline).at(-1)).toBe(
            newest.subscribed ? 'subscribe' : 'unsubscribe',
          );
          const times = pipeline.drafts.map(({ payload }) => readDecidedAt(payload));
          expect(times).toEqual([...new Set(times)].sort((a, b) => a - b));
        },
      ),
      { numRuns: 100 },
    );
  });
});

describe('a consent that came with a customer', () => {
  it('becomes a dead letter by itself if its number cannot be used', async () => {
    const pipeline = createPipeline({}, mapping);
    const customer = aCustomer({
      phone: 'call me',
      email_marketing_consent: aConsent(),
      sms_marketing_consent: aConsent(),
    });
    const accepted = await deliver(pipeline, 'customers/update', customer);
    expect(accepted).toMatchObject({ accepted: 2, rejected: [{ code: 'not_valid' }] });
    expect(
      pipeline.drafts.map(({ lane, deadLetterReason }) => [lane, deadLetterReason?.code]),
    ).toEqual([
      ['profiles', undefined],
      ['subscribe', undefined],
      ['subscribe', 'not_valid'],
    ]);
    expect(pipeline.drafts[2]?.deadLetterReason?.detail).toContain('/phone_number');
  });

  it('is not sent, and counted, without a rule in the mapping file', async () => {
    const pipeline = createPipeline();
    const customer = aCustomer({
      email_marketing_consent: aConsent(),
      sms_marketing_consent: aConsent({ state: 'unsubscribed' }),
    });
    const accepted = await deliver(pipeline, 'customers/update', customer);
    expect(accepted).toMatchObject({ skipped: ['email_consent_off', 'sms_consent_off'] });
    expect(pipeline.drafts.map(({ lane }) => lane)).toEqual(['profiles']);
    const [profile] = pipeline.drafts;
    expect(Buffer.from(profile?.payload ?? []).toString()).not.toMatch(/consent|subscrib/i);
  });

  it('has the time and the list that the source and the mapping file give', async () => {
    const pipeline = createPipeline({}, mapping);
    await deliver(pipeline, emailTopic, anEmailConsent({ consent_updated_at: at(1) }));
    const [{ payload } = { payload: Buffer.alloc(0) }] = pipeline.drafts;
    expect(new Date(readDecidedAt(payload)).toISOString()).toBe('2026-01-01T10:00:00.000Z');
    expect(readGroup(payload)).toBe('Y6nRLr;;');
    expect(JSON.parse(Buffer.from(readElement(payload)).toString())).toEqual({
      type: 'profile',
      attributes: {
        email: 'ada@klaviyo-demo.com',
        subscriptions: { email: { marketing: { consent: 'SUBSCRIBED' } } },
      },
    });
  });

  it.each([
    ['a few seconds ahead of the relay counts as given now', 4_000, 'subscribe'],
    ['an hour ahead of the relay becomes a dead letter', 3_600_000, 'not_valid'],
  ])('%s', async (_, aheadMs, outcome) => {
    const pipeline = createPipeline({}, mapping);
    const ahead = new Date(receivedAt + aheadMs).toISOString();
    await deliver(pipeline, emailTopic, anEmailConsent({ consent_updated_at: ahead }));
    expect(decisionsOf(pipeline)).toEqual([outcome]);
  });
});
