import fc from 'fast-check';
import { expect, it } from 'vitest';
import { toEventKeys, toProfileKeys } from '../../src/ingest/identity.js';

it('a profile has one identity key for each identifier, with its kind as the first character', () => {
  const keys = toProfileKeys({ email: 'a@b.co', phoneNumber: '+12025550123', externalId: 'c42' });
  expect(keys.map((key) => key[0])).toEqual(['e', 'p', 'x']);
  for (const key of keys) expect(key).toMatch(/^[epx][\w-]{22}$/);
  expect(toProfileKeys({ externalId: 'c42' })).toEqual([keys[2]]);
});

it('an event also has an identity key for its anonymous id, which is case-sensitive', () => {
  const keysOf = (anonymousId: string) => toEventKeys({ email: 'a@b.co', anonymousId }, 'A', 'u');
  expect(keysOf('b').map((key) => key[0])).toEqual(['e', 'a']);
  expect(toEventKeys({ anonymousId: 'b' }, 'A', 'u')).toEqual([keysOf('b')[1]]);
  expect(keysOf('b')[1]).toMatch(/^a[\w-]{22}$/);
  expect(keysOf('B')[1]).not.toBe(keysOf('b')[1]);
});

it('the identity key of an e-mail address ignores case, that of an external id does not', () => {
  expect(toProfileKeys({ email: 'Ada@B.co' })).toEqual(toProfileKeys({ email: 'ada@b.CO' }));
  expect(toProfileKeys({ externalId: 'A' })).not.toEqual(toProfileKeys({ externalId: 'a' }));
});

it('events share an identity key only if identifier, metric and unique_id are all equal', () => {
  // The same text cut into three parts at different positions: joined without separators, all would be equal.
  const text = fc.string({ unit: fc.constantFrom('a', ':', '1', '2'), maxLength: 8 });
  const cuts = fc
    .tuple(fc.nat(8), fc.nat(8))
    .map(([a, b]) => [Math.min(a, b), Math.max(a, b)] as const);
  const keyOf = (whole: string, [first, second]: readonly [number, number]) => {
    const externalId = whole.slice(second);
    return toEventKeys({ externalId }, whole.slice(0, first), whole.slice(first, second))[0];
  };
  fc.assert(
    fc.property(text, cuts, cuts, (whole, one, other) => {
      const within = ([first, second]: readonly [number, number]) =>
        `${Math.min(first, whole.length)} ${Math.min(second, whole.length)}`;
      expect(keyOf(whole, one) === keyOf(whole, other)).toBe(within(one) === within(other));
    }),
    { numRuns: 2000 },
  );
});

it('equal texts of different kinds of identifiers, and of events and profiles, have different identity keys', () => {
  const same = 'a@b.co';
  const keys = [
    ...toProfileKeys({ email: same, externalId: same }),
    ...toEventKeys({ email: same, externalId: same, anonymousId: same }, 'A', 'u'),
  ];
  expect(new Set(keys).size).toBe(5);
});
