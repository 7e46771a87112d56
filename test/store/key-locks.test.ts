import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { KeyLocks } from '../../src/store/key-locks.js';

type Holder = { readonly seq: number; readonly keys: readonly string[] };
const aHolder = (seq: number, ...keys: string[]): Holder => ({ seq, keys });

describe('KeyLocks', () => {
  it('returns the first key that is locked', () => {
    const holds = new KeyLocks<Holder>();
    holds.lock(['b', 'c']);
    expect(holds.findLocked({ seq: 9, keys: ['a', 'c', 'b'] })).toBe('c');
    expect(holds.findLocked({ seq: 9, keys: ['a'] })).toBeUndefined();
    expect(holds.findLocked({ seq: 9, keys: [] })).toBeUndefined();
  });

  it('releases a waiter when its key is released as often as it was locked', () => {
    const holds = new KeyLocks<Holder>();
    const waiter = aHolder(1, 'a');
    for (let count = 0; count < 4; count++) holds.lock(['a']);
    holds.wait('a', waiter);
    for (let count = 0; count < 3; count++) expect(holds.release(['a'])).toEqual([]);
    expect(holds.release(['a'])).toEqual([waiter]);
    expect(holds.findLocked({ seq: 9, keys: ['a'] })).toBeUndefined();
  });

  it('treats all keys of a waiter as locked, so that nothing overtakes it', () => {
    const holds = new KeyLocks<Holder>();
    holds.lock(['a']);
    holds.wait('a', aHolder(1, 'a', 'b'));
    expect(holds.findLocked({ seq: 9, keys: ['b'] })).toBe('b');
  });

  it('does not let a waiter delay an earlier envelope', () => {
    const locks = new KeyLocks<Holder>();
    locks.wait('profiles a', aHolder(5, 'a', 'b'));
    expect(locks.findLocked({ seq: 4, keys: ['a'] })).toBeUndefined();
    expect(locks.findLocked({ seq: 6, keys: ['b'] })).toBe('b');
  });

  it('releases the waiters of a name that is not locked, and those that wait for their keys', () => {
    const locks = new KeyLocks<Holder>();
    const [first, second] = [aHolder(1, 'a'), aHolder(2, 'a')];
    locks.wait('profiles a', first);
    locks.wait('a', second);
    expect(locks.wake('profiles b')).toEqual([]);
    expect(new Set(locks.wake('profiles a'))).toEqual(new Set([first, second]));
    expect(locks.wake('profiles a')).toEqual([]);
  });

  it('releases the envelopes that wait for a waiter together with it', () => {
    const holds = new KeyLocks<Holder>();
    const [first, second, third] = [aHolder(1, 'a', 'b'), aHolder(2, 'b', 'c'), aHolder(3, 'c')];
    holds.lock(['a']);
    holds.wait('a', first);
    holds.wait('b', second);
    holds.wait('c', third);
    expect(new Set(holds.release(['a']))).toEqual(new Set([first, second, third]));
    expect(holds.findLocked({ seq: 9, keys: ['a', 'b', 'c'] })).toBeUndefined();
  });

  it('leaves envelopes that wait for another key', () => {
    const holds = new KeyLocks<Holder>();
    holds.lock(['a']);
    holds.lock(['b']);
    holds.wait('b', aHolder(1, 'b'));
    expect(holds.release(['a'])).toEqual([]);
    expect(holds.findLocked({ seq: 9, keys: ['b'] })).toBe('b');
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
          const ofKey = started.filter(({ keys }) => keys.includes(key)).map(({ seq }) => seq);
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
    const key = holds.findLocked(holder);
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
    const freed = [...holds.release(ended.keys)].sort((one, other) => one.seq - other.seq);
    freed.forEach(examine);
  };
  arrivals.forEach(({ keys, releases }, seq) => {
    examine({ seq, keys });
    releases.forEach(release);
  });
  while (running.length > 0) release(0);
  return started;
}
