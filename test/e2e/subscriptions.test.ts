import { afterEach, describe, expect, it } from 'vitest';
import { startRelay, type RelayUnderTest } from '../support/relay.js';

const email = 'ada@klaviyo-demo.com';
const channels = { email: ['marketing'] };
const scopes = ['events:write', 'profiles:write', 'lists:write', 'profiles:read', 'lists:read'];

let relay: RelayUnderTest;
afterEach(() => relay.stop());

/** The profile of an address in the sandbox. */
const profileOf = (who: string) =>
  relay.sandbox.state().profiles.find(({ attributes }) => attributes.email === who);

/** The consent to email marketing of an address. */
const consentOf = (who: string): string | undefined =>
  profileOf(who)?.consent['email.marketing']?.status;

/** Waits until Klaviyo has processed the jobs that it accepted. */
const untilConsent = (who: string, status: string): Promise<void> =>
  relay.until(`${who} is ${status}`, () => consentOf(who) === status);

/** The requests that changed profiles or consent, in order. */
const requestPaths = (): readonly string[] =>
  relay.sandbox
    .state()
    .requests.filter(({ method }) => method === 'POST')
    .map(({ path }) => path.replace('/api/', ''));

async function post(path: string, body: object): Promise<string> {
  const response = await relay.post(path, body);
  expect(response.status, JSON.stringify(response.body)).toBe(202);
  return String(response.body.id);
}

describe('a subscription', () => {
  it('reaches Klaviyo with its list, and its receipt says so', async () => {
    relay = await startRelay();
    const id = await post('/v1/subscriptions', { email, channels, list_id: 'Y6nRLr' });
    expect(id).toMatch(/^su_/);
    await relay.untilSettled();
    await untilConsent(email, 'SUBSCRIBED');
    expect(profileOf(email)?.lists).toEqual(['Y6nRLr']);
    const receipt = await relay.get(`/v1/receipts/${id}`);
    expect(receipt.body).toMatchObject({ lane: 'subscribe', state: 'delivered' });
  });

  it('leaves after the profile that was accepted before it, and an unsubscription after both', async () => {
    relay = await startRelay();
    await post('/v1/profiles', { email, first_name: 'Ada' });
    await post('/v1/subscriptions', { email, channels });
    await post('/v1/unsubscriptions', { email, channels, everywhere: true });
    await relay.untilSettled();
    expect(requestPaths()).toEqual([
      'profile-bulk-import-jobs',
      'profile-subscription-bulk-create-jobs',
      'profile-subscription-bulk-delete-jobs',
    ]);
    await untilConsent(email, 'UNSUBSCRIBED');
  });

  it('shares a request only with subscriptions to the same list', async () => {
    relay = await startRelay();
    const entries = ['A', 'B', 'A', 'B', 'A'].map((list, index) => ({
      email: `p${index}@klaviyo-demo.com`,
      channels,
      list_id: `List${list}`,
    }));
    const response = await relay.post('/v1/subscriptions/batch', { subscriptions: entries });
    expect(response.body).toMatchObject({ accepted: 5, rejected: [] });
    await relay.untilSettled();
    expect(requestPaths()).toHaveLength(2);
    await untilConsent('p4@klaviyo-demo.com', 'SUBSCRIBED');
    await untilConsent('p3@klaviyo-demo.com', 'SUBSCRIBED');
    for (const { email: who, list_id: list } of entries)
      expect(profileOf(who)?.lists).toEqual([list]);
  });

  it('with a number that Klaviyo rejects becomes a dead letter, and its neighbours are delivered', async () => {
    relay = await startRelay();
    relay.sandbox.addFault({
      endpoint: 'subscribe',
      status: 400,
      body: {
        errors: [
          {
            detail: 'Invalid phone number.',
            source: { pointer: '/data/attributes/profiles/data/1/attributes/phone_number' },
          },
        ],
      },
      times: 1,
    });
    const phones = ['+15005550006', '+15005550007', '+15005550008'];
    const subscriptions = phones.map((phone_number) => ({
      phone_number,
      channels: { sms: ['marketing'] },
    }));
    await relay.post('/v1/subscriptions/batch', subscriptions);
    await relay.untilSettled();
    const { body } = await relay.get('/v1/dead-letters');
    expect(body.data).toMatchObject([
      { lane: 'subscribe', reason: { code: 'rejected', detail: 'Invalid phone number.' } },
    ]);
    expect((await relay.counts()).subscribe).toMatchObject({ accepted: 3, delivered: 2 });
  });

  it('to a list that does not exist becomes a dead letter, and the lane goes on', async () => {
    relay = await startRelay();
    relay.sandbox.addFault({
      endpoint: 'subscribe',
      status: 404,
      body: {
        errors: [
          {
            detail: 'A list with id Gone does not exist.',
            source: { pointer: '/data/relationships/list/data/id' },
          },
        ],
      },
      times: 1,
    });
    await post('/v1/subscriptions', { email, channels, list_id: 'Gone' });
    await relay.untilSettled();
    await post('/v1/subscriptions', { email: 'b@klaviyo-demo.com', channels, list_id: 'Here' });
    await relay.untilSettled();
    const { body } = await relay.get('/v1/dead-letters');
    expect(body.data).toMatchObject([{ lane: 'subscribe', reason: { code: 'rejected' } }]);
    await untilConsent('b@klaviyo-demo.com', 'SUBSCRIBED');
  });
});

