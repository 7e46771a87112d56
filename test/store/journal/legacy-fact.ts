import { crc32 } from 'node:zlib';

/** A fact as an earlier version wrote it: checksum (4), order (6), the value. */
export function encodeLegacyFact(key: string, order: number, value: string): Buffer {
  const bytes = Buffer.alloc(10 + Buffer.byteLength(value));
  bytes.writeUIntLE(order, 4, 6);
  bytes.write(value, 10);
  bytes.writeUInt32LE(crc32(bytes.subarray(4), crc32(Buffer.from(key))), 0);
  return bytes;
}
