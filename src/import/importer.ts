import type { Readable } from 'node:stream';
import type { Clock } from '../clock.js';
import { openEntries, type Entries, type EntriesOptions } from './entries.js';
import { importRows, type Reached, type Report } from './import-rows.js';
import { isPipe, openInput, type Input } from './input.js';
import { start } from './lines.js';
import { checkSame, noCounts, type Counts, type Progress, type ProgressFile } from './progress.js';
import { checkRejectedFileUnused, openRejectedFile } from './rejected-file.js';
import type { Backfill } from './post.js';

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
  readonly refusedPath: string;
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
  readonly canGoOn: boolean;
  /** True if the input could not be read any further. */
  readonly isDamaged: boolean;
};

/**
 * Imports an input into a running relay (import-rows.ts describes the loop). Throws ImportError.
 */
export async function runImport(options: ImportOptions, deps: ImportDeps): Promise<ImportResult> {
  const begun = await begin(options, deps);
  const { source, entries, noted } = begun;
  try {
    if (noted?.isFinished === true) return toResult(noted, { wasFinished: true });
    const run = { ...deps, ...options, ...begun };
    const { stopped, isDamaged = false, progress } = await importFrom(run);
    const canGoOn = stopped !== null && source.file !== null && !isDamaged;
    return toResult(progress, { stopped, canGoOn, isDamaged });
  } finally {
    await entries.close();
  }
}

/**
 * Throws ImportError for whatever would make `runImport` fail before it posts anything. A pipe
 * cannot be checked.
 */
export async function checkImport(options: ImportOptions, deps: ImportDeps): Promise<void> {
  const { input, restart, refusedPath: path } = options;
  if (await isPipe(input)) return;
  const { entries, noted } = await begin(options, deps);
  await entries.close();
  if (noted === null && !restart) await checkRejectedFileUnused(path);
}

/**
 * What an import starts with. `noted` is the recorded progress; null if the import begins at the
 * first row.
 */
type Begun = {
  readonly source: Input;
  readonly entries: Entries;
  readonly progressFile: ProgressFile;
  readonly noted: Progress | null;
  readonly first: Progress;
};

async function begin(options: ImportOptions, deps: ImportDeps): Promise<Begun> {
  const { encoding } = options;
  const source = await openInput(options.input, { ...deps, encoding });
  const progressFile = source.file === null ? noProgressFile : deps.progressFile;
  const noted = options.restart ? null : await progressFile.load();
  const lane = options.lane ?? noted?.lane ?? null;
  const entries = await openEntries(source, { ...options, lane });
  const first = toFirst(options, source, entries);
  try {
    if (noted !== null) checkSame(noted, first);
  } catch (error) {
    await entries.close();
    throw error;
  }
  return { source, entries, progressFile, noted, first };
}

async function importFrom(run: ImportOptions & ImportDeps & Begun): Promise<Reached> {
  const { progressFile, refusedPath: path, restart, noted, first } = run;
  const notedBytes = noted === null ? null : noted.refused.bytes;
  const rejectedFile = await openRejectedFile({ path, notedBytes, overwrite: restart });
  try {
    // Saved before the file of rejected entries is written, which shows that the file belongs to
    // this import.
    await progressFile.save(noted ?? first);
    const deps = { ...run, input: run.source, rejectedFile, save: progressFile.save };
    return await importRows(deps, noted ?? first);
  } finally {
    await rejectedFile.close();
  }
}

const noProgressFile: ProgressFile = {
  load: () => Promise.resolve(null),
  save: () => Promise.resolve(),
};

function toFirst(
  { url, format, backfill, refusedPath, mapping }: ImportOptions,
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
    counts: noCounts,
    refused: { path: refusedPath, bytes: 0 },
    isFinished: false,
  };
}

function toResult({ counts, line }: Progress, end: Partial<ImportResult>): ImportResult {
  return {
    stopped: null,
    wasFinished: false,
    canGoOn: false,
    isDamaged: false,
    ...end,
    counts,
    line,
  };
}
