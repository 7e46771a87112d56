import type { Page, PageQuery } from '../envelope.js';

/** An entry of a list, numbered in the order in which it came in. */
export type Numbered<T> = { readonly order: number; readonly value: T };

/**
 * A page of `newestFirst`. The cursor is the number of the last one shown: what comes or goes
 * meanwhile neither shifts a page nor ends the list.
 */
export function toPage<T>(
  newestFirst: readonly Numbered<T>[],
  { limit, cursor }: PageQuery,
  isShown: (value: T) => boolean,
): Page<T> {
  const below = cursor === undefined ? Infinity : parseInt(cursor, 36);
  const data: T[] = [];
  let last = below;
  for (const { order, value } of newestFirst) {
    if (!(order < below) || !isShown(value)) continue;
    if (data.length === limit) return { data, next: last.toString(36) };
    data.push(value);
    last = order;
  }
  return { data, next: null };
}
