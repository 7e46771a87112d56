import { describe, expect, it } from 'vitest';
import { draftEntry, type DraftContext, type Drafted } from '../../src/ingest/draft.js';
import { draftSourceEntry } from '../../src/ingest/draft-source-entry.js';
import { createToE164 } from '../../src/ingest/phone.js';
import { toProfileKeys } from '../../src/ingest/identity.js';
import { limits } from '../../src/ingest/limits.js';
import { startMs } from '../support/builders.js';
import { newestRules } from '../support/revisions.js';
import { createFixture, toJson } from './fixture.js';

const email = 'ada@klaviyo-demo.com';

const context: DraftContext = {
  acceptedAt: startMs,
  backfillBefore: -Infinity,
  rules: newestRules,
  newId: () => 'unused',
  toE164: createToE164(undefined),
  nullClears: true,
};

const draft = (posted: object, terms: Partial<DraftContext> = {}): Drafted =>
  draftEntry('profiles', { value: { email, ...posted }, errors: [] }, { ...context, ...terms });

/** The lane and the payload of a valid profile. */
function read(drafted: Drafted): { readonly lane: string; readonly payload: unknown } {
  if (!drafted.ok) throw new Error(JSON.stringify(drafted.errors));
  return { lane: drafted.draft.lane, payload: toJson(drafted.draft.payload) };
}

const issuesOf = (drafted: Drafted): readonly string[] =>
  drafted.ok ? [] : drafted.errors.map(({ pointer, detail }) => `${pointer} ${detail}`);

/** The payload of an exact update, without what all have in common. */
function readExact(posted: object): unknown {
  const { lane, payload } = read(draft(posted));
  expect(lane).toBe('update_profile');
  return payload;
}

describe('a posted profile', () => {
  it.each<[string, object]>([
    ['values alone', { first_name: 'Ada', location: { city: 'London' }, plan: 'gold' }],
    ['null identifiers', { phone_number: null, distinct_id: null, anonymous_id: null }],
    ['null for all custom properties', { properties: null }],
    ['changes of nothing', { append: {}, unappend: {}, unset: [] }],
    ['null for the changes', { append: null, unappend: null, unset: null }],
    ['a null within a custom property', { properties: { size: { shoe: null } } }],
    ['a null that a top-level field replaces', { properties: { plan: null }, plan: 'gold' }],
  ])('with %s is part of a bulk import', (_name, posted) => {
    expect(read(draft(posted)).lane).toBe('profiles');
  });

  it.each<[string, object, object]>([
    [
      'clears an attribute that is null',
      { first_name: null, last_name: 'Lovelace' },
      { attributes: { email, first_name: null, last_name: 'Lovelace' } },
    ],
    [
      'clears one member of the location and sets another',
      { location: { city: null, zip: '1' } },
      { attributes: { email, location: { zip: '1', city: null } } },
    ],
    [
      'clears a location that is null',
      { location: null },
      { attributes: { email, location: null } },
    ],
    [
      'unsets custom properties that are null, wherever they are posted',
      { properties: { plan: null, size: 38 }, coupon: null },
      {
        attributes: { email, properties: { size: 38 } },
        meta: { patch_properties: { unset: ['plan', 'coupon'] } },
      },
    ],
    [
      'unsets a property once that is null and in unset',
      { plan: null, unset: ['plan', 'coupon'] },
      {
        attributes: { email },
        meta: { patch_properties: { unset: ['plan', 'coupon'] } },
      },
    ],
    [
      'changes lists in custom properties',
      { append: { tags: ['a', 7] }, unappend: { sizes: 38 }, unset: ['plan'], first_name: 'Ada' },
      {
        attributes: { email, first_name: 'Ada' },
        meta: {
          patch_properties: {
            append: { tags: ['a', 7] },
            unappend: { sizes: 38 },
            unset: ['plan'],
          },
        },
      },
    ],
  ])('%s', (_name, posted, expected) => {
    expect(readExact(posted)).toEqual({ type: 'profile', ...expected });
  });

  it('has the identity keys of a bulk import of the same person', () => {
    const drafted = draft({ first_name: null, distinct_id: 42 });
    expect(drafted).toMatchObject({
      draft: { keys: toProfileKeys({ email, externalId: '42' }) },
    });
  });

  it.each<[string, object, string]>([
    [
      'append to an attribute',
      { append: { first_name: 'Ada' } },
      '/append/first_name is a field of a profile and no custom property: set it, or clear it with null',
    ],
    [
      'unset of an identifier',
      { unset: ['plan', 'email'] },
      '/unset/1 is a field of a profile and no custom property: set it, or clear it with null',
    ],
    [
      'one property in append and unappend',
      { append: { tags: 'a' }, unappend: { tags: 'b' } },
      '/unappend/tags is also in append: Klaviyo defines no order of the two',
    ],
    [
      'one property in unappend and unset',
      { unappend: { tags: 'b' }, unset: ['tags'] },
      '/unset/0 is also in unappend: Klaviyo defines no order of the two',
    ],
    [
      'a property that is set and appended to',
      { tags: ['a'], append: { tags: 'b' } },
      '/append/tags is also in the properties: Klaviyo defines no order of the two',
    ],
    [
      'a property that is null and appended to',
      { tags: null, append: { tags: 'b' } },
      '/append/tags is also in unset: Klaviyo defines no order of the two',
    ],
    [
      'an object to append',
      { append: { tags: { a: 1 } } },
      '/append/tags must be a string, a number or a boolean, or a list of these',
    ],
    ['append that is no object', { append: ['tags'] }, '/append must be a JSON object'],
    ['unset that is no list', { unset: 'plan' }, '/unset must be a list of names'],
    ['unset with a name that is none', { unset: ['plan', ''] }, '/unset must be a list of names'],
  ])('with %s is invalid, and the issue names the field', (_name, posted, issue) => {
    expect(issuesOf(draft(posted))).toEqual([issue]);
  });

  it('is rejected as an exact update if its request has more than 100,000 bytes', () => {
    const overhead = JSON.stringify({ data: readExact({ unset: ['plan'], note: '' }) }).length;
    const sized = (bytes: number): Drafted =>
      draft({ unset: ['plan'], note: 'x'.repeat(bytes - overhead) });
    expect(issuesOf(sized(limits.profileBytes))).toEqual([]);
    expect(issuesOf(sized(limits.profileBytes + 1))).toEqual([' is longer than 100000 bytes']);
  });
});

