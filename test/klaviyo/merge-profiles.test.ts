import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { parseJson, stringifyJson } from '../../src/json/json.js';
import { mergeProfiles } from '../../src/klaviyo/merge-profiles.js';

const toBytes = (text: string): Uint8Array => new TextEncoder().encode(text);
const toText = (bytes: Uint8Array): string => new TextDecoder().decode(bytes);
const merge = (...texts: readonly string[]): string => toText(mergeProfiles(texts.map(toBytes)));
const aProfile = (attributes: object): string => JSON.stringify({ type: 'profile', attributes });

describe('merged profiles', () => {
  it('have the newer value of each attribute, and those that only the older profile has', () => {
    const merged = merge(
      aProfile({ email: 'a@b.co', first_name: 'Ada', title: 'Countess' }),
      aProfile({ email: 'a@b.co', title: 'Analyst', locale: 'en' }),
    );
    expect(JSON.parse(merged)).toEqual({
      type: 'profile',
      attributes: { email: 'a@b.co', first_name: 'Ada', title: 'Analyst', locale: 'en' },
    });
  });

  it.each(['location', 'properties'])('have the newer value of each member of %s', (name) => {
    const merged = merge(
      aProfile({ [name]: { city: 'Boston', zip: '1', tags: { a: 1, b: 2 } } }),
      aProfile({ [name]: { city: 'Salem', region: 'MA', tags: { c: 3 } } }),
    );
    expect(JSON.parse(merged)).toMatchObject({
      attributes: { [name]: { city: 'Salem', zip: '1', region: 'MA', tags: { c: 3 } } },
    });
    // Merging is one level deep: a property is replaced as a whole.
    expect(merged).not.toContain('"b":2');
  });

  it('never lose a value because of a null', () => {
    const merged = merge(
      aProfile({ first_name: 'Ada', location: { city: 'Boston' }, properties: { plan: 'pro' } }),
      aProfile({ first_name: null, location: { city: null }, properties: null }),
    );
    expect(JSON.parse(merged)).toMatchObject({
      attributes: { first_name: 'Ada', location: { city: 'Boston' }, properties: { plan: 'pro' } },
    });
  });

  it('have a value instead of a null, and keep a null if there is no value', () => {
    const merged = merge(
      aProfile({ properties: { plan: null, left: null } }),
      aProfile({ properties: { plan: 'pro', right: null } }),
    );
    expect(merged).toBe(aProfile({ properties: { plan: 'pro', left: null, right: null } }));
  });

  it('keep names in the order in which they first occurred', () => {
    const merged = merge(
      aProfile({ email: 'a@b.co', properties: { z: 1, a: 1 } }),
      aProfile({ properties: { m: 1, a: 2 }, email: 'a@b.co' }),
    );
    expect(merged).toBe(aProfile({ email: 'a@b.co', properties: { z: 1, a: 2, m: 1 } }));
  });

  it('keep every digit of integers that a JavaScript number cannot hold', () => {
    const merged = merge(
      '{"type":"profile","attributes":{"properties":{"old":9007199254740993}}}',
      '{"type":"profile","attributes":{"properties":{"new":-123456789012345678901234567890}}}',
    );
    expect(merged).toBe(
      '{"type":"profile","attributes":{"properties":{"old":9007199254740993,"new":-123456789012345678901234567890}}}',
    );
  });

  it('treat __proto__ as a name like any other', () => {
    const hostile = '{"type":"profile","attributes":{"properties":{"__proto__":{"admin":true}}}}';
    expect(merge(hostile, aProfile({ properties: { plan: 'pro' } }))).toBe(
      '{"type":"profile","attributes":{"properties":{"__proto__":{"admin":true},"plan":"pro"}}}',
    );
    expect(({} as Record<string, unknown>).admin).toBeUndefined();
  });

  it('throw if a payload is not a JSON object', () => {
    expect(() => merge('[]', aProfile({}))).toThrow('not a JSON object');
    expect(() => merge(aProfile({}), '{')).toThrow('not a JSON object');
  });
});

describe('mergeProfiles', () => {
  const value = fc.oneof(fc.jsonValue({ maxDepth: 1 }), fc.bigInt().map(String));
  const names = fc.constantFrom('a', 'b', 'c', '__proto__', '1');
  const members = fc.uniqueArray(fc.tuple(names, value), { selector: ([name]) => name });
  const toObject = (entries: readonly (readonly [string, unknown])[]): object =>
    Object.fromEntries(entries);
  const profile = fc
    .record(
      {
        first_name: fc.option(fc.string()),
        email: fc.option(fc.string()),
        location: fc.option(members.map(toObject)),
        properties: fc.option(members.map(toObject)),
      },
      { requiredKeys: [] },
    )
    .map(aProfile);

  it('changes nothing if a profile is merged with itself', () => {
    fc.assert(
      fc.property(profile, (one) => {
        const parsed = parseJson(one);
        expect(merge(one, one)).toBe(parsed.ok ? stringifyJson(parsed.value) : '');
      }),
    );
  });

  it('has the same result, however the profiles are grouped', () => {
    fc.assert(
      fc.property(profile, profile, profile, (first, second, third) => {
        expect(merge(merge(first, second), third)).toBe(merge(first, merge(second, third)));
      }),
    );
  });

  it('never returns more bytes than both profiles had', () => {
    fc.assert(
      fc.property(profile, profile, (older, newer) => {
        expect(toBytes(merge(older, newer)).length).toBeLessThanOrEqual(
          toBytes(older).length + toBytes(newer).length,
        );
      }),
    );
  });
});
