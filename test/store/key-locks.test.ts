import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { KeyLocks } from '../../src/store/key-locks.js';

type Holder = { readonly number: number; readonly keys: readonly string[] };
const aHolder = (number: number, ...keys: string[]): Holder => ({ number, keys });

describe('KeyLocks', () => {
  it('returns the first key that is locked', () => {
    const holds = new KeyLocks<Holder>();
    holds.lock(['b', 'c']);
    expect(holds.findLocked(['a', 'c', 'b'])).toBe('c');
    expect(holds.findLocked(['a'])).toBeUndefined();
    expect(holds.findLocked([])).toBeUndefined();
  });

  it('releases a waiter when its key is released as often as it was locked', () => {
    const holds = new KeyLocks<Holder>();
    const waiter = aHolder(1, 'a');
    for (let count = 0; count < 4; count++) holds.lock(['a']);
    holds.wait('a', waiter);
    for (let count = 0; count < 3; count++) expect(holds.release(['a'])).toEqual([]);
    expect(holds.release(['a'])).toEqual([waiter]);
    expect(holds.findLocked(['a'])).toBeUndefined();
  });

  it('treats all keys of a waiter as locked, so that nothing overtakes it', () => {
    const holds = new KeyLocks<Holder>();
    holds.lock(['a']);
    holds.wait('a', aHolder(1, 'a', 'b'));
    expect(holds.findLocked(['b'])).toBe('b');
  });

  it('releases the envelopes that wait for a waiter together with it', () => {
    const holds = new KeyLocks<Holder>();
    const [first, second, third] = [aHolder(1, 'a', 'b'), aHolder(2, 'b', 'c'), aHolder(3, 'c')];
    holds.lock(['a']);
    holds.wait('a', first);
    holds.wait('b', second);
    holds.wait('c', third);
    expect(new Set(holds.release(['a']))).toEqual(new Set([first, second, third]));
    expect(holds.findLocked(['a', 'b', 'c'])).toBeUndefined();
  });

  it('leaves envelopes that wait for another key', () => {
    const holds = new KeyLocks<Holder>();
    holds.lock(['a']);
    holds.lock(['b']);
    holds.wait('b', aHolder(1, 'b'));
    expect(holds.release(['a'])).toEqual([]);
    expect(holds.findLocked(['b'])).toBe('b');
  });

  it('leaves no waiter once all keys are released, and keeps the order of each key', () => {
    const someKeys = fc.uniqueArray(fc.constantFrom('a', 'b', 'c', 'd'), { minLength: 1 });
    const script = fc.array(fc.record({ keys: someKeys, releases: fc.array(fc.nat(5)) }), {
      maxLength: 30,
      size: 'max',
    });
    fc.assert(
      fc.property(script, (arrivals) => {
        const started = run(arrivals);
        expect(started).toHaveLength(arrivals.length);
        for (const key of ['a', 'b', 'c', 'd']) {
          const ofKey = started
            .filter(({ keys }) => keys.includes(key))
            .map(({ number }) => number);
          expect(ofKey).toEqual([...ofKey].sort((one, other) => one - other));
        }
      }),
      { numRuns: 500 },
    );
  });
});

type Arrival = { readonly keys: readonly string[]; readonly releases: readonly number[] };

/** Arrivals take their keys or wait; some that took are released in between, and all in the end. */
function run(arrivals: readonly Arrival[]): readonly Holder[] {
  const holds = new KeyLocks<Holder>();
  const running: Holder[] = [];
  const started: Holder[] = [];
  const examine = (holder: Holder): void => {
    const key = holds.findLocked(holder.keys);
    if (key !== undefined) {
      holds.wait(key, holder);
      return;
    }
    expect(running.some(({ keys }) => keys.some((each) => holder.keys.includes(each)))).toBe(false);
    holds.lock(holder.keys);
    running.push(holder);
    started.push(holder);
  };
  const release = (nth: number): void => {
    const [ended] = running.splice(nth, 1);
    if (ended === undefined) return;
    const freed = [...holds.release(ended.keys)].sort((one, other) => one.number - other.number);
    freed.forEach(examine);
  };
  arrivals.forEach(({ keys, releases }, number) => {
    examine({ number, keys });
    releases.forEach(release);
  });
  while (running.length > 0) release(0);
  return started;
}
