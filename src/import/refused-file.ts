import { open, rm, stat, truncate, type FileHandle } from 'node:fs/promises';
import type { Issue } from '../model/outcome.js';
import { ImportError } from './import-error.js';
import type { Prepared } from './prepare.js';
import { isMissing } from './progress.js';

export type Refused = { readonly row: Prepared; readonly errors: readonly Issue[] };

/** Entries that were refused, a JSON line each, for a person to mend and import again. */
export type RefusedFile = {
  /** Bytes written so far, those of earlier runs included. */
  readonly bytes: () => number;
  /** Once it resolves, they are on disk. The file is made with the first. */
  add(refused: readonly Refused[]): Promise<void>;
  close(): Promise<void>;
};

type Options = {
  readonly path: string;
  /** Bytes that an earlier run of this import noted; what follows them comes again. Null: it is the first run. */
  readonly notedBytes: number | null;
  /** Whether what another import left there may go. */
  readonly overwrite: boolean;
};

/** Throws ImportError where a file is there that is not of this import. */
export async function openRefusedFile(options: Options): Promise<RefusedFile> {
  const { path, notedBytes, overwrite } = options;
  if (overwrite) await rm(path, { force: true });
  if (notedBytes === null) await checkFree(path);
  const size = await sizeOf(path);
  let bytes = Math.min(notedBytes ?? 0, size);
  if (size > bytes) await truncate(path, bytes);
  let file: FileHandle | null = null;
  return {
    bytes: () => bytes,
    async add(refused) {
      if (refused.length === 0) return;
      // It holds what the input holds: data of customers.
      file ??= await open(path, 'a', 0o600);
      const text = refused.map(toLine).join('');
      await file.writeFile(text);
      await file.datasync();
      bytes += Buffer.byteLength(text);
    },
    async close() {
      await file?.close();
      file = null;
    },
  };
}

/** Throws ImportError where there is something in a file that an import would write anew. */
export async function checkFree(path: string): Promise<void> {
  if ((await sizeOf(path)) === 0) return;
  throw new ImportError(
    `${path} is there already: move it away, name another with --rejected, or write it anew with --restart`,
  );
}

/** A broken line of the input goes in as text. */
function toLine({ row: { line, original }, errors }: Refused): string {
  const entry = isJson(original) ? original : JSON.stringify(original);
  return `{"line":${line},"errors":${JSON.stringify(errors)},"entry":${entry}}\n`;
}

function isJson(text: string): boolean {
  try {
    JSON.parse(text);
    return true;
  } catch {
    return false;
  }
}

/** 0 where there is none. */
async function sizeOf(path: string): Promise<number> {
  try {
    return (await stat(path)).size;
  } catch (error) {
    if (isMissing(error)) return 0;
    throw error;
  }
}
