import { describe, expect, it } from 'vitest';
import type { Fact } from '../../src/model/fact.js';
import { Facts } from '../../src/store/facts.js';
import { createManualClock } from '../support/manual-clock.js';
import { atMost, factBounds } from './contract/harness.js';

const some = (count: number, prefix = 'n'): readonly Fact[] =>
  Array.from({ length: count }, (_, index) => ({
    kind: 'order',
    key: `${prefix}${index}`,
    value: '1',
  }));

describe('facts in memory', () => {
  it('drop at most 64 expired facts of a kind with each call that puts facts', async () => {
    const clock = createManualClock();
    const facts = new Facts(factBounds({ order: 1000 }), clock);
    facts.put(some(200));
    await clock.advance(999);
    facts.put(some(1, 'young'));
    expect(facts.count).toBe(201);
    await clock.advance(1);
    facts.put([]);
    expect(facts.count).toBe(201);
    facts.put([{ kind: 'user', key: 'u', value: '1' }]);
    expect(facts.count).toBe(202 - 64);
    facts.put(some(1, 'new'));
    facts.put(some(1, 'new'));
    facts.put(some(1, 'new'));
    expect(facts.count).toBe(3);
    expect(['young0', 'u', 'new0', 'n199'].map((key) => facts.get(key))).toEqual([
      '1',
      '1',
      '1',
      null,
    ]);
  });

  it('drop the oldest at the bound, whichever were deleted or put again before', () => {
    const facts = new Facts(atMost(3), createManualClock());
    facts.put(some(3));
    facts.put(some(1));
    facts.put(some(2, 'm'));
    expect(['n0', 'n1', 'n2', 'm0', 'm1'].map((key) => facts.get(key))).toEqual([
      '1',
      null,
      null,
      '1',
      '1',
    ]);
    expect(facts.count).toBe(3);
    facts.put(some(4, 'o'));
    expect(['n0', 'm0', 'm1', 'o0', 'o1', 'o3'].map((key) => facts.get(key))).toEqual([
      null,
      null,
      null,
      null,
      '1',
      '1',
    ]);
  });

  it('keep none with a bound of zero', () => {
    const facts = new Facts(atMost(0), createManualClock());
    facts.put(some(2));
    expect(facts.count).toBe(0);
    expect(facts.get('n1')).toBeNull();
  });
});