describe('a batch of profiles', () => {
  it('has exact updates and bulk imports in the posted order', async () => {
    const { accept, drafts, counted } = createFixture();
    const body = JSON.stringify([
      { email: 'a@klaviyo-demo.com' },
      { email: 'b@klaviyo-demo.com', plan: null },
      { email: 'c@klaviyo-demo.com', plan: 'gold' },
    ]);
    const accepted = await accept.many('profiles', body, { format: 'json', strict: false });
    expect(accepted).toMatchObject({ kind: 'accepted', accepted: 3 });
    expect(drafts().map(({ lane }) => lane)).toEqual(['profiles', 'update_profile', 'profiles']);
    expect(await counted('ingest')).toEqual([
      { lane: 'profiles', outcome: 'accepted', value: 2 },
      { lane: 'update_profile', outcome: 'accepted', value: 1 },
    ]);
  });
});

describe('a profile of a source', () => {
  const fromSource = (entry: object) =>
    draftSourceEntry(
      'shopify',
      { lane: 'profiles', index: 0, entry: { email, ...entry } },
      { ...context, nullClears: undefined },
    ).draft;

  it('clears nothing with a null, because the sender only has no value', () => {
    const { lane, payload } = fromSource({
      first_name: null,
      location: null,
      plan: null,
      properties: { size: null },
    });
    expect(lane).toBe('profiles');
    expect(toJson(payload)).toMatchObject({ attributes: { email } });
  });

  it('may ask for an exact update, which its nulls are not part of', () => {
    const { lane, payload } = fromSource({ plan: null, first_name: null, unset: ['coupon'] });
    expect(lane).toBe('update_profile');
    expect(toJson(payload)).toEqual({
      type: 'profile',
      attributes: { email },
      meta: { patch_properties: { unset: ['coupon'] } },
    });
  });
});
