import { afterEach, describe, expect, it } from 'vitest';
import { startRelay, type RelayUnderTest } from '../support/relay.js';

const email = 'ada@klaviyo-demo.com';

let relay: RelayUnderTest;
afterEach(() => relay.stop());

/** The profile of an address in the sandbox. */
const profileOf = (who: string) =>
  relay.sandbox.state().profiles.find(({ attributes }) => attributes.email === who);

/** The requests that changed profiles or lists, in order. */
const requestPaths = (): readonly string[] =>
  relay.sandbox
    .state()
    .requests.filter(({ method }) => method !== 'GET')
    .map(({ path }) => path.replace('/api/', ''));

describe('a profile with lists', () => {
  it('joins each list after the profile is imported, and each addition has a receipt', async () => {
    relay = await startRelay();
    const posted = { email, first_name: 'Ada', lists: ['ListA', 'ListB', 'ListA'] };
    const { status, body } = await relay.post('/v1/profiles', posted);
    expect(status).toBe(202);
    expect(body).toMatchObject({ status: 'accepted', id: expect.stringMatching(/^pr_/) as string });
    const ids = body.lists as readonly string[];
    expect(ids).toHaveLength(2);
    await relay.untilSettled();
    expect(profileOf(email)?.lists).toEqual(['ListA', 'ListB']);
    expect(profileOf(email)?.attributes).toEqual({ email, first_name: 'Ada' });
    for (const id of ids) {
      const receipt = await relay.get(`/v1/receipts/${id}`);
      expect(receipt.body).toMatchObject({ lane: 'add_to_list', state: 'delivered' });
    }
    const requests = relay.sandbox.state().requests.filter(({ method }) => method === 'POST');
    expect(requests).toHaveLength(3);
  });

  it('joins after the exact update that was posted with it', async () => {
    relay = await startRelay();
    await relay.post('/v1/profiles', { email, first_name: null, plan: 'gold', lists: ['ListA'] });
    await relay.untilSettled();
    expect(requestPaths()).toEqual(['profile-import', 'profile-bulk-import-jobs']);
    expect(profileOf(email)).toMatchObject({
      attributes: { email, properties: { plan: 'gold' } },
      lists: ['ListA'],
    });
  });

  it('shares a request with other profiles of a batch that join the same list', async () => {
    relay = await startRelay();
    const profiles = Array.from({ length: 6 }, (_, index) => ({
      email: `p${index}@klaviyo-demo.com`,
      lists: [`List${index % 2}`],
    }));
    const response = await relay.post('/v1/profiles/batch?ids=true', { profiles });
    expect(response.body).toMatchObject({ accepted: 6, duplicates: 0, rejected: [] });
    expect(response.body.ids).toHaveLength(6);
    expect(response.body).not.toHaveProperty('lists');
    await relay.untilSettled();
    expect(requestPaths()).toHaveLength(3);
    for (const { email: who, lists } of profiles) expect(profileOf(who)?.lists).toEqual(lists);
    const { profiles: imported, add_to_list: added } = await relay.counts();
    expect([imported.accepted, imported.delivered]).toEqual([6, 6]);
    expect([added.accepted, added.delivered]).toEqual([6, 6]);
  });

  it('joins the others when one list is wrong, and the lane goes on', async () => {
    relay = await startRelay();
    await relay.post('/v1/profiles', { email });
    await relay.untilSettled();
    relay.sandbox.addFault({
      endpoint: 'bulk-profiles',
      status: 404,
      body: {
        errors: [
          {
            detail: 'A list with id Gone does not exist.',
            source: { pointer: '/data/relationships/lists/data/0/id' },
          },
        ],
      },
      // The import of the profile comes first.
      skip: 1,
      times: 1,
    });
    await relay.post('/v1/profiles', { email, lists: ['Gone', 'Here'] });
    await relay.untilSettled();
    const { body } = await relay.get('/v1/dead-letters');
    expect(body.data).toMatchObject([{ lane: 'add_to_list', reason: { code: 'rejected' } }]);
    expect(profileOf(email)?.lists).toEqual(['Here']);
  });
});
