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
    { name: 'the same address merges', known: ['ea'], offered: ['ea'], expected: true },
    {
      name: 'an address and further identifiers merge',
      known: ['ea'],
      offered: ['ea', 'p1', 'xi'],
      expected: true,
    },
    {
      name: 'a part of the known identifiers merges',
      known: ['ea', 'p1'],
      offered: ['p1'],
      expected: true,
    },
    {
      name: 'no common identifier does not merge',
      known: ['ea'],
      offered: ['p1'],
      expected: false,
    },
    {
      name: 'a second address of one id does not merge',
      known: ['ea', 'xi'],
      offered: ['eb', 'xi'],
      expected: false,
    },
    {
      name: 'a second id of one address does not merge',
      known: ['ea', 'xi'],
      offered: ['ea', 'xj'],
      expected: false,
    },
  ])('$name', ({ known, offered, expected }) => {
    expect(isMergeable(new Set(known), offered)).toBe(expected);
  });
});

describe('ClaimBuilder', () => {
  it('adds envelopes until the count is reached, and then rejects all', () => {
    const builder = new ClaimBuilder(bounds({ maxCount: 2 }), { merges: false });
    expect([1, 2, 3].map(() => builder.add(aCandidate()))).toEqual(['added', 'added', 'full']);
    expect(builder.closed).toBe(true);
    expect(builder.add(aCandidate())).toBe('full');
    expect(builder.items).toHaveLength(2);
  });

  it('counts the bytes of a payload and of its separator', () => {
    expect(payloadBytes(aCandidate({ text: 'é' }))).toBe(3);
    const builder = new ClaimBuilder(bounds({ maxBytes: 6 }), { merges: false });
    expect(builder.add(aCandidate({ text: 'é' }))).toBe('added');
    expect(builder.add(aCandidate({ text: 'éa' }))).toBe('full');
  });

  it('returns the key that must be unlocked first', () => {
    const builder = new ClaimBuilder(bounds(), { merges: false });
    builder.add(aCandidate({ keys: ['ea', 'xi'] }));
    expect(builder.add(aCandidate({ keys: ['eb', 'xi'] }))).toEqual({ waitsFor: 'xi' });
    expect(builder.closed).toBe(false);
  });

  it('merges up to the bound of bytes even if the count is reached', () => {
    const builder = new ClaimBuilder(bounds({ maxCount: 1, maxBytes: 12 }), { merges: true });
    expect(builder.add(aCandidate({ keys: ['ea'], text: '12345' }))).toBe('added');
    expect(builder.add(aCandidate({ keys: ['ea'], text: '12345' }))).toBe('added');
    expect(builder.add(aCandidate({ keys: ['ea'], text: '1' }))).toBe('full');
    expect(builder.items.map(({ length }) => length)).toEqual([2]);
  });

  it('merges no envelope with one that must stay alone', () => {
    const alone = aCandidate({ keys: ['ea'], alone: true });
    const other = aCandidate({ keys: ['ea'] });
    for (const [first, second] of [
      [alone, other],
      [other, alone],
    ] as const) {
      const builder = new ClaimBuilder(bounds(), { merges: true });
      expect(builder.add(first)).toBe('added');
      expect(builder.add(second)).toEqual({ waitsFor: 'ea' });
    }
  });

  it('lets an envelope that failed often share a request with fewer others, and rejects it if there are already more', () => {
    const sizes = [0, 2, 3, 4, 5, 6, 60].map((attempts) => {
      const builder = new ClaimBuilder(bounds({ maxCount: 16 }), { merges: false });
      expect(builder.add(aCandidate({ attempts }))).toBe('added');
      while (builder.add(aCandidate()) === 'added');
      return builder.items.length;
    });
    expect(sizes).toEqual([16, 16, 8, 4, 2, 1, 1]);
    const builder = new ClaimBuilder(bounds({ maxCount: 16 }), { merges: false });
    for (let count = 0; count < 8; count++) builder.add(aCandidate());
    expect(builder.add(aCandidate({ attempts: 3 }))).toBe('full');
  });

  it('rounds half of an odd count down', () => {
    const builder = new ClaimBuilder(bounds({ maxCount: 5 }), { merges: false });
    builder.add(aCandidate({ attempts: 3 }));
    while (builder.add(aCandidate()) === 'added');
    expect(builder.items).toHaveLength(2);
  });
});
