/**
 * From the bytes of an input to UTF-8 text: gzip, UTF-16 and other encodings.
 */

import { Readable, pipeline } from 'node:stream';
import { createGunzip } from 'node:zlib';
import { DamagedInput } from './import-error.js';

const byteOrderMarks = [
  { encoding: 'utf-8', magic: [0xef, 0xbb, 0xbf] },
  { encoding: 'utf-16le', magic: [0xff, 0xfe] },
  { encoding: 'utf-16be', magic: [0xfe, 0xff] },
] as const;
const gzipMagic = [0x1f, 0x8b];

/** The first bytes that show the kind of an input. */
export const kindBytes = 4;

/**
 * Returns true if the bytes of the input are its UTF-8 text, so that offsets in both are the same.
 * `encoding`: the one given by the user. Null means UTF-8, or UTF-16 with a byte order mark.
 */
export function isPlain(head: Buffer, encoding: string | null): boolean {
  return !startsWith(head, gzipMagic) && detectEncoding(head, encoding) === 'utf-8';
}

/** Decodes an input, gzip or not, to UTF-8. Throws DamagedInput. */
export async function* decodeText(
  raw: AsyncIterable<Buffer>,
  encoding: string | null,
): AsyncGenerator<Buffer, void> {
  const { head, chunks } = await peek(gunzip(raw), ({ length }) => length >= kindBytes);
  const found = detectEncoding(head, encoding);
  if (found === 'utf-8') yield* chunks;
  else yield* decodeToUtf8(chunks, found);
}

/** Passes through what is not gzip. */
async function* gunzip(raw: AsyncIterable<Buffer>): AsyncGenerator<Buffer, void> {
  const { head, chunks } = await peek(raw, ({ length }) => length >= gzipMagic.length);
  if (!startsWith(head, gzipMagic)) {
    yield* chunks;
    return;
  }
  // Reads all members, because files with several are common.
  const stream = createGunzip({ chunkSize: chunkBytes });
  // No read-ahead, because the position in the file shows the progress of the import.
  pipeline(Readable.from(chunks, { highWaterMark: 1 }), stream, () => undefined);
  try {
    for await (const chunk of stream) yield Buffer.from(chunk as Uint8Array);
  } catch (error) {
    const code = error instanceof Error && 'code' in error ? error.code : '';
    if (code === 'Z_BUF_ERROR') throw new DamagedInput('the gzip file is truncated');
    if (code === 'Z_DATA_ERROR') throw new DamagedInput('the gzip file is damaged');
    throw error;
  }
}

const chunkBytes = 262_144;

async function* decodeToUtf8(
  chunks: AsyncIterable<Buffer>,
  encoding: string,
): AsyncGenerator<Buffer, void> {
  const decoder = new TextDecoder(encoding, { fatal: true });
  try {
    for await (const chunk of chunks) yield Buffer.from(decoder.decode(chunk, { stream: true }));
    yield Buffer.from(decoder.decode());
  } catch (error) {
    if (error instanceof TypeError) throw new DamagedInput(`the input is not valid ${encoding}`);
    throw error;
  }
}

function detectEncoding(head: Buffer, encoding: string | null): string {
  const marked = byteOrderMarks.find(({ magic }) => startsWith(head, magic));
  return marked?.encoding ?? encoding ?? 'utf-8';
}

function startsWith(head: Buffer, magic: readonly number[]): boolean {
  return magic.every((byte, at) => head[at] === byte);
}

/** The beginning of a source, and the whole source including that beginning. */
export type Peeked = {
  readonly head: Buffer;
  readonly chunks: AsyncGenerator<Buffer, void>;
  /** Closes the source. Needed if `chunks` is never iterated. */
  readonly close: () => Promise<void>;
};

/** Reads until `isEnough` returns true or the source ends. */
export async function peek(
  source: AsyncIterable<Buffer>,
  isEnough: (head: Buffer) => boolean,
): Promise<Peeked> {
  const iterator = source[Symbol.asyncIterator]();
  let head: Buffer = Buffer.alloc(0);
  while (!isEnough(head)) {
    const next = await iterator.next();
    if (next.done === true) break;
    head = head.length === 0 ? next.value : Buffer.concat([head, next.value]);
  }
  const close = async (): Promise<void> => {
    await iterator.return?.();
  };
  return { head, chunks: chunksOf(head, iterator), close };
}

async function* chunksOf(
  head: Buffer,
  iterator: AsyncIterator<Buffer>,
): AsyncGenerator<Buffer, void> {
  try {
    if (head.length > 0) yield head;
    for (let next = await iterator.next(); next.done !== true; next = await iterator.next()) {
      yield next.value;
    }
  } finally {
    await iterator.return?.();
  }
}
