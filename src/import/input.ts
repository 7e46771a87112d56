import { createReadStream } from 'node:fs';
import { open, stat } from 'node:fs/promises';
import { addAbortSignal, type Readable } from 'node:stream';
import { decodeText, isPlain, kindBytes } from './decode.js';
import { ImportError } from './import-error.js';
import { isMissing, readInputIdentity, type Progress } from './progress.js';

/** The input as UTF-8 text. */
export type Input = {
  /** Null if the input can be read only once, such as a pipe. Such an import cannot resume. */
  readonly file: Progress['input'] | null;
  /**
   * The bytes of the text from this offset on. A pipe opens once, at 0. Reading throws
   * DamagedInput.
   */
  open(offset: number): AsyncIterable<Buffer>;
  /**
   * Bytes of the file that correspond to `offset` bytes of text. For a compressed file: the bytes
   * read so far.
   */
  position(offset: number): number;
};

const chunkBytes = 262_144;
/** Compressed bytes become many times as much text, and bytes that are read ahead count as done. */
const compressedChunkBytes = 16_384;

type Options = {
  readonly stdin: Readable;
  /** Aborting rejects a read that waits for a pipe. */
  readonly signal: AbortSignal;
  /** See `decode`. */
  readonly encoding: string | null;
};

/** Returns true if the input can be read only once. */
export async function isPipeStream(path: string): Promise<boolean> {
  if (path === '-') return true;
  const found = await stat(path).catch(() => null);
  return found !== null && !found.isFile() && !found.isDirectory();
}

/** `path`: `-` is stdin. Throws ImportError if the input cannot be read. */
export async function openInput(path: string, options: Options): Promise<Input> {
  const { stdin, signal, encoding } = options;
  const createPipeInput = (stream: Readable): Input => ({
    file: null,
    open: () => decodeText(addAbortSignal(signal, stream), encoding),
    position: (offset) => offset,
  });
  if (path === '-') return createPipeInput(stdin);
  try {
    const found = await stat(path);
    if (found.isDirectory()) throw new ImportError(`${path} is a directory`);
    // A named pipe has no offsets.
    if (!found.isFile()) return createPipeInput(createReadStream(path));
    const file = await readInputIdentity(path);
    return isPlain(await readFirstBytes(path), encoding)
      ? { file, open: (from) => readFrom(path, from), position: (offset) => offset }
      : { file, ...openDecoded(path, encoding) };
  } catch (error) {
    if (isMissing(error)) throw new ImportError(`${path} does not exist`);
    throw error;
  }
}

/**
 * Decoded text has no offsets in its file. The file is read from its start, and the text before the
 * offset is skipped.
 */
function openDecoded(path: string, encoding: string | null): Pick<Input, 'open' | 'position'> {
  let isRead = (): number => 0;
  return {
    open(offset) {
      const stream = createReadStream(path, { highWaterMark: compressedChunkBytes });
      isRead = () => stream.bytesRead;
      return skip(decodeText(stream, encoding), offset);
    },
    position: () => isRead(),
  };
}

const readFrom = (path: string, start: number) =>
  createReadStream(path, { start, highWaterMark: chunkBytes });

async function* skip(chunks: AsyncIterable<Buffer>, bytes: number): AsyncGenerator<Buffer, void> {
  let left = bytes;
  for await (const chunk of chunks) {
    if (left < chunk.length) yield chunk.subarray(left);
    left = Math.max(0, left - chunk.length);
  }
}

async function readFirstBytes(path: string): Promise<Buffer> {
  const file = await open(path);
  try {
    const { buffer, bytesRead } = await file.read(Buffer.alloc(kindBytes), 0, kindBytes, 0);
    return buffer.subarray(0, bytesRead);
  } finally {
    await file.close();
  }
}
