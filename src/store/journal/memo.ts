import { crc32 } from 'node:zlib';
import type { Memo } from '../../envelope.js';
import { DamagedError } from './block.js';

/** A memo with its key as it lies on disk. */
export type Keyed = { readonly key: Buffer; readonly value: string };

/** What lies under a key. */
export type StoredMemo = {
  /** Its place in the order of age. */
  readonly order: number;
  readonly value: string;
};

/** LMDB's bound for this build; beyond it a whole transaction would fail. */
const maxKeyBytes = 1978;
const headBytes = 10;

/** Bytes, and not lmdb's own form of a string: in that two of them can be one. Throws RangeError. */
export function toKey(key: string): Buffer {
  const bytes = Buffer.from(key);
  if (bytes.length === 0 || bytes.length > maxKeyBytes) {
    throw new RangeError(`a memo's key of ${bytes.length} bytes cannot be kept`);
  }
  return bytes;
}

export const toKeyed = ({ key, value }: Memo): Keyed => ({ key: toKey(key), value });

/** CRC-32 of the key and what follows (4), order (6), the value. Little-endian. */
export function encodeMemo(key: Buffer, { order, value }: StoredMemo): Buffer {
  const bytes = Buffer.allocUnsafeSlow(headBytes + Buffer.byteLength(value));
  bytes.writeUIntLE(order, 4, 6);
  bytes.write(value, headBytes);
  bytes.writeUInt32LE(checksum(key, bytes), 0);
  return bytes;
}

/** Throws DamagedError. */
export function decodeMemo(key: Buffer, bytes: Buffer, what: string): StoredMemo {
  if (bytes.byteLength < headBytes || checksum(key, bytes) !== bytes.readUInt32LE(0)) {
    throw new DamagedError(`${what} has a wrong checksum`);
  }
  return { order: bytes.readUIntLE(4, 6), value: bytes.toString('utf8', headBytes) };
}

const checksum = (key: Buffer, bytes: Buffer): number => crc32(bytes.subarray(4), crc32(key));
