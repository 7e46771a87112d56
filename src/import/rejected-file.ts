import { open, rm, stat, truncate, type FileHandle } from 'node:fs/promises';
import type { Issue } from '../model/outcome.js';
import { ImportError } from './import-error.js';
import type { Prepared } from './prepare.js';
import { isMissing } from './progress.js';

export type RejectedEntry = { readonly row: Prepared; readonly errors: readonly Issue[] };

/** The rejected entries, one JSON line each, for a person to correct and import again. */
export type RejectedFile = {
  /** Bytes written so far, including earlier runs. */
  readonly bytes: () => number;
  /** Resolves when the entries are on disk. The first entry creates the file. */
  add(rejected: readonly RejectedEntry[]): Promise<void>;
  close(): Promise<void>;
};

type Options = {
  readonly path: string;
  /**
   * Bytes that an earlier run of this import recorded. What follows them is written again. Null:
   * this is the first run.
   */
  readonly savedBytes: number | null;
  /** True if the file of another import may be replaced. */
  readonly overwrite: boolean;
};

/** Throws ImportError if the file belongs to something else. */
export async function openRejectedFile(options: Options): Promise<RejectedFile> {
  const { path, savedBytes, overwrite } = options;
  if (overwrite) await rm(path, { force: true });
  if (savedBytes === null) await checkRejectedFileUnused(path);
  const size = await sizeOfLine(path);
  let bytes = Math.min(savedBytes ?? 0, size);
  if (size > bytes) await truncate(path, bytes);
  let file: FileHandle | null = null;
  return {
    bytes: () => bytes,
    async add(rejected) {
      if (rejected.length === 0) return;
      // The file holds customers' data, as the input does.
      file ??= await open(path, 'a', 0o600);
      const text = rejected.map(formatRejectedEntry).join('');
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

/** Throws ImportError if the file that an import would create holds something. */
export async function checkRejectedFileUnused(path: string): Promise<void> {
  if ((await sizeOfLine(path)) === 0) return;
  throw new ImportError(
    `${path} already exists: move it, name another file with --rejected, or overwrite it with --restart`,
  );
}

/** A broken line of the input is written as text. */
function formatRejectedEntry({ row: { line, original }, errors }: RejectedEntry): string {
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

/** Returns 0 if there is no file. */
async function sizeOfLine(path: string): Promise<number> {
  try {
    return (await stat(path)).size;
  } catch (error) {
    if (isMissing(error)) return 0;
    throw error;
  }
}