describe('a consent that is older than an unsubscription', () => {
  const old = { historical: true, consented_at: '2026-01-31T09:30:00Z' };

  it('is not sent and becomes a dead letter, also when that is redriven', async () => {
    relay = await startRelay();
    await post('/v1/unsubscriptions', { email, channels, everywhere: true });
    await relay.untilSettled();
    await untilConsent(email, 'UNSUBSCRIBED');
    const id = await post('/v1/subscriptions', { email, channels, ...old });
    await relay.untilSettled();
    const isWithdrawn = [{ id, lane: 'subscribe', reason: { code: 'consent_withdrawn' } }];
    expect((await relay.get('/v1/dead-letters')).body.data).toMatchObject(isWithdrawn);
    const redriven = await relay.post(`/v1/dead-letters/${id}/redrive`, {});
    expect(redriven.body).toMatchObject({ redriven: 1 });
    await relay.untilSettled();
    expect((await relay.get('/v1/dead-letters')).body.data).toMatchObject(isWithdrawn);
    expect(requestPaths()).toEqual(['profile-subscription-bulk-delete-jobs']);
    const { accepted, deadLettered } = (await relay.counts()).subscribe;
    expect([accepted, deadLettered]).toEqual([2, 2]);
  });

  it('does not hold back a new consent of the person', async () => {
    relay = await startRelay();
    await post('/v1/unsubscriptions', { email, channels, everywhere: true });
    await relay.untilSettled();
    await post('/v1/subscriptions', { email, channels });
    await relay.untilSettled();
    await untilConsent(email, 'SUBSCRIBED');
  });
});

describe('a key without subscriptions:write', () => {
  it('pauses the subscriptions alone, and loses none', async () => {
    relay = await startRelay({
      sandbox: { apiKeys: ['pk_test_key_1'], scopes: { pk_test_key_1: scopes } },
    });
    await post('/v1/subscriptions', { email, channels });
    await post('/v1/profiles', { email: 'b@klaviyo-demo.com' });
    await post('/v1/events', { event_name: 'Viewed', email });
    await relay.until('the others are delivered', async () => {
      const { events, profiles } = await relay.counts();
      return events.delivered === 1 && profiles.delivered === 1;
    });
    expect((await relay.counts()).subscribe).toMatchObject({ buffered: 1, deadLettered: 0 });
    const text = await relay.app.metrics.registry.metrics();
    expect(text).toMatch(/relay_klaviyo_paused\{lane="subscribe",reason="scope"\} 1/);
    expect(text).not.toMatch(/relay_klaviyo_paused\{lane="profiles",reason="scope"\} 1/);
    expect(relay.logged.join('\n')).toContain('give the key its scopes (subscriptions:write');
    const readiness = await relay.get('/readyz');
    expect(readiness.status).toBe(200);
    expect(readiness.body).toMatchObject({
      checks: { klaviyo_profiles: { ok: true }, klaviyo_suppress: { ok: true } },
    });
    const { klaviyo_subscribe: check } = readiness.body.checks as Record<string, object>;
    expect(check).toMatchObject({ ok: false });
    expect(JSON.stringify(check)).toMatch(
      /scope: forbidden: give the key its scopes \(subscriptions:write, profiles:write, lists:write\)/,
    );
  });
});
