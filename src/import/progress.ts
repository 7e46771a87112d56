/**
 * The progress file beside an input, which lets an import resume where it stopped. It also holds
 * everything that must not change in between.
 */

import { createHash } from 'node:crypto';
import { open, readFile, rename } from 'node:fs/promises';
import { z } from 'zod';
import { entryNames } from '../ingest/schema.js';
import { ImportError } from './import-error.js';
import { backfills } from './post.js';
import { formats } from './rows.js';
import { importLanes } from './fields.js';

const count = z.int().min(0);

const countsSchema = z.object({
  read: count,
  accepted: count,
  duplicates: count,
  refused: count,
  /** Number of people who did not consent. Absent in progress files of earlier versions. */
  skipped: count.default(0),
  /** Among accepted and duplicates: entries of which a part was left out. */
  warned: count,
});

export type Counts = z.output<typeof countsSchema>;

export const noCounts: Counts = {
  read: 0,
  accepted: 0,
  duplicates: 0,
  refused: 0,
  skipped: 0,
  warned: 0,
};

const progressSchema = z.object({
  version: z.literal(1),
  /** These members must match those of the resumed import. */
  url: z.string(),
  lane: z.enum(importLanes),
  format: z.enum(formats),
  delimiter: z.string(),
  /** Absent in progress files of earlier versions. */
  backfill: z.enum(backfills).optional(),
  /** See Mapping. Absent in progress files of earlier versions. */
  flags: z.array(z.string()).optional(),
  input: z.object({ size: count, modifiedMs: z.number(), head: z.string() }),
  /** Everything before this offset is acknowledged. */
  offset: count,
  line: count,
  /** Acknowledged entries of the row after `offset`. Absent in progress files of earlier versions. */
  entries: count.default(0),
  counts: countsSchema,
  /** Bytes of the file of rejected entries that belong to acknowledged rows. */
  refused: z.object({ path: z.string(), bytes: count }),
  isFinished: z.boolean(),
});

export type Progress = z.output<typeof progressSchema>;

/** Loads and saves the progress of an import. */
export type ProgressFile = {
  /** Returns null if there is none. Throws ImportError if it cannot be parsed. */
  readonly load: () => Promise<Progress | null>;
  /** After it resolves, `load` returns this progress. A crash never leaves half of it. */
  readonly save: (progress: Progress) => Promise<void>;
};

export function createProgressFile(path: string): ProgressFile {
  return {
    async load() {
      const text = await readFile(path, 'utf8').catch((error: unknown) => {
        if (isMissing(error)) return null;
        throw error;
      });
      return text === null ? null : parseProgress(path, text);
    },
    async save(progress) {
      const draft = `${path}.tmp`;
      const file = await open(draft, 'w');
      try {
        await file.writeFile(`${JSON.stringify(progress, null, 2)}\n`);
        await file.datasync();
      } finally {
        await file.close();
      }
      await rename(draft, path);
    },
  };
}

function parseProgress(path: string, text: string): Progress {
  try {
    return progressSchema.parse(JSON.parse(text));
  } catch {
    throw new ImportError(`${path} is not the progress file of an import: --restart starts again`);
  }
}

const headBytes = 65_536;

/** Distinguishes a changed file from the one with which an import began. */
export async function readInputIdentity(path: string): Promise<Progress['input']> {
  const file = await open(path);
  try {
    const { size, mtimeMs } = await file.stat();
    const { buffer, bytesRead } = await file.read(Buffer.alloc(headBytes), 0, headBytes, 0);
    const head = createHash('sha256').update(buffer.subarray(0, bytesRead)).digest('base64url');
    return { size, modifiedMs: mtimeMs, head };
  } finally {
    await file.close();
  }
}

/** Throws ImportError if the progress belongs to a different import. */
export function checkSameImport(progress: Progress, expected: Progress): void {
  const { url, lane, format, delimiter, backfill = expected.backfill, flags, input } = progress;
  const { size, modifiedMs, head } = expected.input;
  if (input.size !== size || input.modifiedMs !== modifiedMs || input.head !== head) {
    throw new ImportError('the input has changed since the import began: --restart starts again');
  }
  const options = [
    ['--url', url, expected.url],
    ['--type', entryNames[lane].many, entryNames[expected.lane].many],
    ['--format', format, expected.format],
    ['--delimiter', delimiter, expected.delimiter],
    ['--backfill', backfill, expected.backfill],
    ['--rejected', progress.refused.path, expected.refused.path],
  ] as const;
  const changed = options.flatMap(([option, was, is]) => (was === is ? [] : [`${option} ${was}`]));
  const began = joinFlags(flags);
  if (began !== joinFlags(expected.flags)) changed.push(began === '' ? 'no other options' : began);
  if (changed.length === 0) return;
  const words = changed.join(', ');
  throw new ImportError(
    `the import began with ${words}: use the same options, or start again with --restart`,
  );
}

const joinFlags = (flags: readonly string[] = []): string => flags.join(' ');

export function isMissing(error: unknown): boolean {
  return error instanceof Error && 'code' in error && error.code === 'ENOENT';
}
