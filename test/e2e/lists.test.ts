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

describe('a profile with lists to leave', () => {
  const removals = () => relay.sandbox.state().requests.filter(({ method }) => method === 'DELETE');
  const lookUps = () =>
    relay.sandbox.state().requests.filter(({ path }) => path.startsWith('/api/profiles?'));

  it('leaves each list after what was accepted before, and each removal has a receipt', async () => {
    relay = await startRelay();
    await relay.post('/v1/profiles', { email, lists: ['ListA', 'ListB', 'ListC'] });
    const posted = { email, first_name: 'Ada', remove_from_lists: ['ListA', 'ListB'] };
    const { status, body } = await relay.post('/v1/profiles', posted);
    expect(status).toBe(202);
    expect(body).not.toHaveProperty('lists');
    await relay.untilSettled();
    expect(profileOf(email)?.lists).toEqual(['ListC']);
    expect(profileOf(email)?.attributes).toEqual({ email, first_name: 'Ada' });
    const ids = body.remove_from_lists as readonly string[];
    expect(ids).toHaveLength(2);
    for (const id of ids) {
      expect(id).toMatch(/^rl_/);
      const receipt = await relay.get(`/v1/receipts/${id}`);
      expect(receipt.body).toMatchObject({ lane: 'remove_from_list', state: 'delivered' });
    }
    expect(requestPaths().slice(-2).sort()).toEqual(
      ['ListA', 'ListB'].map((list) => `lists/${list}/relationships/profiles`),
    );
  });

  it('shares a request with others who leave the list, whatever identifiers they have', async () => {
    relay = await startRelay();
    const people = [
      { email: 'a+b@klaviyo-demo.com' },
      { phone_number: '+15005550006' },
      { distinct_id: 'customer "1", \\[2]' },
      { email: 'c@klaviyo-demo.com', distinct_id: 'customer-3' },
    ];
    await relay.post('/v1/profiles/batch', {
      profiles: people.map((person) => ({ ...person, lists: ['ListA'] })),
    });
    await relay.untilSettled();
    expect(relay.sandbox.state().profiles.map(({ lists }) => lists)).toEqual(
      people.map(() => ['ListA']),
    );
    await relay.post('/v1/profiles/batch', {
      profiles: people.map((person) => ({ ...person, remove_from_lists: ['ListA'] })),
    });
    await relay.untilSettled();
    expect(relay.sandbox.state().profiles.map(({ lists }) => lists)).toEqual(people.map(() => []));
    expect(removals()).toHaveLength(1);
    expect(lookUps()).toHaveLength(3);
  });

  it('is removed before a later unsubscription from the same list is sent', async () => {
    relay = await startRelay();
    const channels = { email: ['marketing'] };
    const subscription = { email, channels, list_id: 'ListA' };
    await relay.post('/v1/subscriptions', subscription);
    await relay.post('/v1/lanes/remove_from_list/pause', {});
    await relay.post('/v1/profiles', { email, remove_from_lists: ['ListA'] });
    await relay.post('/v1/unsubscriptions', subscription);
    await relay.until('the profile is delivered', async () => {
      return (await relay.counts()).profiles.delivered === 1;
    });
    expect(profileOf(email)?.consent['email.marketing']?.status).toBe('SUBSCRIBED');
    await relay.post('/v1/lanes/remove_from_list/resume', {});
    await relay.untilSettled();
    // Klaviyo unsubscribes a person from everything who is not in the list.
    await relay.until('the person is unsubscribed', () => {
      return profileOf(email)?.consent['email.marketing']?.status === 'UNSUBSCRIBED';
    });
    expect(profileOf(email)).toMatchObject({ lists: [], listSuppressions: [] });
  });

  it('withdraws no consent, and suppresses nothing', async () => {
    relay = await startRelay();
    await relay.post('/v1/subscriptions', {
      ...{ email, channels: { email: ['marketing'] }, list_id: 'ListA' },
    });
    await relay.post('/v1/profiles', { email, remove_from_lists: ['ListA'] });
    await relay.untilSettled();
    expect(profileOf(email)).toMatchObject({ lists: [], suppressions: [], listSuppressions: [] });
    expect(profileOf(email)?.consent['email.marketing']?.status).toBe('SUBSCRIBED');
  });

  it('leaves the others in when Klaviyo does not have the list, and the lane goes on', async () => {
    relay = await startRelay();
    await relay.post('/v1/profiles', { email, lists: ['Here'] });
    await relay.post('/v1/profiles', { email, remove_from_lists: ['Gone', 'Here'] });
    await relay.untilSettled();
    const { body } = await relay.get('/v1/dead-letters');
    expect(body.data).toMatchObject([
      {
        lane: 'remove_from_list',
        reason: { code: 'rejected', detail: expect.stringContaining('Gone') as string },
      },
    ]);
    expect(profileOf(email)?.lists).toEqual([]);
  });

  it('keeps everything when the key may not look up profiles, and leaves when it may', async () => {
    relay = await startRelay();
    await relay.post('/v1/profiles', { email, lists: ['ListA'] });
    await relay.untilSettled();
    relay.sandbox.addFault({ endpoint: 'profiles', status: 403, times: 1 });
    await relay.post('/v1/profiles', { email, remove_from_lists: ['ListA'] });
    await relay.until('the lane is blocked', async () => {
      const metrics = await relay.app.metrics.registry.metrics();
      return /relay_klaviyo_paused\{[^}]*remove_from_list[^}]*\} 1/.test(metrics);
    });
    expect(profileOf(email)?.lists).toEqual(['ListA']);
    expect(relay.logged.join('')).toContain('profiles:write, lists:write, profiles:read');
    await relay.untilSettled();
    expect(profileOf(email)?.lists).toEqual([]);
  });
});
