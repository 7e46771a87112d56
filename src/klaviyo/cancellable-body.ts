/** Others may send what was about to be sent by now, so the rest of it stays here. */
export class LeaseOverError extends Error {
  readonly code = 'RELAY_LEASE_OVER';
}

/** Pieces are of half of this at least, more than a stream takes without waiting: so the next one waits until this one has left. */
const pieceBytes = 128 * 1024;
/** The last one is so small that the kernel takes it in one piece: either it leaves at once or not at all. */
const lastBytes = 512;

/**
 * A body that is written piece by piece, as the connection takes it, and only while `mayGo` holds. A
 * process may stand still in the middle of a request; when it goes on, what it still had to write must
 * not make the request whole. Throws LeaseOverError.
 */
export function* toCancellableBody(body: Buffer, mayGo: () => boolean): Generator<Buffer> {
  const lastAt = Math.max(0, body.length - lastBytes);
  const size = Math.ceil(lastAt / Math.max(1, Math.ceil(lastAt / pieceBytes)));
  for (let at = 0; at < body.length;) {
    if (!mayGo()) throw new LeaseOverError('the lease was over before all was sent');
    const end = at < lastAt ? Math.min(lastAt, at + size) : body.length;
    yield body.subarray(at, end);
    at = end;
  }
}
