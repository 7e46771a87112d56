import type { Clock } from '../clock.js';
import type { Page, PageQuery } from '../model/store.js';
import { Slices } from '../slices.js';

/** A list entry with its number in the order of arrival. */
export type Numbered<T> = { readonly order: number; readonly value: T };

/**
 * Reads one page of `newestFirst`. The cursor is the number of the last entry shown, so entries that are added or
 * removed meanwhile neither shift a page nor end the list. Runs in slices, since a filter may skip many entries.
 */
export async function readPage<T>(
  newestFirst: Iterable<Numbered<T>>,
  { limit, cursor, clock }: PageQuery & { readonly clock: Pick<Clock, 'monotonic'> },
  isShown: (value: T, order: number) => boolean,
): Promise<Page<T>> {
  const slices = new Slices(clock);
  const below = parseCursor(cursor);
  const data: T[] = [];
  let last = below;
  for (const { order, value } of newestFirst) {
    if (slices.isUsedUp()) await slices.startNext();
    if (!(order < below) || !isShown(value, order)) continue;
    if (data.length === limit) return { data, next: last.toString(36) };
    data.push(value);
    last = order;
  }
  return { data, next: null };
}

/** Returns the order below which the next page starts. NaN for an invalid cursor: no order is below it. */
export function parseCursor(cursor: string | undefined): number {
  return cursor === undefined ? Infinity : parseInt(cursor, 36);
}
