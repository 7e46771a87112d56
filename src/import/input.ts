import { createReadStream } from 'node:fs';
import { open, stat } from 'node:fs/promises';
import { addAbortSignal, type Readable } from 'node:stream';
import { decode, isPlain, kindBytes } from './decode.js';
import { ImportError } from './import-error.js';
import { isMissing, toInputIdentity, type Progress } from './progress.js';

/** What is imported, as text in UTF-8. */
export type Input = {
  /** Null where it can be read once alone, as a pipe can: then nothing can go on where it stopped. */
  readonly file: Progress['input'] | null;
  /** Bytes of the text from this offset on; of a pipe, once and from 0. Reading throws DamagedInput. */
  open(offset: number): AsyncIterable<Buffer>;
  /** Bytes of the file that `offset` bytes of text took; of a compressed one, those that are read. */
  position(offset: number): number;
};

const chunkBytes = 262_144;
/** They come to many times as much text, and what is read ahead counts as done. */
const compressedChunkBytes = 16_384;

type Options = {
  readonly stdin: Readable;
  /** Ends the wait for what a pipe has not sent yet: reading it rejects. */
  readonly signal: AbortSignal;
  /** As in `decode`. */
  readonly encoding: string | null;
};

/** Whether it can be read once alone. */
export async function isPipe(path: string): Promise<boolean> {
  if (path === '-') return true;
  const found = await stat(path).catch(() => null);
  return found !== null && !found.isFile() && !found.isDirectory();
}

/** `path`: `-` is stdin. Throws ImportError where it cannot be read. */
export async function openInput(path: string, options: Options): Promise<Input> {
  const { stdin, signal, encoding } = options;
  const toPipe = (stream: Readable): Input => ({
    file: null,
    open: () => decode(addAbortSignal(signal, stream), encoding),
    position: (offset) => offset,
  });
  if (path === '-') return toPipe(stdin);
  try {
    const found = await stat(path);
    if (found.isDirectory()) throw new ImportError(`${path} is a directory`);
    // A named pipe has no offsets.
    if (!found.isFile()) return toPipe(createReadStream(path));
    const file = await toInputIdentity(path);
    return isPlain(await readHead(path), encoding)
      ? { file, open: (from) => readFrom(path, from), position: (offset) => offset }
      : { file, ...toDecoded(path, encoding) };
  } catch (error) {
    if (isMissing(error)) throw new ImportError(`${path} is not there`);
    throw error;
  }
}

/** What is decoded has no offsets in the file: it is read from its start, and what is before is left out. */
function toDecoded(path: string, encoding: string | null): Pick<Input, 'open' | 'position'> {
  let isRead = (): number => 0;
  return {
    open(offset) {
      const stream = createReadStream(path, { highWaterMark: compressedChunkBytes });
      isRead = () => stream.bytesRead;
      return skip(decode(stream, encoding), offset);
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

async function readHead(path: string): Promise<Buffer> {
  const file = await open(path);
  try {
    const { buffer, bytesRead } = await file.read(Buffer.alloc(kindBytes), 0, kindBytes, 0);
    return buffer.subarray(0, bytesRead);
  } finally {
    await file.close();
  }
}
