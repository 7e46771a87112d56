import { afterEach, describe, expect, it } from 'vitest';
import { startRelay, type RelayUnderTest } from '../support/relay.js';

const email = 'ada@klaviyo-demo.com';
const channels = { email: ['marketing'] };

let relay: RelayUnderTest;
afterEach(() => relay.stop());

/** The profile of the address in the sandbox. */
const profile = () =>
  relay.sandbox.state().profiles.find(({ attributes }) => attributes.email === email);

const isSuppressed = (): boolean =>
  profile()?.suppressions.some(({ reason }) => reason === 'USER_SUPPRESSED') === true;

/** The requests that changed something, in order. */
const requestPaths = (): readonly string[] =>
  relay.sandbox
    .state()
    .requests.filter(({ method }) => method === 'POST')
    .map(({ path }) => path.replace('/api/profile-', ''));

async function post(path: string, body: object): Promise<string> {
  const response = await relay.post(path, body);
  expect(response.status, JSON.stringify(response.body)).toBe(202);
  return String(response.body.id);
}

const stateOf = async (id: string): Promise<unknown> =>
  (await relay.get(`/v1/receipts/${id}`)).body.state;

describe('a suppression', () => {
  it('holds when its receipt says delivered, and leaves the consent as it is', async () => {
    relay = await startRelay();
    await post('/v1/subscriptions', { email, channels });
    await relay.untilSettled();
    await relay.until('the consent', () => profile()?.consent['email.marketing'] !== undefined);
    const id = await post('/v1/suppressions', { email });
    expect(id).toMatch(/^sp_/);
    await relay.untilSettled();
    expect(await stateOf(id)).toBe('delivered');
    expect(isSuppressed()).toBe(true);
    expect(profile()?.consent['email.marketing']?.status).toBe('SUBSCRIBED');
  });

  it('ends with an unsuppression, and an address that was not suppressed is delivered as well', async () => {
    relay = await startRelay();
    const ids = [
      await post('/v1/suppressions', { email }),
      await post('/v1/unsuppressions', { email }),
      await post('/v1/unsuppressions', { email: 'unknown@klaviyo-demo.com' }),
    ];
    await relay.untilSettled();
    expect(isSuppressed()).toBe(false);
    for (const id of ids) expect(await stateOf(id)).toBe('delivered');
    const { body } = await relay.get('/v1/deliveries?lane=unsuppress');
    const deliveries = body.data as readonly unknown[];
    expect(deliveries.length).toBeGreaterThan(0);
    for (const delivery of deliveries) {
      expect(delivery).toMatchObject({ result: 'delivered', import_job: { status: 'complete' } });
    }
  });

  it('leaves after the subscription that was accepted before it, and before the one accepted after it', async () => {
    relay = await startRelay();
    await post('/v1/subscriptions', { email, channels });
    await post('/v1/suppressions', { email });
    await post('/v1/subscriptions', { email, channels });
    await relay.untilSettled();
    expect(requestPaths()).toEqual([
      'subscription-bulk-create-jobs',
      'suppression-bulk-create-jobs',
      'subscription-bulk-create-jobs',
    ]);
  });

  it('with an address that Klaviyo rejects becomes a dead letter, and its neighbours are delivered', async () => {
    relay = await startRelay();
    const pointer = '/data/attributes/profiles/data/1/attributes/email';
    const errors = [{ detail: 'Invalid email address.', source: { pointer } }];
    relay.sandbox.addFault({ endpoint: 'suppress', status: 400, body: { errors }, times: 1 });
    const suppressions = ['a', 'b', 'c'].map((name) => ({ email: `${name}@klaviyo-demo.com` }));
    await relay.post('/v1/suppressions/batch', { suppressions });
    await relay.untilSettled();
    expect((await relay.get('/v1/dead-letters')).body.data).toMatchObject([
      { lane: 'suppress', reason: { code: 'rejected', detail: 'Invalid email address.' } },
    ]);
    expect((await relay.counts()).suppress).toMatchObject({ accepted: 3, delivered: 2 });
  });
});

describe('a key without subscriptions:read', () => {
  it('delivers suppressions that Klaviyo accepted, and shows that their jobs cannot be read', async () => {
    const scopes = ['subscriptions:write', 'profiles:write', 'lists:write'];
    relay = await startRelay({
      sandbox: { apiKeys: ['pk_test_key_1'], scopes: { pk_test_key_1: scopes } },
    });
    const id = await post('/v1/suppressions', { email });
    await relay.untilSettled();
    expect(await stateOf(id)).toBe('delivered');
    const { body } = await relay.get('/v1/deliveries?lane=suppress');
    expect(body.data).toMatchObject([{ import_job: { status: 'unreadable' } }]);
  });
});
