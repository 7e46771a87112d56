import type { Clock } from '../clock.js';
import type { Page, PageQuery } from '../model/store.js';
import { Slices } from '../slices.js';

/** An entry of a list, numbered in the order in which it came in. */
export type Numbered<T> = { readonly order: number; readonly value: T };

/**
 * A page of `newestFirst`. The cursor is the number of the last one shown: what comes or goes
 * meanwhile neither shifts a page nor ends the list. Runs in slices: where few are shown, many are
 * looked at.
 */
export async function toPage<T>(
  newestFirst: Iterable<Numbered<T>>,
  { limit, cursor, clock }: PageQuery & { readonly clock: Pick<Clock, 'monotonic'> },
  isShown: (value: T, order: number) => boolean,
): Promise<Page<T>> {
  const slices = new Slices(clock);
  const below = toOrder(cursor);
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

/** Entries below this order come next; NaN, below which nothing is, for a cursor that was never given. */
export function toOrder(cursor: string | undefined): number {
  return cursor === undefined ? Infinity : parseInt(cursor, 36);
}
