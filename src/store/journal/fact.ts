import { crc32 } from 'node:zlib';
import { factKinds, type Fact, type FactKind } from '../../model/fact.js';
import { DamagedError } from './block.js';

/** A fact with its key in stored form. */
export type KeyedFact = Omit<Fact, 'key'> & { readonly key: Buffer };

/** The stored value of a key. */
export type StoredFact = {
  readonly kind: FactKind;
  /** Position in the order of its kind. */
  readonly order: number;
  /** Ms, by the retention time of its kind. */
  readonly at: number;
  readonly value: string;
};

/** A fact that an earlier version wrote, without kind and time. */
export type LegacyFact = Pick<StoredFact, 'order' | 'value'>;

/** The longest key of this LMDB build; a longer one would fail the whole transaction. */
const maxKeyBytes = 1978;
const headBytes = 17;
const legacyHeadBytes = 10;
const orderHeadBytes = 6;

/** Numbers of the kinds in keys on disk. */
export const kindNumbers: Readonly<Record<FactKind, number>> = {
  delivery: 0,
  order: 1,
  payment: 2,
  charge: 3,
  customer: 4,
  user: 5,
  device: 6,
  other: 7,
  consent: 8,
  decision: 9,
  erasure: 10,
};
const kindsByNumber = new Map(factKinds.map((kind) => [kindNumbers[kind], kind]));

/**
 * Encodes a key as bytes. lmdb's own encoding of strings can be equal for two different strings. Throws RangeError.
 */
export function toFactTableKey(key: string): Buffer {
  const bytes = Buffer.from(key);
  if (bytes.length === 0 || bytes.length > maxKeyBytes) {
    throw new RangeError(`a fact's key of ${bytes.length} bytes cannot be kept`);
  }
  return bytes;
}

export const toKeyedFact = ({ kind, key, value }: Fact): KeyedFact => ({
  kind,
  key: toFactTableKey(key),
  value,
});

/**
 * Layout, little-endian: CRC-32 of the key and of what follows (4), number of the kind (1), order (6), time (6),
 * the value.
 */
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

/** Layout, little-endian: CRC-32 of the key and of what follows (4), order (6), the value. Throws DamagedError. */
export function decodeLegacyFact(key: Buffer, bytes: Buffer, what: string): LegacyFact {
  verifyChecksum(key, bytes, { what, headBytes: legacyHeadBytes });
  return { order: bytes.readUIntLE(4, 6), value: bytes.toString('utf8', legacyHeadBytes) };
}

/** Encodes the entry in the order of a kind: time (6), key. */
export function encodePlace({ key, at }: FactPlace): Buffer {
  const bytes = Buffer.allocUnsafeSlow(orderHeadBytes + key.length);
  bytes.writeUIntLE(at, 0, 6);
  key.copy(bytes, orderHeadBytes);
  return bytes;
}

export type FactPlace = { readonly key: Buffer; readonly at: number };

export function decodePlace(bytes: Buffer): FactPlace {
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
