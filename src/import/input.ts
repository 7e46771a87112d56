import { createReadStream } from 'node:fs';
import { stat } from 'node:fs/promises';
import { addAbortSignal, type Readable } from 'node:stream';
import { ImportError } from './import-error.js';
import { isMissing, toInputIdentity, type Progress } from './progress.js';

/** What is imported. */
export type Input = {
  /** Null where it can be read once alone, as a pipe can: then nothing can go on where it stopped. */
  readonly file: Progress['input'] | null;
  /** Bytes from this offset on; of a pipe, once and from 0. */
  open(offset: number): AsyncIterable<Buffer>;
};

const chunkBytes = 262_144;

type Pipes = {
  readonly stdin: Readable;
  /** Ends the wait for what a pipe has not sent yet: reading it rejects. */
  readonly signal: AbortSignal;
};

/** `path`: `-` is stdin. Throws ImportError where it cannot be read. */
export async function openInput(path: string, { stdin, signal }: Pipes): Promise<Input> {
  const toPipe = (stream: Readable): Input => ({
    file: null,
    open: () => addAbortSignal(signal, stream),
  });
  if (path === '-') return toPipe(stdin);
  try {
    const found = await stat(path);
    if (found.isDirectory()) throw new ImportError(`${path} is a directory`);
    // A named pipe has no offsets.
    if (!found.isFile()) return toPipe(createReadStream(path));
    return {
      file: await toInputIdentity(path),
      open: (from) => createReadStream(path, { start: from, highWaterMark: chunkBytes }),
    };
  } catch (error) {
    if (isMissing(error)) throw new ImportError(`${path} is not there`);
    throw error;
  }
}
