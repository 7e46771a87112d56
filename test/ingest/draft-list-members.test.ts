import { describe, expect, it } from 'vitest';
import { toProfileKeys } from '../../src/ingest/identity.js';
import { readElement, readGroup } from '../../src/model/group.js';
import { createFixture, toJson } from './fixture.js';

const email = 'ada@klaviyo-demo.com';

describe('the lists of a posted profile', () => {
  it('become one draft each, with the identifiers alone, behind the draft of the profile', async () => {
    const { accept, drafts } = createFixture({ defaultCountry: 'US' });
    const posted = { email, distinct_id: 42, first_name: 'Ada', lists: ['ListA', 'B2', 'ListA'] };
    const accepted = await accept.one('profiles', JSON.stringify(posted), {});
    expect(accepted).toMatchObject({ kind: 'accepted', listIds: ['env-1-1', 'env-1-2'] });
    const [profile, ...additions] = drafts();
    expect(profile?.lane).toBe('profiles');
    expect(toJson(profile?.payload)).toEqual({
      type: 'profile',
      attributes: { email, external_id: '42', first_name: 'Ada' },
    });
    expect(additions.map(({ lane, payload }) => [lane, readGroup(payload)])).toEqual([
      ['add_to_list', 'ListA'],
      ['add_to_list', 'B2'],
    ]);
    for (const { keys, payload } of additions) {
      expect(keys).toEqual(toProfileKeys({ email, externalId: '42' }));
      expect(toJson(readElement(payload))).toEqual({
        type: 'profile',
        attributes: { email, external_id: '42' },
      });
    }
  });

  it.each([[[]], [null]])('may be %j, which adds to no list', async (lists) => {
    const { accept, drafts } = createFixture();
    const accepted = await accept.one('profiles', JSON.stringify({ email, lists }), {});
    expect(accepted).toMatchObject({ kind: 'accepted', listIds: [] });
    expect(drafts().map(({ lane }) => lane)).toEqual(['profiles']);
  });

  it.each<[string, unknown]>([
    ['no list', 'Y6nRLr'],
    ['a name with blanks', ['My list']],
    ['a number', [7]],
    ['an id that is too long', ['x'.repeat(41)]],
    ['more than 50 ids', Array.from({ length: 51 }, (_, index) => `L${index}`)],
  ])('are invalid if they are %s', async (_name, lists) => {
    const { accept } = createFixture();
    expect(await accept.one('profiles', JSON.stringify({ email, lists }), {})).toEqual({
      kind: 'invalid',
      errors: [{ pointer: '/lists', detail: 'must be a list of at most 50 ids of lists' }],
    });
  });

  it('become drafts of another lane behind these, if the person leaves them', async () => {
    const { accept, drafts } = createFixture();
    const posted = { email, plan: null, lists: ['A'], remove_from_lists: ['B', 'C', 'B'] };
    const accepted = await accept.one('profiles', JSON.stringify(posted), {});
    expect(accepted).toMatchObject({
      kind: 'accepted',
      id: 'env-1-0',
      listIds: ['env-1-1'],
      removalIds: ['env-1-2', 'env-1-3'],
    });
    const [, , ...removals] = drafts();
    expect(drafts().map(({ lane }) => lane)).toEqual([
      'update_profile',
      'add_to_list',
      'remove_from_list',
      'remove_from_list',
    ]);
    expect(removals.map(({ payload }) => readGroup(payload))).toEqual(['B', 'C']);
    for (const { keys, payload } of removals) {
      expect(keys).toEqual(toProfileKeys({ email }));
      expect(toJson(readElement(payload))).toEqual({ type: 'profile', attributes: { email } });
    }
  });

  it('are drafted beside the profile if it has remove_from_lists alone', async () => {
    const { accept, drafts } = createFixture();
    for (const lists of [undefined, null, []]) {
      const posted = JSON.stringify({ email, lists, remove_from_lists: ['A'] });
      await accept.one('profiles', posted, {});
      expect(
        drafts()
          .splice(-2)
          .map(({ lane }) => lane),
      ).toEqual(['profiles', 'remove_from_list']);
    }
  });

  it('cannot be joined and left at once', async () => {
    const { accept, drafts } = createFixture();
    const posted = { email, lists: ['A', 'B'], remove_from_lists: ['C', 'B'] };
    expect(await accept.one('profiles', JSON.stringify(posted), {})).toEqual({
      kind: 'invalid',
      errors: [{ pointer: '/remove_from_lists/1', detail: 'is also in lists' }],
    });
    expect(drafts()).toEqual([]);
  });

  it('are invalid if they are left and no ids of lists', async () => {
    const { accept } = createFixture();
    const posted = JSON.stringify({ email, remove_from_lists: 'A' });
    expect(await accept.one('profiles', posted, {})).toEqual({
      kind: 'invalid',
      errors: [
        { pointer: '/remove_from_lists', detail: 'must be a list of at most 50 ids of lists' },
      ],
    });
  });

  it('add nothing to the counts and the ids of a batch', async () => {
    const { accept, drafts } = createFixture();
    const body = JSON.stringify([
      { email: 'a@klaviyo-demo.com', lists: ['A', 'B'] },
      { email: 'none', lists: ['A'] },
      { email: 'c@klaviyo-demo.com', lists: ['A'] },
    ]);
    const accepted = await accept.many('profiles', body, { format: 'json', strict: false });
    expect(accepted).toMatchObject({
      kind: 'accepted',
      accepted: 2,
      ids: ['env-1-0', 'env-1-3'],
      rejected: [{ index: 1 }],
      rejectedCount: 1,
    });
    expect(drafts().map(({ lane }) => lane)).toEqual([
      'profiles',
      'add_to_list',
      'add_to_list',
      'profiles',
      'add_to_list',
    ]);
  });
});
