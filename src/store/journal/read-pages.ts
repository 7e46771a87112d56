import type { Database, Key } from 'lmdb';

const entriesPerPage = 250;

/**
 * Yields the entries of a table in the order of their keys. It holds no cursor between two pages, so that
 * the caller may wait while other work changes the table.
 */
export function* readInPages<V, K extends Key>(
  table: Database<V, K>,
  bounds: { readonly start?: K; readonly end?: K } = {},
): Generator<{ readonly key: K; readonly value: V }> {
  let start = bounds.start;
  let exclusiveStart = false;
  for (;;) {
    const page: readonly { key: K; value: V }[] = [
      ...table.getRange({
        ...(start !== undefined && { start, exclusiveStart }),
        ...(bounds.end !== undefined && { end: bounds.end }),
        limit: entriesPerPage,
      }),
    ];
    yield* page;
    const last = page.at(-1);
    if (last === undefined || page.length < entriesPerPage) return;
    [start, exclusiveStart] = [last.key, true];
  }
}
