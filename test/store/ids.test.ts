import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { storeLanes } from '../../src/model/lane.js';
import { fromId, toEpoch, toId } from '../../src/store/ids.js';

describe('ids', () => {
  it('contain lane, epoch and number, and are parsed as they were written', () => {
    expect(toId({ lane: 'events', epoch: 'k3f9a1', seq: 100 })).toBe('ev_k3f9a1_2s');
    const number = fc.record({
      lane: fc.constantFrom(...storeLanes),
      epoch: fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true }).map(toEpoch),
      seq: fc.integer({ min: 1, max: Number.MAX_SAFE_INTEGER }),
    });
    fc.assert(
      fc.property(number, (one) => {
        expect(fromId(toId(one))).toEqual(one);
      }),
    );
  });

  it('are not accepted in any other form', () => {
    const wrong = ['', 'ev_k3f9a1_', 'xx_k3f9a1_1', 'ev_k3f9a_1', 'ev_k3f9a1_1 ', 'ev_K3F9A1_1'];
    for (const id of [...wrong, `ev_k3f9a1_${'z'.repeat(12)}`]) expect(fromId(id)).toBeNull();
  });

  it('have an epoch of six characters, whatever the random number', () => {
    expect(toEpoch(0)).toBe('000000');
    expect(toEpoch(1 - 2 ** -53)).toBe('zzzzzz');
  });
});
