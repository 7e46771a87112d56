import { pipeline, Readable } from 'node:stream';
import { createGunzip } from 'node:zlib';
import { DamagedInput } from './import-error.js';
import { peek } from './peek.js';

const byteOrderMarks = [
  { encoding: 'utf-8', magic: [0xef, 0xbb, 0xbf] },
  { encoding: 'utf-16le', magic: [0xff, 0xfe] },
  { encoding: 'utf-16be', magic: [0xfe, 0xff] },
] as const;
const gzipMagic = [0x1f, 0x8b];

/** Bytes that are enough to see of what kind an input is. */
export const kindBytes = 4;

/**
 * Whether the bytes of an input are its text in UTF-8, so that an offset in the one is an offset in the
 * other. `encoding`: the one the user names; null: UTF-8, unless a byte order mark says UTF-16.
 */
export function isPlain(head: Buffer, encoding: string | null): boolean {
  return !startsWith(head, gzipMagic) && toEncoding(head, encoding) === 'utf-8';
}

/** From the bytes of an input, gzip or not, to its text in UTF-8. Throws DamagedInput. */
export async function* decode(
  raw: AsyncIterable<Buffer>,
  encoding: string | null,
): AsyncGenerator<Buffer, void> {
  const { head, chunks } = await peek(gunzip(raw), ({ length }) => length >= kindBytes);
  const found = toEncoding(head, encoding);
  if (found === 'utf-8') yield* chunks;
  else yield* toUtf8(chunks, found);
}

/** What is no gzip comes as it is. */
async function* gunzip(raw: AsyncIterable<Buffer>): AsyncGenerator<Buffer, void> {
  const { head, chunks } = await peek(raw, ({ length }) => length >= gzipMagic.length);
  if (!startsWith(head, gzipMagic)) {
    yield* chunks;
    return;
  }
  // It reads on after the end of one member: files of several are common.
  const stream = createGunzip({ chunkSize: chunkBytes });
  // No chunks ahead: how far the file is read tells how far the import is.
  pipeline(Readable.from(chunks, { highWaterMark: 1 }), stream, () => undefined);
  try {
    for await (const chunk of stream) yield Buffer.from(chunk as Uint8Array);
  } catch (error) {
    const code = error instanceof Error && 'code' in error ? error.code : '';
    if (code === 'Z_BUF_ERROR')
      throw new DamagedInput('the gzip file is cut off: its end is missing');
    if (code === 'Z_DATA_ERROR') throw new DamagedInput('the gzip file is damaged');
    throw error;
  }
}

const chunkBytes = 262_144;

async function* toUtf8(
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

function toEncoding(head: Buffer, encoding: string | null): string {
  const marked = byteOrderMarks.find(({ magic }) => startsWith(head, magic));
  return marked?.encoding ?? encoding ?? 'utf-8';
}

function startsWith(head: Buffer, magic: readonly number[]): boolean {
  return magic.every((byte, at) => head[at] === byte);
}
