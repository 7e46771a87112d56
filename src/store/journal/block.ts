import { crc32 } from 'node:zlib';

/** One accepted envelope as it is stored. */
export type Entry = {
  /** Number within the lane. */
  readonly seq: number;
  /** Epoch ms. */
  readonly acceptedAt: number;
  readonly keys: readonly string[];
  readonly payload: Uint8Array;
};

/** Stored data does not match its checksum or format. None of it is used. */
export class DamagedError extends Error {
  constructor(what: string) {
    super(`the journal is damaged: ${what}; \`klaviyo-relay store check\` tells more`);
    this.name = 'DamagedError';
  }
}

/** Larger blocks are split, so that one unsettled envelope does not keep megabytes in memory. */
export const maxBlockBytes = 256 * 1024;
export const maxBlockCount = 1024;

const version = 1;
const headBytes = 9;
const entryBytes = 17;

/**
 * Encodes a block: envelopes of one lane, in order. Layout, little-endian: version (1), CRC-32 of what follows (4),
 * count (4), and for each envelope seq (6), acceptedAt (6), number of keys (1), payload length (4), each key's
 * length (1) and bytes, the payload. `allocate` returns uninitialised memory.
 */
export function encodeBlock(
  entries: readonly Entry[],
  allocate: (bytes: number) => Buffer = (bytes) => Buffer.allocUnsafeSlow(bytes),
): Buffer {
  const block = allocate(headBytes + entries.reduce((sum, one) => sum + countEntryBytes(one), 0));
  block.writeUInt8(version, 0);
  block.writeUInt32LE(entries.length, 5);
  let at = headBytes;
  for (const { seq, acceptedAt, keys, payload } of entries) {
    block.writeUIntLE(seq, at, 6);
    block.writeUIntLE(acceptedAt, at + 6, 6);
    block.writeUInt8(keys.length, at + 12);
    block.writeUInt32LE(payload.byteLength, at + 13);
    at += entryBytes;
    for (const key of keys) {
      block[at++] = key.length;
      for (let index = 0; index < key.length; index++) block[at++] = key.charCodeAt(index);
    }
    block.set(payload, at);
    at += payload.byteLength;
  }
  block.writeUInt32LE(crc32(block.subarray(5)), 1);
  return block;
}

/** Returns the bytes of an entry in a block. Keys are ASCII: hashes in base 64. */
export function countEntryBytes({ keys, payload }: Entry): number {
  return keys.reduce((sum, key) => sum + 1 + key.length, entryBytes + payload.byteLength);
}

/** Payloads are views of `block`. Throws DamagedError. */
export function decodeBlock(block: Buffer, what: string): readonly Entry[] {
  if (block.byteLength < headBytes || block.readUInt8(0) !== version) {
    throw new DamagedError(`${what} is no block`);
  }
  if (crc32(block.subarray(5)) !== block.readUInt32LE(1)) {
    throw new DamagedError(`${what} has a wrong checksum`);
  }
  const entries: Entry[] = [];
  let at = headBytes;
  for (let left = block.readUInt32LE(5); left > 0; left--) {
    const seq = block.readUIntLE(at, 6);
    const acceptedAt = block.readUIntLE(at + 6, 6);
    const keyCount = block.readUInt8(at + 12);
    const payloadBytes = block.readUInt32LE(at + 13);
    at += entryBytes;
    const keys: string[] = [];
    for (let key = 0; key < keyCount; key++) {
      const end = at + 1 + block.readUInt8(at);
      keys.push(block.toString('latin1', at + 1, end));
      at = end;
    }
    const payload = block.subarray(at, at + payloadBytes);
    // `slice` gives an array without spare capacity, since many of them wait in memory: see `toKeys` in
    // ingest/identity.ts.
    entries.push({ seq, acceptedAt, keys: keys.slice(), payload });
    at += payloadBytes;
  }
  return entries;
}

/** Splits entries into groups that keep the bounds of a block, in the same order. */
export function cutIntoBlocks<T extends Entry>(entries: readonly T[]): readonly (readonly T[])[] {
  const blocks: T[][] = [];
  let current: T[] = [];
  let bytes = 0;
  for (const entry of entries) {
    const size = countEntryBytes(entry);
    if (current.length > 0 && (bytes + size > maxBlockBytes || current.length >= maxBlockCount)) {
      blocks.push(current);
      current = [];
      bytes = 0;
    }
    current.push(entry);
    bytes += size;
  }
  if (current.length > 0) blocks.push(current);
  return blocks;
}
