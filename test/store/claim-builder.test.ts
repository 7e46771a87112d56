import { describe, expect, it } from 'vitest';
import {
  type Candidate,
  isMergeable,
  ClaimBuilder,
  payloadBytes,
} from '../../src/store/claim-builder.js';
import { anEnvelope, bounds } from '../support/builders.js';

const aCandidate = (
  overrides: Parameters<typeof anEnvelope>[0] & { readonly alone?: boolean } = {},
): Candidate => {
  const { alone = false, ...envelope } = overrides;
  return { ...anEnvelope(envelope), alone };
};

describe('isMergeable', () => {
  it.each([
    { name: 'the same address', known: ['ea'], offered: ['ea'], expected: true },
    { name: 'an address and more', known: ['ea'], offered: ['ea', 'p1', 'xi'], expected: true },
    { name: 'less than is known', known: ['ea', 'p1'], offered: ['p1'], expected: true },
    { name: 'nothing in common', known: ['ea'], offered: ['p1'], expected: false },
    {
      name: 'two addresses of one id',
      known: ['ea', 'xi'],
      offered: ['eb', 'xi'],
      expected: false,
    },
    { name: 'two ids of one address', known: ['ea', 'xi'], offered: ['ea', 'xj'], expected: false },
  ])('$name', ({ known, offered, expected }) => {
    expect(isMergeable(new Set(known), offered)).toBe(expected);
  });
});

describe('Pick', () => {
  it('takes until the count is reached, and then nothing more', () => {
    const pick = new ClaimBuilder(bounds({ maxCount: 2 }), false);
    expect([1, 2, 3].map(() => pick.add(aCandidate()))).toEqual(['added', 'added', 'full']);
    expect(pick.closed).toBe(true);
    expect(pick.add(aCandidate())).toBe('full');
    expect(pick.items).toHaveLength(2);
  });

  it('weighs a payload with its separator, in bytes', () => {
    expect(payloadBytes(aCandidate({ text: 'é' }))).toBe(3);
    const pick = new ClaimBuilder(bounds({ maxBytes: 6 }), false);
    expect(pick.add(aCandidate({ text: 'é' }))).toBe('added');
    expect(pick.add(aCandidate({ text: 'éa' }))).toBe('full');
  });

  it('says which key must be free first', () => {
    const pick = new ClaimBuilder(bounds(), false);
    pick.add(aCandidate({ keys: ['ea', 'xi'] }));
    expect(pick.add(aCandidate({ keys: ['eb', 'xi'] }))).toEqual({ waitsFor: 'xi' });
    expect(pick.closed).toBe(false);
  });

  it('merges within the bytes even where the count is reached', () => {
    const pick = new ClaimBuilder(bounds({ maxCount: 1, maxBytes: 12 }), true);
    expect(pick.add(aCandidate({ keys: ['ea'], text: '12345' }))).toBe('added');
    expect(pick.add(aCandidate({ keys: ['ea'], text: '12345' }))).toBe('added');
    expect(pick.add(aCandidate({ keys: ['ea'], text: '1' }))).toBe('full');
    expect(pick.items.map(({ length }) => length)).toEqual([2]);
  });

  it('merges neither into nor with one that goes alone', () => {
    const alone = aCandidate({ keys: ['ea'], alone: true });
    const other = aCandidate({ keys: ['ea'] });
    for (const [first, second] of [
      [alone, other],
      [other, alone],
    ] as const) {
      const pick = new ClaimBuilder(bounds(), true);
      expect(pick.add(first)).toBe('added');
      expect(pick.add(second)).toEqual({ waitsFor: 'ea' });
    }
  });

  it('shrinks the company of one that failed often, and closes where it is too large by then', () => {
    const sizes = [0, 2, 3, 4, 5, 6, 60].map((attempts) => {
      const pick = new ClaimBuilder(bounds({ maxCount: 16 }), false);
      expect(pick.add(aCandidate({ attempts }))).toBe('added');
      while (pick.add(aCandidate()) === 'added');
      return pick.items.length;
    });
    expect(sizes).toEqual([16, 16, 8, 4, 2, 1, 1]);
    const pick = new ClaimBuilder(bounds({ maxCount: 16 }), false);
    for (let count = 0; count < 8; count++) pick.add(aCandidate());
    expect(pick.add(aCandidate({ attempts: 3 }))).toBe('full');
  });
});
