import type { Parcel } from '../envelope.js';
import type { Destination } from './destination.js';

/** One payload a parcel: an envelope's own bytes, or a profile's merged ones. */
export function toPayloads(
  parcels: readonly Parcel[],
  destination: Pick<Destination, 'merge'>,
): readonly Uint8Array[] {
  return parcels.map((parcel) =>
    parcel.length === 1
      ? parcel[0].payload
      : destination.merge(parcel.map(({ payload }) => payload)),
  );
}
