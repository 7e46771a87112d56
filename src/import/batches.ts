import type { Prepared } from './prepare.js';

export type Bounds = { readonly maxCount: number; readonly maxBytes: number };

/** Rows in the order of the input; one that is larger than all bounds goes alone. `bounds` is asked for each row. */
export async function* toBatches(
  rows: AsyncIterable<Prepared>,
  bounds: () => Bounds,
): AsyncGenerator<readonly Prepared[], void> {
  let batch: Prepared[] = [];
  let bytes = 0;
  for await (const row of rows) {
    const { maxCount, maxBytes } = bounds();
    const size = row.bytes + 1;
    if (batch.length > 0 && (batch.length >= maxCount || bytes + size > maxBytes)) {
      yield batch;
      batch = [];
      bytes = 0;
    }
    batch.push(row);
    bytes += size;
  }
  if (batch.length > 0) yield batch;
}
