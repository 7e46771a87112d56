import type { Readable } from 'node:stream';
import type { Clock } from '../clock.js';
import type { Lane } from '../envelope.js';
import { openEntries } from './entries.js';
import { importRows, type Reached, type Report, type RowsDeps } from './import-rows.js';
import { openInput, type Input } from './input.js';
import { start } from './lines.js';
import { checkSame, noCounts, type Counts, type Progress, type ProgressFile } from './progress.js';
import { openRefusedFile } from './refused-file.js';
import type { Backfill } from './post.js';
import type { Layout } from './rows.js';

export type ImportOptions = Layout & {
  /** A path, or `-` for stdin. */
  readonly input: string;
  /** Null: the input tells. */
  readonly lane: Lane | null;
  /** Without a slash at the end. */
  readonly url: string;
  readonly key: string | null;
  readonly backfill: Backfill;
  readonly maxCount: number;
  readonly refusedPath: string;
  readonly restart: boolean;
};

export type ImportDeps = {
  readonly clock: Clock;
  /** In [0, 1). */
  readonly random: () => number;
  readonly stdin: Readable;
  /** Not used where the input is a pipe. */
  readonly progressFile: ProgressFile;
  /** Aborts where the import is to end: the batch under way is finished. */
  readonly signal: AbortSignal;
  readonly report: Report;
};

export type ImportResult = {
  /** Null: it reached the end of the input. */
  readonly stopped: string | null;
  /** There was nothing left to do. */
  readonly wasFinished: boolean;
  /** Those of earlier runs included. */
  readonly counts: Counts;
  /** The last line that was answered for. */
  readonly line: number;
  /** Whether the same command goes on where this one stopped. */
  readonly canGoOn: boolean;
};

/**
 * Row by row into a running relay. A batch counts once the relay has answered for it: then first what
 * it refused is written down, then how far the import is. Whatever comes in between, the rows from
 * there on come again, and are repeats to the relay. Throws ImportError.
 */
export async function runImport(options: ImportOptions, deps: ImportDeps): Promise<ImportResult> {
  const input = await openInput(options.input, deps);
  const progressFile = input.file === null ? noProgressFile : deps.progressFile;
  const noted = options.restart ? null : await progressFile.load();
  const entries = await openEntries(input, options, options.lane ?? noted?.lane ?? null);
  try {
    const first = toFirst(options, input, entries.lane);
    if (noted !== null) checkSame(noted, first);
    if (noted?.isFinished === true) return toResult(noted, { wasFinished: true });
    const run = { ...deps, ...options, progressFile, entries, size: input.file?.size ?? null };
    const { stopped, progress } = await importFrom(run, { noted, first });
    return toResult(progress, { stopped, canGoOn: stopped !== null && input.file !== null });
  } finally {
    await entries.close();
  }
}

type Run = ImportOptions & ImportDeps & Omit<RowsDeps, 'refusedFile' | 'save'>;

async function importFrom(
  run: Run,
  { noted, first }: { readonly noted: Progress | null; readonly first: Progress },
): Promise<Reached> {
  const { progressFile, refusedPath: path, restart } = run;
  const notedBytes = noted === null ? null : noted.refused.bytes;
  const refusedFile = await openRefusedFile({ path, notedBytes, overwrite: restart });
  try {
    // Before anything is written to the other file: so it is known to be of this import.
    await progressFile.save(noted ?? first);
    return await importRows({ ...run, refusedFile, save: progressFile.save }, noted ?? first);
  } finally {
    await refusedFile.close();
  }
}

const noProgressFile: ProgressFile = {
  load: () => Promise.resolve(null),
  save: () => Promise.resolve(),
};

function toFirst(options: ImportOptions, { file }: Input, lane: Lane): Progress {
  const { url, format, delimiter, backfill, refusedPath } = options;
  return {
    version: 1,
    url,
    lane,
    format,
    delimiter,
    backfill,
    input: file ?? { size: 0, modifiedMs: 0, head: '' },
    offset: start.offset,
    line: start.line,
    counts: noCounts,
    refused: { path: refusedPath, bytes: 0 },
    isFinished: false,
  };
}

function toResult({ counts, line }: Progress, end: Partial<ImportResult>): ImportResult {
  return { stopped: null, wasFinished: false, canGoOn: false, ...end, counts, line };
}
