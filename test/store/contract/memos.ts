import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { Memo } from '../../../src/envelope.js';
import type { Store } from '../../../src/store/store.js';
import { anEvent, someEvents } from '../../support/builders.js';
import { append, claim, type Open } from './harness.js';

/** `a=1` is a memo. */
const toMemo = (text: string): Memo => {
  const [key = '', value = ''] = text.split('=');
  return { key, value };
};

const remember = async (store: Store, ...texts: readonly string[]): Promise<void> => {
  expect(await store.remember(texts.map(toMemo))).toEqual({ ok: true });
};

const some = (count: number, prefix: string): readonly string[] =>
  Array.from({ length: count }, (_, index) => `${prefix}${index}=${index}`);

export function describeMemos(open: Open): void {
  describe('memos', () => {
    it('are recalled by key, each in its place, whatever was asked for twice or never known', async () => {
      const { store } = await open();
      await remember(store, 'a=1', 'b=2');
      expect(await store.recall(['b', 'x', 'a', 'b'])).toEqual(['2', null, '1', '2']);
      expect(await store.recall([])).toEqual([]);
    });

    it('have the newest value of a key, also of those that come together', async () => {
      const { store } = await open();
      await remember(store, 'a=1', 'b=1', 'a=2');
      expect(await store.recall(['a', 'b'])).toEqual(['2', '1']);
      await remember(store, 'a=3');
      expect(await store.recall(['a', 'b'])).toEqual(['3', '1']);
    });

    it('go at the bound, oldest first; one with another value counts as new', async () => {
      const { store } = await open({ maxMemos: 3 });
      await remember(store, 'a=1', 'b=1', 'c=1');
      await remember(store, 'a=2');
      await remember(store, 'd=1');
      expect(await store.recall(['a', 'b', 'c', 'd'])).toEqual(['2', null, '1', '1']);
      await remember(store, 'e=1', 'c=2', 'f=1');
      expect(await store.recall(['a', 'c', 'd', 'e', 'f'])).toEqual([null, '2', null, '1', '1']);
    });

    it('that are remembered again with the value they have outlive half as many newer ones as the bound', async () => {
      const { store } = await open({ maxMemos: 10 });
      await remember(store, 'a=1', ...some(9, 'b'));
      for (let round = 0; round < 5; round++) {
        await remember(store, 'a=1');
        await remember(store, ...some(5, `c${round}/`));
        expect(await store.recall(['a'])).toEqual(['1']);
      }
      await remember(store, ...some(10, 'd'));
      expect(await store.recall(['a', 'd0'])).toEqual([null, '0']);
    });

    it('are as many as the bound at most, however many come at once', async () => {
      const { store } = await open({ maxMemos: 700 });
      await remember(store, 'n0=old', 'first=1');
      await remember(store, ...some(1500, 'n'));
      const keys = some(1500, 'n').map((text) => toMemo(text).key);
      const values = await store.recall(['first', ...keys]);
      expect(values.slice(0, 801)).toEqual(Array(801).fill(null));
      expect(values.slice(801)).toEqual(
        Array.from({ length: 700 }, (_, index) => `${index + 800}`),
      );
    });

    it('are none where the bound is none', async () => {
      const { store } = await open({ maxMemos: 0 });
      await remember(store, 'a=1', 'b=2');
      expect(await store.recall(['a', 'b'])).toEqual([null, null]);
    });

    it('are the same after a crash, as far as anything is', async () => {
      const under = await open({ maxMemos: 3 });
      await remember(under.store, 'a=1', 'b=1', 'c=1', 'a=2', 'd=1');
      if (under.crash === undefined) return;
      await under.crash();
      expect(await under.store.recall(['a', 'b', 'c', 'd'])).toEqual(['2', null, '1', '1']);
      await remember(under.store, 'e=1');
      expect(await under.store.recall(['a', 'c', 'd', 'e'])).toEqual(['2', null, '1', '1']);
    });

    it('come with envelopes at once, and each call has its answer', async () => {
      const { store } = await open();
      const answers = await Promise.all([
        store.remember([toMemo('a=1')]),
        append(store, someEvents(2)),
        store.remember([toMemo('a=2'), toMemo('b=1')]),
        store.remember([toMemo('a=3')]),
      ]);
      expect([answers[0], answers[2], answers[3]]).toEqual(Array(3).fill({ ok: true }));
      expect(await store.recall(['a', 'b'])).toEqual(['3', '1']);
      expect(await claim(store)).toHaveLength(2);
    });

    it('take no room in the buffer, and need none', async () => {
      const { store } = await open({ capacity: { maxCount: 1, maxBytes: 100 } });
      await remember(store, `a=${'x'.repeat(1000)}`);
      expect(store.depth('events')).toMatchObject({ count: 0, bytes: 0 });
      await append(store, [anEvent()]);
      expect((await store.append([anEvent()])).ok).toBe(false);
      expect(store.refusal()?.reason).toBe('full');
      await remember(store, 'a=1');
      expect(await store.recall(['a'])).toEqual(['1']);
    });

    it('are refused once the store is closed, but for none of them', async () => {
      const { store } = await open();
      await store.close();
      expect(await store.remember([toMemo('a=1')])).toMatchObject({
        ok: false,
        refusal: { reason: 'closed' },
      });
      expect(await store.remember([])).toEqual({ ok: true });
    });

    it('may be as long as 512 bytes and 4 KB, of whatever characters', async () => {
      const { store } = await open();
      const long = { key: 'é😀'.repeat(85) + 'xx', value: '\n"😀\u0000'.repeat(585) };
      expect([Buffer.byteLength(long.key), Buffer.byteLength(long.value)]).toEqual([512, 4095]);
      await store.remember([long, { key: long.key.slice(0, -1), value: '' }]);
      expect(await store.recall([long.key, long.key.slice(0, -1)])).toEqual([long.value, '']);
    });

    it('are told apart by every character of their keys', async () => {
      const { store } = await open();
      const text = fc.string({ unit: 'binary', minLength: 1, maxLength: 100 });
      const escapes = fc.string({
        unit: fc.constantFrom('\0', '\x01', '\x04', '\x1b', ' ', 'a'),
        minLength: 1,
        maxLength: 130,
      });
      const keys = fc.uniqueArray(fc.oneof(text, escapes), { minLength: 1, maxLength: 20 });
      const property = fc.asyncProperty(keys, fc.array(text), async (all, values) => {
        const memos = all.map((key, index) => ({ key, value: values[index] ?? '' }));
        await store.remember(memos);
        expect(await store.recall(all)).toEqual(memos.map(({ value }) => value));
      });
      await fc.assert(property, { numRuns: 30 });
    });
  });
}
