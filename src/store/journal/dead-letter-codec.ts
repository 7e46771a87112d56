import { crc32 } from 'node:zlib';
import type { StoreLane } from '../../model/lane.js';
import type { Reason } from '../../model/outcome.js';
import type { StoredDeadLetter } from '../dead-letters.js';
import { DamagedError } from './block.js';

/** A dead letter with its number, as it is stored. */
export type JournalDeadLetter = StoredDeadLetter & { readonly seq: number };

type Head = {
  readonly id: string;
  readonly lane: StoreLane;
  readonly seq: number;
  readonly keys: readonly string[];
  readonly acceptedAt: number;
  /** The stored name of `deadLetteredAt`. */
  readonly buriedAt: number;
  readonly attempts: number;
  readonly reason: Reason;
  readonly deliveryId: string | null;
};

const fixedBytes = 8;

/** Layout, little-endian: CRC-32 of the rest (4), length of the head (4), the head as JSON, the payload. */
export function encodeDeadLetter({ payload, deadLetteredAt, ...facts }: JournalDeadLetter): Buffer {
  const head: Head = { ...facts, buriedAt: deadLetteredAt };
  const text = Buffer.from(JSON.stringify(head));
  const bytes = Buffer.allocUnsafeSlow(fixedBytes + text.byteLength + payload.byteLength);
  bytes.writeUInt32LE(text.byteLength, 4);
  text.copy(bytes, fixedBytes);
  bytes.set(payload, fixedBytes + text.byteLength);
  bytes.writeUInt32LE(crc32(bytes.subarray(4)), 0);
  return bytes;
}

/** Throws DamagedError. */
export function decodeDeadLetter(bytes: Buffer, what: string): JournalDeadLetter {
  if (bytes.byteLength < fixedBytes || crc32(bytes.subarray(4)) !== bytes.readUInt32LE(0)) {
    throw new DamagedError(`${what} has a wrong checksum`);
  }
  const end = fixedBytes + bytes.readUInt32LE(4);
  const { buriedAt, ...facts } = JSON.parse(bytes.toString('utf8', fixedBytes, end)) as Head;
  return { ...facts, deadLetteredAt: buriedAt, payload: bytes.subarray(end) };
}
