import type { Parcel } from '../envelope.js';
import type { Destination } from './destination.js';

/** One payload a parcel: an envelope's own bytes, or a profile's merged ones. */
export function toPayloads(
  parcels: readonly Parcel[],
  destination: Pick<Destination, 'merge'>,
): readonly Uint8Array[] {
  return parcels.map(([oldest, ...newer]) =>
    newer.reduce((merged, { payload }) => destination.merge(merged, payload), oldest.payload),
  );
}
