import type { BatchItem } from '../model/envelope.js';
import type { Destination } from '../model/destination.js';

/** One payload a item: an envelope's own bytes, or a profile's merged ones. */
export function toPayloads(
  items: readonly BatchItem[],
  destination: Pick<Destination, 'merge'>,
): readonly Uint8Array[] {
  return items.map((item) =>
    item.length === 1 ? item[0].payload : destination.merge(item.map(({ payload }) => payload)),
  );
}
