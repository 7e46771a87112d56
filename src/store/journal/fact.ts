import { crc32 } from 'node:zlib';
import { factKinds, type Fact, type FactKind } from '../../model/fact.js';
import { DamagedError } from './block.js';

/** A fact with its key as it lies on disk. */
export type Keyed = Omit<Fact, 'key'> & { readonly key: Buffer };

/** What lies under a key. */
export type StoredFact = {
  readonly kind: FactKind;
  /** Its place in the order of its kind. */
  readonly order: number;
  /** Ms by the time of its kind (`RetentionTime`). */
  readonly at: number;
  readonly value: string;
};

/** What an earlier version of the relay wrote: of no kind, and without a time. */
export type DatedFact = Pick<StoredFact, 'order' | 'value'>;

/** LMDB's bound for this build; beyond it a whole transaction would fail. */
const maxKeyBytes = 1978;
const headBytes = 17;
const memoHeadBytes = 10;
const orderHeadBytes = 6;

/** Keys on disk name a kind by its number. */
export const kindNumbers: Readonly<Record<FactKind, number>> = {
  delivery: 0,
  order: 1,
  payment: 2,
  charge: 3,
  customer: 4,
  user: 5,
  device: 6,
  other: 7,
};
const kindsByNumber = new Map(factKinds.map((kind) => [kindNumbers[kind], kind]));

/** Bytes, and not lmdb's own form of a string: in that two of them can be one. Throws RangeError. */
export function toKey(key: string): Buffer {
  const bytes = Buffer.from(key);
  if (bytes.length === 0 || bytes.length > maxKeyBytes) {
    throw new RangeError(`a fact's key of ${bytes.length} bytes cannot be kept`);
  }
  return bytes;
}

export const toKeyed = ({ kind, key, value }: Fact): Keyed => ({ kind, key: toKey(key), value });

/** CRC-32 of the key and what follows (4), number of the kind (1), order (6), time (6), the value. Little-endian. */
export function encodeFact(key: Buffer, { kind, order, at, value }: StoredFact): Buffer {
  const bytes = Buffer.allocUnsafeSlow(headBytes + Buffer.byteLength(value));
  bytes.writeUInt8(kindNumbers[kind], 4);
  bytes.writeUIntLE(order, 5, 6);
  bytes.writeUIntLE(at, 11, 6);
  bytes.write(value, headBytes);
  bytes.writeUInt32LE(checksum(key, bytes), 0);
  return bytes;
}

/** Throws DamagedError. */
export function decodeFact(key: Buffer, bytes: Buffer, what: string): StoredFact {
  verifyChecksum(key, bytes, { what, headBytes });
  const kind = kindsByNumber.get(bytes.readUInt8(4));
  if (kind === undefined) throw new DamagedError(`${what} is of no known kind`);
  return {
    kind,
    order: bytes.readUIntLE(5, 6),
    at: bytes.readUIntLE(11, 6),
    value: bytes.toString('utf8', headBytes),
  };
}

/** CRC-32 of the key and what follows (4), order (6), the value. Throws DamagedError. */
export function decodeDatedFact(key: Buffer, bytes: Buffer, what: string): DatedFact {
  verifyChecksum(key, bytes, { what, headBytes: memoHeadBytes });
  return { order: bytes.readUIntLE(4, 6), value: bytes.toString('utf8', memoHeadBytes) };
}

/** What lies at a fact's place in the order of its kind: time (6), key. */
export function encodePlace({ key, at }: Placed): Buffer {
  const bytes = Buffer.allocUnsafeSlow(orderHeadBytes + key.length);
  bytes.writeUIntLE(at, 0, 6);
  key.copy(bytes, orderHeadBytes);
  return bytes;
}

export type Placed = { readonly key: Buffer; readonly at: number };

export function decodePlace(bytes: Buffer): Placed {
  return { at: bytes.readUIntLE(0, 6), key: bytes.subarray(orderHeadBytes) };
}

function verifyChecksum(
  key: Buffer,
  bytes: Buffer,
  { what, headBytes: least }: { readonly what: string; readonly headBytes: number },
): void {
  if (bytes.byteLength < least || checksum(key, bytes) !== bytes.readUInt32LE(0)) {
    throw new DamagedError(`${what} has a wrong checksum`);
  }
}

const checksum = (key: Buffer, bytes: Buffer): number => crc32(bytes.subarray(4), crc32(key));
