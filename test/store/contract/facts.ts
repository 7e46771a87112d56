import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { factKinds, type Fact, type FactKind } from '../../../src/model/fact.js';
import type { Store } from '../../../src/model/store.js';
import { anEvent, someEvents } from '../../support/builders.js';
import { append, atMost, claim, factBounds, type Open } from './harness.js';

/** `a=1` is a fact about an order, unless another kind is given. */
const toFact = (text: string, kind: FactKind = 'order'): Fact => {
  const [key = '', value = ''] = text.split('=');
  return { kind, key, value };
};

const put = (store: Store, ...texts: readonly string[]): Promise<void> =>
  putOf(store, 'order', texts);

async function putOf(store: Store, kind: FactKind, texts: readonly string[]): Promise<void> {
  const facts = texts.map((text) => toFact(text, kind));
  expect(await store.putFacts(facts)).toEqual({ ok: true });
}

const some = (count: number, prefix: string): readonly string[] =>
  Array.from({ length: count }, (_, index) => `${prefix}${index}=${index}`);

const toAny = (key: string, value = ''): Fact => ({ kind: 'user', key, value });

export function describeFacts(open: Open): void {
  describe('facts', () => {
    it('are returned by key and in order, also for repeated and unknown keys', async () => {
      const { store } = await open();
      await put(store, 'a=1', 'b=2');
      expect(await store.getFacts(['b', 'x', 'a', 'b'])).toEqual(['2', null, '1', '2']);
      expect(await store.getFacts([])).toEqual([]);
    });

    it('have the newest value of a key, also within one call', async () => {
      const { store } = await open();
      await put(store, 'a=1', 'b=1', 'a=2');
      expect(await store.getFacts(['a', 'b'])).toEqual(['2', '1']);
      await put(store, 'a=3');
      expect(await store.getFacts(['a', 'b'])).toEqual(['3', '1']);
    });

    it('are removed at the bound, oldest first; a fact with another value counts as new', async () => {
      const { store } = await open({ facts: atMost(3) });
      await put(store, 'a=1', 'b=1', 'c=1');
      await put(store, 'a=2');
      await put(store, 'd=1');
      expect(await store.getFacts(['a', 'b', 'c', 'd'])).toEqual(['2', null, '1', '1']);
      await put(store, 'e=1', 'c=2', 'f=1');
      expect(await store.getFacts(['a', 'c', 'd', 'e', 'f'])).toEqual([null, '2', null, '1', '1']);
    });

    it('that are put again with the same value outlive half as many newer ones as the bound', async () => {
      const { store } = await open({ facts: atMost(10) });
      await put(store, 'a=1', ...some(9, 'b'));
      for (let round = 0; round < 5; round++) {
        await put(store, 'a=1');
        await put(store, ...some(5, `c${round}/`));
        expect(await store.getFacts(['a'])).toEqual(['1']);
      }
      await put(store, ...some(10, 'd'));
      expect(await store.getFacts(['a', 'd0'])).toEqual([null, '0']);
    });

    it('never exceed the bound, however many one call puts', async () => {
      const { store } = await open({ facts: atMost(700) });
      await put(store, 'n0=old', 'first=1');
      await put(store, ...some(1500, 'n'));
      const keys = some(1500, 'n').map((text) => toFact(text).key);
      const values = await store.getFacts(['first', ...keys]);
      expect(values.slice(0, 801)).toEqual(Array(801).fill(null));
      expect(values.slice(801)).toEqual(
        Array.from({ length: 700 }, (_, index) => `${index + 800}`),
      );
    });

    it('are not kept if the bound is 0', async () => {
      const { store } = await open({ facts: atMost(0) });
      await put(store, 'a=1', 'b=2');
      expect(await store.getFacts(['a', 'b'])).toEqual([null, null]);
    });

    it('of one kind never remove facts of another kind', async () => {
      const { store } = await open({ facts: atMost(3) });
      await put(store, ...some(3, 'o'));
      await putOf(store, 'user', some(2, 'u'));
      for (let round = 0; round < 20; round++)
        await putOf(store, 'delivery', some(4, `d${round}/`));
      expect(await store.getFacts(['o0', 'o1', 'o2', 'u0', 'u1'])).toEqual([
        '0',
        '1',
        '2',
        '0',
        '1',
      ]);
      expect(await store.getFacts(['d19/0', 'd19/1', 'd19/3'])).toEqual([null, '1', '3']);
      await put(store, 'o3=3');
      expect(await store.getFacts(['o0', 'o1', 'o3', 'u0'])).toEqual([null, '1', '3', '0']);
    });

    it('of several kinds can be put in one call, each within its own bound', async () => {
      const { store } = await open({ facts: atMost(1) });
      const mixed = factKinds.flatMap((kind) => [
        toFact(`${kind}/a=1`, kind),
        toFact(`${kind}/b=2`, kind),
      ]);
      expect(await store.putFacts(mixed)).toEqual({ ok: true });
      const keys = factKinds.flatMap((kind) => [`${kind}/a`, `${kind}/b`]);
      expect(await store.getFacts(keys)).toEqual(factKinds.flatMap(() => [null, '2']));
    });

    it('have one kind for each key, the latest', async () => {
      const { store } = await open({ facts: atMost(2) });
      await put(store, 'a=1', 'b=1');
      await putOf(store, 'user', ['a=2']);
      await put(store, 'c=1', 'd=1');
      expect(await store.getFacts(['a', 'b', 'c', 'd'])).toEqual(['2', null, '1', '1']);
      await putOf(store, 'user', ['x=1', 'y=1']);
      expect(await store.getFacts(['a', 'x', 'c'])).toEqual([null, '1', '1']);
    });

    it('are unknown once they reach the age of their kind, before and after they are removed', async () => {
      const { store, clock } = await open({ facts: factBounds({ delivery: 1000, order: 5000 }) });
      await putOf(store, 'delivery', ['d=1']);
      await put(store, 'a=1');
      await putOf(store, 'other', ['o=1']);
      await clock.advance(999);
      expect(await store.getFacts(['d', 'a', 'o'])).toEqual(['1', '1', '1']);
      await clock.advance(1);
      expect(await store.getFacts(['d', 'a', 'o'])).toEqual([null, '1', '1']);
      for (let turn = 0; turn < factKinds.length; turn++) await put(store, `n${turn}=1`);
      expect(await store.getFacts(['d', 'a', 'o'])).toEqual([null, '1', '1']);
      await clock.advance(4000);
      expect(await store.getFacts(['a', 'n0', 'o'])).toEqual([null, '1', '1']);
      await clock.advance(1e12);
      expect(await store.getFacts(['n0', 'o'])).toEqual([null, '1']);
    });

    it('that are put again count as new for the age, too', async () => {
      const { store, clock } = await open({ facts: factBounds({ order: 1000 }) });
      await put(store, 'a=1', 'b=1');
      await clock.advance(500);
      await put(store, 'a=1');
      await clock.advance(600);
      expect(await store.getFacts(['a', 'b'])).toEqual(['1', null]);
      await put(store, 'b=1');
      await clock.advance(500);
      expect(await store.getFacts(['a', 'b'])).toEqual([null, '1']);
    });

    it('have the same age after a crash as before it', async () => {
      const under = await open({ facts: factBounds({ order: 1000 }) });
      await put(under.store, 'a=1');
      await under.clock.advance(400);
      await put(under.store, 'b=1');
      if (under.crash === undefined) return;
      await under.crash();
      expect(await under.store.getFacts(['a', 'b'])).toEqual(['1', '1']);
      await under.clock.advance(600);
      expect(await under.store.getFacts(['a', 'b'])).toEqual([null, '1']);
      await under.clock.advance(400);
      expect(await under.store.getFacts(['a', 'b'])).toEqual([null, null]);
    });

    it('that are put again are not dropped as the oldest', async () => {
      const { store } = await open({ facts: atMost(3) });
      await put(store, 'a=1', 'b=1', 'c=1');
      await put(store, 'a=2', 'd=1');
      expect(await store.getFacts(['a', 'b', 'c', 'd'])).toEqual(['2', null, '1', '1']);
    });

    it('that are too old make room for new ones before the bound by count is reached', async () => {
      const { store, clock } = await open({ facts: factBounds({ order: 1000 }, 200) });
      await put(store, ...some(200, 'old'));
      await clock.advance(1000);
      await put(store, ...some(150, 'new'));
      await put(store, ...some(150, 'newer'));
      const keys = [...some(150, 'new'), ...some(150, 'newer')].map((text) => toFact(text).key);
      const values = await store.getFacts(keys);
      expect(values.slice(0, 100)).toEqual(Array(100).fill(null));
      expect(values.slice(100)).not.toContain(null);
    });

    it('survive a crash if the store does', async () => {
      const under = await open({ facts: atMost(3) });
      await put(under.store, 'a=1', 'b=1', 'c=1', 'a=2', 'd=1');
      if (under.crash === undefined) return;
      await under.crash();
      expect(await under.store.getFacts(['a', 'b', 'c', 'd'])).toEqual(['2', null, '1', '1']);
      await put(under.store, 'e=1');
      expect(await under.store.getFacts(['a', 'c', 'd', 'e'])).toEqual(['2', null, '1', '1']);
    });

    it('can be put while envelopes are appended, and each call has its result', async () => {
      const { store } = await open();
      const answers = await Promise.all([
        store.putFacts([toFact('a=1')]),
        append(store, someEvents(2)),
        store.putFacts([toFact('a=2'), toFact('b=1')]),
        store.putFacts([toFact('a=3')]),
      ]);
      expect([answers[0], answers[2], answers[3]]).toEqual(Array(3).fill({ ok: true }));
      expect(await store.getFacts(['a', 'b'])).toEqual(['3', '1']);
      expect(await claim(store)).toHaveLength(2);
    });

    it('do not use the capacity of the buffer', async () => {
      const { store } = await open({ capacity: { maxCount: 1, maxBytes: 100 } });
      await put(store, `a=${'x'.repeat(1000)}`);
      expect(store.depth('events')).toMatchObject({ count: 0, bytes: 0 });
      await append(store, [anEvent()]);
      expect((await store.append([anEvent()])).ok).toBe(false);
      expect(store.backpressure()?.reason).toBe('full');
      await put(store, 'a=1');
      expect(await store.getFacts(['a'])).toEqual(['1']);
    });

    it('are rejected after the store is closed, except for an empty list', async () => {
      const { store } = await open();
      await store.close();
      expect(await store.putFacts([toFact('a=1')])).toMatchObject({
        ok: false,
        backpressure: { reason: 'closed' },
      });
      expect(await store.putFacts([])).toEqual({ ok: true });
    });

    it('can have keys of 512 bytes and values of 4 KB of any characters', async () => {
      const { store } = await open();
      const long: Fact = {
        kind: 'order',
        key: 'é😀'.repeat(85) + 'xx',
        value: '\n"😀\u0000'.repeat(585),
      };
      expect([Buffer.byteLength(long.key), Buffer.byteLength(long.value)]).toEqual([512, 4095]);
      await store.putFacts([long, { kind: 'order', key: long.key.slice(0, -1), value: '' }]);
      expect(await store.getFacts([long.key, long.key.slice(0, -1)])).toEqual([long.value, '']);
    });

    it('differ if any character of their keys differs', async () => {
      const { store } = await open();
      const text = fc.string({ unit: 'binary', minLength: 1, maxLength: 100 });
      const escapes = fc.string({
        unit: fc.constantFrom('\0', '\x01', '\x04', '\x1b', ' ', 'a'),
        minLength: 1,
        maxLength: 130,
      });
      const keys = fc.uniqueArray(fc.oneof(text, escapes), { minLength: 1, maxLength: 20 });
      const property = fc.asyncProperty(keys, fc.array(text), async (all, values) => {
        const facts = all.map((key, index) => toAny(key, values[index]));
        await store.putFacts(facts);
        expect(await store.getFacts(all)).toEqual(facts.map(({ value }) => value));
      });
      await fc.assert(property, { numRuns: 30 });
    });
  });
}
