import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { PageQuery } from '../../src/model/store.js';
import { type Numbered, readPage as toPageBy } from '../../src/store/page.js';
import { createManualClock } from '../support/manual-clock.js';

const clock = createManualClock();
const toPage = (
  list: readonly Numbered<string>[],
  query: PageQuery,
  isShown: (value: string) => boolean,
) => toPageBy(list, { ...query, clock }, isShown);

const newestFirst = (count: number): readonly Numbered<string>[] =>
  Array.from({ length: count }, (_, index) => ({
    order: count - 1 - index,
    value: `v${count - 1 - index}`,
  }));

const all = (): boolean => true;

describe('readPage', () => {
  it('returns the newest entries first, with a cursor for the next page', async () => {
    const page = await toPage(newestFirst(3), { limit: 2 }, all);
    expect(page.data).toEqual(['v2', 'v1']);
    expect(await toPage(newestFirst(3), { limit: 2, cursor: page.next! }, all)).toEqual({
      data: ['v0'],
      next: null,
    });
  });

  it('returns no cursor if no more entries match', async () => {
    const isShown = (value: string): boolean => value !== 'v0';
    expect(await toPage(newestFirst(3), { limit: 2 }, isShown)).toEqual({
      data: ['v2', 'v1'],
      next: null,
    });
  });

  it('shows each that stays exactly once, whatever comes and goes between the pages', async () => {
    const change = fc.record({ added: fc.nat(3), removed: fc.array(fc.nat(40)) });
    await fc.assert(
      fc.asyncProperty(
        fc.integer({ min: 1, max: 5 }),
        fc.array(change, { minLength: 40, maxLength: 40 }),
        async (limit, changes) => {
          let list = newestFirst(20);
          const removed = new Set<number>();
          const seen: string[] = [];
          let cursor: string | undefined;
          for (const { added, removed: gone } of changes) {
            const page = await toPage(list, { limit, cursor }, all);
            seen.push(...page.data);
            if (page.next === null) break;
            cursor = page.next;
            for (const order of gone) removed.add(order);
            const newest = list[0]?.order ?? 20;
            const fresh = Array.from({ length: added }, (_, index) => ({
              order: newest + added - index,
              value: 'fresh',
            }));
            list = [...fresh, ...list].filter(({ order }) => !removed.has(order) || order >= 20);
          }
          expect(new Set(seen).size).toBe(seen.length);
          const stayed = newestFirst(20).filter(({ order }) => !removed.has(order));
          for (const { value } of stayed) expect(seen).toContain(value);
        },
      ),
    );
  });
});
