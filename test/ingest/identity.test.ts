import fc from 'fast-check';
import { expect, it } from 'vitest';
import { toEventKeys, toProfileKeys } from '../../src/ingest/identity.js';

it('there is one key per identifier, its kind first', () => {
  const keys = toProfileKeys({ email: 'a@b.co', phoneNumber: '+12025550123', externalId: 'c42' });
  expect(keys.map((key) => key[0])).toEqual(['e', 'p', 'x']);
  for (const key of keys) expect(key).toMatch(/^[epx][\w-]{22}$/);
  expect(toProfileKeys({ externalId: 'c42' })).toEqual([keys[2]]);
});

it('an event has a key of its anonymous id, too, which is another in another case', () => {
  const keysOf = (anonymousId: string) => toEventKeys({ email: 'a@b.co', anonymousId }, 'A', 'u');
  expect(keysOf('b').map((key) => key[0])).toEqual(['e', 'a']);
  expect(toEventKeys({ anonymousId: 'b' }, 'A', 'u')).toEqual([keysOf('b')[1]]);
  expect(keysOf('b')[1]).toMatch(/^a[\w-]{22}$/);
  expect(keysOf('B')[1]).not.toBe(keysOf('b')[1]);
});

it('an e-mail address is the same in any case, an external id is not', () => {
  expect(toProfileKeys({ email: 'Ada@B.co' })).toEqual(toProfileKeys({ email: 'ada@b.CO' }));
  expect(toProfileKeys({ externalId: 'A' })).not.toEqual(toProfileKeys({ externalId: 'a' }));
});

it('events share a key only where identifier, metric and unique_id are all the same', () => {
  // The same characters cut into three at different places: what a careless join would confuse.
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

it('the same text is another key as another kind of identifier, and as an event another than as a profile', () => {
  const same = 'a@b.co';
  const keys = [
    ...toProfileKeys({ email: same, externalId: same }),
    ...toEventKeys({ email: same, externalId: same, anonymousId: same }, 'A', 'u'),
  ];
  expect(new Set(keys).size).toBe(5);
});
