import type { Readable } from 'node:stream';
import type { Clock } from '../clock.js';
import { type Entries, type EntriesOptions, openEntries } from './entries.js';
import { type ImportEnd, importRows, type Report } from './import-rows.js';
import { type Input, isPipeStream, openInput } from './input.js';
import type { Backfill } from './post.js';
import {
  checkSameImport,
  type Counts,
  noCounts,
  type Progress,
  type ProgressFile,
} from './progress.js';
import { checkRejectedFileUnused, openRejectedFile } from './rejected-file.js';
import { start } from './rows.js';

export type ImportOptions = EntriesOptions & {
  /** A path, or `-` for stdin. */
  readonly input: string;
  /** A label of TextDecoder. Null: UTF-8, or UTF-16 if the input has its byte order mark. */
  readonly encoding: string | null;
  /** Without a trailing slash. */
  readonly url: string;
  readonly key: string | null;
  readonly backfill: Backfill;
  readonly maxCount: number;
  readonly rejectedPath: string;
  readonly restart: boolean;
};

export type ImportDeps = {
  readonly clock: Clock;
  /** In [0, 1). */
  readonly random: () => number;
  readonly stdin: Readable;
  /** Not used if the input is a pipe. */
  readonly progressFile: ProgressFile;
  /** Aborts when the import should stop. A batch in flight is finished first. */
  readonly signal: AbortSignal;
  readonly report: Report;
};

export type ImportResult = {
  /** The reason; null if the import reached the end of the input. */
  readonly stopped: string | null;
  /** True if an earlier run had already reached the end. */
  readonly wasFinished: boolean;
  /** Includes earlier runs. */
  readonly counts: Counts;
  /** The last settled line. */
  readonly line: number;
  /** True if the same command would resume where this run stopped. */
  readonly canResume: boolean;
  /** True if the input could not be read any further. */
  readonly isDamaged: boolean;
};

/**
 * Imports an input into a running relay (import-rows.ts describes the loop). Throws ImportError.
 */
export async function runImport(options: ImportOptions, deps: ImportDeps): Promise<ImportResult> {
  const begun = await begin(options, deps);
  const { source, entries, saved } = begun;
  try {
    if (saved?.isFinished === true) return createImportResult(saved, { wasFinished: true });
    const { stopped, isDamaged = false, progress } = await importFrom(begun, options, deps);
    const canResume = stopped !== null && source.file !== null && !isDamaged;
    return createImportResult(progress, { stopped, canResume, isDamaged });
  } finally {
    await entries.close();
  }
}

/**
 * Throws ImportError for whatever would make `runImport` fail before it posts anything. A pipe
 * cannot be checked.
 */
export async function checkImport(options: ImportOptions, deps: ImportDeps): Promise<void> {
  const { input, restart, rejectedPath: path } = options;
  if (await isPipeStream(input)) return;
  const { entries, saved } = await begin(options, deps);
  await entries.close();
  if (saved === null && !restart) await checkRejectedFileUnused(path);
}

/**
 * What an import starts with. `saved` is the recorded progress; null if the import begins at the
 * first row.
 */
type Begun = {
  readonly source: Input;
  readonly entries: Entries;
  readonly progressFile: ProgressFile;
  readonly saved: Progress | null;
  readonly first: Progress;
};

async function begin(options: ImportOptions, deps: ImportDeps): Promise<Begun> {
  const { encoding } = options;
  const source = await openInput(options.input, {
    stdin: deps.stdin,
    signal: deps.signal,
    encoding,
  });
  const progressFile = source.file === null ? noProgressFile : deps.progressFile;
  const saved = options.restart ? null : await progressFile.load();
  const lane = options.lane ?? saved?.lane ?? null;
  const entries = await openEntries(source, { ...options, lane }, deps.clock);
  const first = createProgress(options, source, entries);
  try {
    if (saved !== null) checkSameImport(saved, first);
  } catch (error) {
    await entries.close();
    throw error;
  }
  return { source, entries, progressFile, saved, first };
}

async function importFrom(
  { source, entries, progressFile, saved, first }: Begun,
  options: ImportOptions,
  { clock, random, signal, report }: ImportDeps,
): Promise<ImportEnd> {
  const { url, key, backfill, maxCount, rejectedPath: path, restart } = options;
  const savedBytes = saved === null ? null : saved.refused.bytes;
  const rejectedFile = await openRejectedFile({ path, savedBytes, overwrite: restart });
  try {
    // Saved before the file of rejected entries is written, which shows that the file belongs to
    // this import.
    await progressFile.save(saved ?? first);
    const rowsDeps = {
      clock,
      random,
      signal,
      report,
      url,
      key,
      backfill,
      maxCount,
      input: source,
      entries,
      rejectedFile,
      save: progressFile.save,
    };
    return await importRows(rowsDeps, saved ?? first);
  } finally {
    await rejectedFile.close();
  }
}

const noProgressFile: ProgressFile = {
  load: () => Promise.resolve(null),
  save: () => Promise.resolve(),
};

function createProgress(
  { url, format, backfill, rejectedPath, mapping }: ImportOptions,
  { file }: Input,
  { lane, delimiter }: Entries,
): Progress {
  return {
    version: 1,
    url,
    lane,
    format,
    delimiter,
    backfill,
    flags: [...mapping.flags],
    input: file ?? { size: 0, modifiedMs: 0, head: '' },
    offset: start.offset,
    line: start.line,
    entries: 0,
    counts: noCounts,
    refused: { path: rejectedPath, bytes: 0 },
    isFinished: false,
  };
}

function createImportResult({ counts, line }: Progress, end: Partial<ImportResult>): ImportResult {
  return {
    stopped: null,
    wasFinished: false,
    canResume: false,
    isDamaged: false,
    ...end,
    counts,
    line,
  };
}
