import { afterEach, describe, expect, it } from 'vitest';
import { startRelay, type RelayUnderTest } from '../support/relay.js';

const email = 'ada@klaviyo-demo.com';

let relay: RelayUnderTest;
afterEach(() => relay.stop());

/** The attributes of an address in the sandbox. */
const attributesOf = (who: string): unknown =>
  relay.sandbox.state().profiles.find(({ attributes }) => attributes.email === who)?.attributes;

/** The requests that changed profiles, in order. */
const requestPaths = (): readonly string[] =>
  relay.sandbox
    .state()
    .requests.filter(({ method }) => method === 'POST')
    .map(({ path }) => path.replace('/api/', ''));

async function post(profile: object): Promise<string> {
  const response = await relay.post('/v1/profiles', profile);
  expect(response.status, JSON.stringify(response.body)).toBe(202);
  return String(response.body.id);
}

const ada = {
  email,
  first_name: 'Ada',
  title: 'Analyst',
  location: { city: 'London', zip: '1' },
  properties: { plan: 'gold', coupon: 'WINTER', tags: ['new', 'vip'] },
};

describe('an exact update', () => {
  it('clears and changes at Klaviyo what it names, and its receipt says so', async () => {
    relay = await startRelay();
    await post(ada);
    const id = await post({
      email,
      title: null,
      last_name: 'Lovelace',
      location: { city: null },
      plan: null,
      unset: ['coupon'],
      append: { tags: 'gold' },
    });
    expect(id).toMatch(/^up_/);
    await post({ email, unappend: { tags: ['new'] } });
    await relay.untilSettled();
    expect(attributesOf(email)).toEqual({
      email,
      first_name: 'Ada',
      last_name: 'Lovelace',
      location: { zip: '1' },
      properties: { tags: ['vip', 'gold'] },
    });
    const receipt = await relay.get(`/v1/receipts/${id}`);
    expect(receipt.body).toMatchObject({ lane: 'update_profile', state: 'delivered' });
  });

  it('is applied between the profiles that were accepted before and after it', async () => {
    relay = await startRelay();
    await post({ email, first_name: 'Ada', plan: 'gold' });
    await post({ email, first_name: null, plan: null });
    await post({ email, plan: 'silver' });
    await post({ email, first_name: 'Augusta' });
    await relay.untilSettled();
    expect(requestPaths()).toEqual([
      'profile-bulk-import-jobs',
      'profile-import',
      'profile-bulk-import-jobs',
    ]);
    expect(attributesOf(email)).toEqual({
      email,
      first_name: 'Augusta',
      properties: { plan: 'silver' },
    });
    const { profiles, update_profile: exact } = await relay.counts();
    expect([profiles.accepted, profiles.delivered, profiles.merged]).toEqual([3, 2, 1]);
    expect([exact.accepted, exact.delivered]).toEqual([1, 1]);
  });

  it('is sent again after a failure, before the later profile of the person', async () => {
    relay = await startRelay();
    relay.sandbox.addFault({ endpoint: 'profile-import', status: 503, times: 2 });
    await post({ email, first_name: null });
    await post({ email, first_name: 'Augusta' });
    await post({ email: 'b@klaviyo-demo.com', first_name: 'Bob' });
    await relay.untilSettled();
    expect(attributesOf(email)).toEqual({ email, first_name: 'Augusta' });
    expect(attributesOf('b@klaviyo-demo.com')).toMatchObject({ first_name: 'Bob' });
  });

  it('whose identifiers belong to two profiles becomes a dead letter that names the other one', async () => {
    relay = await startRelay();
    relay.sandbox.addFault({
      endpoint: 'profile-import',
      status: 409,
      body: {
        errors: [
          {
            code: 'duplicate_profile',
            detail: 'A profile already exists with one of these identifiers.',
            source: { pointer: '/data/attributes' },
            meta: { duplicate_profile_id: '01M1PAAR5H' },
          },
        ],
      },
      times: 1,
    });
    await post({ email, distinct_id: 'customer-42', first_name: null });
    await post({ email: 'b@klaviyo-demo.com', title: null });
    await relay.untilSettled();
    const { body } = await relay.get('/v1/dead-letters');
    expect(body.data).toMatchObject([{ lane: 'update_profile', reason: { code: 'duplicate' } }]);
    expect(JSON.stringify(body.data)).toContain('the profile 01M1PAAR5H');
    expect(attributesOf('b@klaviyo-demo.com')).toEqual({ email: 'b@klaviyo-demo.com' });
  });

  it('of a batch hurts only itself if it is not valid', async () => {
    relay = await startRelay();
    const response = await relay.post('/v1/profiles/batch', [
      { email, append: { first_name: 'x' } },
      { email: 'b@klaviyo-demo.com', plan: null },
      { email: 'c@klaviyo-demo.com', plan: 'gold' },
    ]);
    expect(response.body).toMatchObject({
      accepted: 2,
      rejected: [{ index: 0, errors: [{ pointer: '/append/first_name' }] }],
    });
    await relay.untilSettled();
    const { profiles, update_profile: exact } = await relay.counts();
    expect([profiles.delivered, exact.delivered]).toEqual([1, 1]);
  });
});
