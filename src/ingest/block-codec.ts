import type { Draft } from '../model/envelope.js';
import { laneTraits, storeLanes } from '../model/lane.js';

/**
 * Encodes drafts as bytes whose memory is transferred from one thread to another without a copy.
 *
 * Little-endian, for each draft: number of the lane (1 byte), number of keys (1), each key's length (1) and
 * bytes, payload length (4) and the payload.
 */

/** Bytes of a chunk. A stored draft keeps its chunk in memory, so a chunk is no larger than a block of the journal. */
const maxChunkBytes = 256 * 1024;
const lengthBytes = 4;

/** Each chunk holds whole drafts and has its own ArrayBuffer. */
export function encodeDrafts(drafts: readonly Draft[]): readonly Uint8Array[] {
  const chunks: Uint8Array[] = [];
  for (let from = 0; from < drafts.length;) {
    let size = 0;
    let to = from;
    for (; to < drafts.length; to++) {
      const more = countEncodedBytes(drafts[to]);
      if (to > from && size + more > maxChunkBytes) break;
      size += more;
    }
    chunks.push(encodeChunk(drafts.slice(from, to), size));
    from = to;
  }
  return chunks;
}

function countEncodedBytes(draft: Draft | undefined): number {
  if (draft === undefined) return 0;
  let size = 2 + lengthBytes + draft.payload.length;
  for (const key of draft.keys) size += 1 + key.length;
  return size;
}

function encodeChunk(drafts: readonly Draft[], size: number): Uint8Array {
  const chunk = Buffer.allocUnsafeSlow(size);
  let at = 0;
  for (const { lane, keys, payload } of drafts) {
    chunk[at++] = laneTraits[lane].number;
    chunk[at++] = keys.length;
    for (const key of keys) {
      chunk[at++] = key.length;
      for (let index = 0; index < key.length; index++) chunk[at++] = key.charCodeAt(index);
    }
    at = chunk.writeUInt32LE(payload.length, at);
    chunk.set(payload, at);
    at += payload.length;
  }
  return chunk;
}

const lanesByNumber = new Map(storeLanes.map((lane) => [laneTraits[lane].number, lane]));

/** Returns the same drafts in the same order. Payloads are views of the chunks. */
export function decodeDrafts(
  chunks: readonly Uint8Array[],
  { acceptedAt }: { readonly acceptedAt: number },
): Draft[] {
  const drafts: Draft[] = [];
  for (const { buffer, byteOffset, byteLength } of chunks) {
    const chunk = Buffer.from(buffer, byteOffset, byteLength);
    for (let at = 0; at < byteLength;) {
      const lane = lanesByNumber.get(chunk[at++] ?? NaN);
      if (lane === undefined) throw new Error('a drafting thread named an unknown lane');
      const keys: string[] = [];
      for (let left = chunk[at++] ?? 0; left > 0; left--) {
        const end = at + 1 + (chunk[at] ?? 0);
        keys.push(chunk.toString('latin1', at + 1, end));
        at = end;
      }
      const start = at + lengthBytes;
      at = start + chunk.readUInt32LE(at);
      // A copy has no spare capacity: see `hashIdentifiers` in identity.ts.
      drafts.push({ lane, keys: keys.slice(), acceptedAt, payload: chunk.subarray(start, at) });
    }
  }
  return drafts;
}
