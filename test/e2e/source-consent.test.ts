import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { ActivityCount } from '../../src/ingest/source-activity.js';
import { startRelay, type RelayUnderTest } from '../support/relay.js';
import {
  aConsent,
  aCustomer,
  anEmailConsent,
  anSmsConsent,
  secret,
  toHeaders,
} from '../support/shopify.js';

const email = 'ada@klaviyo-demo.com';
const phone = '+16175551212';

let relay: RelayUnderTest;
let directory: string;
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'relay-consent-'));
});
afterEach(async () => {
  await relay.stop();
  rmSync(directory, { recursive: true, force: true });
});

async function start(mapping: object): Promise<void> {
  const file = join(directory, 'mapping.json');
  writeFileSync(file, JSON.stringify(mapping));
  relay = await startRelay({
    env: { SHOPIFY_WEBHOOK_SECRETS: secret, MAPPING_FILE: file },
  });
}

let sent = 0;

async function deliver(topic: string, payload: unknown) {
  const body = JSON.stringify(payload);
  const headers = await toHeaders(body, { topic, id: `wh-${++sent}` });
  const response = await relay.post('/webhooks/shopify', body, headers);
  expect(response.status).toBe(200);
  return response.body;
}

/** The profile of Ada in the sandbox. */
const ada = () =>
  relay.sandbox.state().profiles.find(({ attributes }) => attributes.email === email);

const untilConsent = (
  channel: 'email.marketing' | 'sms.marketing',
  status: string,
): Promise<void> =>
  relay.until(`${channel} is ${status}`, () => ada()?.consent[channel]?.status === status);

/** The counts of GET /v1/sources, without times. */
async function countsOf(source: string): Promise<readonly string[]> {
  const { data } = (await relay.get('/v1/sources')).body as { data: ActivityCount[] };
  return data
    .filter((each) => each.source === source)
    .map(({ kind, outcome, reason, count }) =>
      [kind, outcome, reason, count].filter((each) => each !== null).join(' '),
    );
}

describe('the consents of a Shopify customer', () => {
  const shopify = {
    consent: { list: 'Y6nRLr', email: true, sms: true, unsubscribe: 'everywhere' },
  };

  it('subscribe the profile to the list of the mapping file, and a withdrawal ends one of them', async () => {
    await start({ shopify });
    const customer = aCustomer({
      email_marketing_consent: aConsent(),
      sms_marketing_consent: aConsent(),
    });
    await deliver('customers/create', customer);
    await deliver('customers/update', { ...customer, orders_count: 4 });
    await relay.untilSettled();
    await untilConsent('email.marketing', 'SUBSCRIBED');
    await untilConsent('sms.marketing', 'SUBSCRIBED');
    expect(ada()).toMatchObject({ attributes: { phone_number: phone }, lists: ['Y6nRLr'] });

    const withdrawn = { state: 'unsubscribed', consent_updated_at: '2026-01-03T09:30:00-05:00' };
    await deliver('customers_marketing_consent/update', anSmsConsent(withdrawn));
    // The state from before the withdrawal arrives late.
    await deliver('customers_marketing_consent/update', anSmsConsent());
    await deliver('customers_email_marketing_consent/update', anEmailConsent());
    await relay.untilSettled();
    await untilConsent('sms.marketing', 'UNSUBSCRIBED');
    expect(ada()?.consent['email.marketing']?.status).toBe('SUBSCRIBED');
    expect((await relay.get('/v1/dead-letters')).body.data).toEqual([]);
    expect(await countsOf('shopify')).toEqual([
      'customers/create accepted 3',
      'customers/update accepted 1',
      'customers/update skipped consent_unchanged 2',
      'customers_email_marketing_consent/update skipped consent_unchanged 1',
      'customers_marketing_consent/update accepted 1',
      'customers_marketing_consent/update skipped consent_outdated 1',
    ]);
  });

  it('are counted and not sent without a rule in the mapping file', async () => {
    await start({ shopify: {} });
    const answer = await deliver(
      'customers/create',
      aCustomer({ email_marketing_consent: aConsent() }),
    );
    expect(answer).toMatchObject({ accepted: 1, skipped: ['email_consent_off'] });
    await relay.untilSettled();
    expect(ada()?.consent).toEqual({});
    expect(await countsOf('shopify')).toEqual([
      'customers/create accepted 1',
      'customers/create skipped email_consent_off 1',
    ]);
  });

  it('that are older than an unsubscription by another way become a dead letter', async () => {
    await start({ shopify });
    await relay.post('/v1/unsubscriptions', {
      ...{ email, channels: { email: ['marketing'] }, everywhere: true },
    });
    await deliver('customers_email_marketing_consent/update', anEmailConsent());
    await relay.untilSettled();
    await untilConsent('email.marketing', 'UNSUBSCRIBED');
    expect((await relay.get('/v1/dead-letters')).body.data).toMatchObject([
      { lane: 'subscribe', reason: { code: 'consent_withdrawn' } },
    ]);
  });
});

it('a group call of an SDK subscribes the user of an earlier call, and a refusal ends it', async () => {
  await start({ segment: { consent: { email: true, list: 'Y6nRLr', groups: { vip: 'VipLst' } } } });
  const identify = { type: 'identify', userId: '42', traits: { email, name: 'Ada' } };
  const group = { type: 'group', userId: '42', groupId: 'vip', traits: { subscribe: true } };
  const refusal = { ...identify, traits: { email, subscribe: false, listId: 'VipLst' } };
  expect((await relay.post('/v1/batch', { batch: [identify, group] })).status).toBe(200);
  await relay.untilSettled();
  await untilConsent('email.marketing', 'SUBSCRIBED');
  expect(ada()?.lists).toEqual(['VipLst']);
  expect((await relay.post('/v1/batch', { batch: [refusal] })).status).toBe(200);
  await relay.untilSettled();
  await relay.until('the list is left', () => ada()?.lists.length === 0);
  expect(ada()?.listSuppressions).toMatchObject([{ listId: 'VipLst', reason: 'UNSUBSCRIBE' }]);
  expect(await countsOf('segment')).toEqual(['group accepted 1', 'identify accepted 3']);
});
