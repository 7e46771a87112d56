/**
 * The loop of an import: it groups rows into batches, posts them, splits a batch that the relay
 * rejects as a whole, and records progress. A batch is settled in a fixed order: the response of
 * the relay, then the file of rejected entries, then the progress file. After a crash at any point
 * the rows after the recorded progress are posted again, and the relay deduplicates them.
 */

import type { Clock } from '../clock.js';
import type { Issue } from '../model/outcome.js';
import type { Entries } from './entries.js';
import { DamagedInput } from './import-error.js';
import type { Input } from './input.js';
import { type Place, type Row, start } from './rows.js';
import { type Backfill, createPost, type Post } from './post.js';
import type { Prepared } from './prepare.js';
import type { Counts, Progress, ProgressFile } from './progress.js';
import type { RejectedEntry, RejectedFile } from './rejected-file.js';
import type { RelayResult } from './relay-response.js';
import type { ImportLane } from './fields.js';

/** Callbacks for progress, called as it happens. */
export type Report = {
  /**
   * Called before the first batch, with the position at which the import resumes. `size`: bytes of
   * the file; null if unknown.
   */
  begun(at: {
    readonly lane: ImportLane;
    readonly position: number;
    readonly counts: Counts;
    readonly size: number | null;
  }): void;
  /** Called when everything before `position`, in bytes of the file, is settled. */
  moved(at: { readonly position: number; readonly counts: Counts }): void;
  waiting(detail: string, waitMs: number): void;
};

export type RowsDeps = {
  readonly clock: Clock;
  readonly random: () => number;
  readonly signal: AbortSignal;
  readonly url: string;
  readonly backfill: Backfill;
  readonly key: string | null;
  readonly maxCount: number;
  readonly input: Input;
  readonly entries: Entries;
  readonly rejectedFile: RejectedFile;
  readonly save: ProgressFile['save'];
  readonly report: Report;
};

export type ImportEnd = {
  /** The reason; null if the import reached the end of the input. */
  readonly stopped: string | null;
  /** True if the input cannot be read beyond this position. */
  readonly isDamaged?: boolean;
  readonly progress: Progress;
};

/** Below the relay's default BODY_LIMIT_BYTES of 5,000,000. A 413 lowers the bound. */
export const maxBatchBytes = 4_500_000;
export const stoppedBySignal = 'interrupted';

export async function importRows(deps: RowsDeps, from: Progress): Promise<ImportEnd> {
  const { input, entries, signal, report, save, maxCount } = deps;
  const { lane } = entries;
  const size = input.file?.size ?? null;
  const post = createPost({
    url: deps.url,
    lane,
    backfill: deps.backfill,
    key: deps.key,
    clock: deps.clock,
    random: deps.random,
    signal,
    onWait: (detail, waitMs) => report.waiting(detail, waitMs),
  });
  let maxBytes = maxBatchBytes;
  let progress = from;
  let begin = (): void => {
    report.begun({ ...from, position: input.position(from.offset), lane, size });
    begin = () => undefined;
  };
  const place = from.offset === 0 ? start : from;
  try {
    const rows = prepareAll(entries.rowsAfter(place), entries, { ...place, entries: from.entries });
    for await (const batch of groupIntoBatches(rows, () => ({ maxCount, maxBytes }))) {
      // A compressed file must first be read up to the position at which the import resumes.
      begin();
      const parts = [batch];
      for (let part = parts.shift(); part !== undefined; part = parts.shift()) {
        if (signal.aborted) return { stopped: stoppedBySignal, progress };
        const sent = await postPart(post, part);
        if (sent.kind === 'stop') return { stopped: sent.detail, progress };
        if (sent.kind === 'split') {
          if (sent.isTooLarge) maxBytes = Math.min(maxBytes, Math.ceil(countLineBytes(part) / 2));
          parts.unshift(...splitInHalves(part));
          continue;
        }
        progress = await settle(deps, { part, sent, progress });
        report.moved({ ...progress, position: input.position(progress.offset) });
      }
    }
  } catch (error) {
    if (signal.aborted && isAbort(error)) return { stopped: stoppedBySignal, progress };
    if (error instanceof DamagedInput) return { stopped: error.message, isDamaged: true, progress };
    throw error;
  }
  progress = { ...progress, isFinished: true };
  await save(progress);
  report.moved({ ...progress, position: size ?? progress.offset });
  return { stopped: null, progress };
}

/** A position between entries: after `line` and `offset`, and after so many entries of the next row. */
export type EntryPlace = Place & { readonly entries: number };

/** An entry and the place after it. */
export type Placed = Prepared & { readonly after: EntryPlace };

/** `from`: where `rows` begin, and how many entries of the first row are left out. */
export async function* prepareAll(
  rows: AsyncIterable<Row>,
  { prepare }: Entries,
  from: EntryPlace,
): AsyncGenerator<Placed, void> {
  let before: EntryPlace = from;
  for await (const row of rows) {
    const next: EntryPlace = { line: row.lastLine, offset: row.end, entries: 0 };
    const prepared = prepare(row);
    for (let at = before.entries; at < prepared.length; at++) {
      const one = prepared[at];
      const isLast = at === prepared.length - 1;
      if (one !== undefined)
        yield { ...one, after: isLast ? next : { ...before, entries: at + 1 } };
    }
    before = next;
  }
}

type Settled = {
  readonly kind: 'settled';
  readonly accepted: number;
  readonly duplicates: number;
  readonly warned: number;
  readonly rejected: readonly RejectedEntry[];
};

type Sent =
  | Settled
  | { readonly kind: 'split'; readonly isTooLarge: boolean }
  | { readonly kind: 'stop'; readonly detail: string };

/** Posts the rows that can be posted and returns the outcome of each row. */
async function postPart(post: Post, part: readonly Placed[]): Promise<Sent> {
  const posted = part.flatMap(({ body }) => body ?? []);
  const response = posted.length === 0 ? nothing : await post(posted.join('\n'));
  switch (response.kind) {
    case 'stop':
      return response;
    case 'too-large':
      return posted.length > 1 ? createSplit(true) : rejectAll(part, response.detail);
    case 'invalid':
      if (response.rejected.size === posted.length)
        return createSettled(part, { ...none, ...response });
      return posted.length > 1 ? createSplit(false) : rejectAll(part, response.detail);
    case 'accepted':
      if (response.accepted + response.duplicates + response.rejected.size === posted.length) {
        return createSettled(part, response);
      }
      return {
        kind: 'stop',
        detail: 'the response of the relay does not account for each entry of the batch',
      };
  }
}

const none = { accepted: 0, duplicates: 0, warned: 0 };
const nothing: Extract<RelayResult, { kind: 'accepted' }> = {
  kind: 'accepted',
  ...none,
  rejected: new Map(),
};

const createSplit = (isTooLarge: boolean): Sent => ({ kind: 'split', isTooLarge });

function rejectAll(part: readonly Placed[], detail: string): Settled {
  return createSettled(part, { ...none, rejected: new Map([[0, [{ pointer: '', detail }]]]) });
}

function createSettled(
  part: readonly Placed[],
  {
    accepted,
    duplicates,
    warned,
    rejected,
  }: Omit<Settled, 'kind' | 'rejected'> & {
    /** By index among the posted rows. */
    readonly rejected: ReadonlyMap<number, readonly Issue[]>;
  },
): Settled {
  let index = 0;
  const rejectedEntries = part.flatMap((row): RejectedEntry[] => {
    if (row.isSkipped) return [];
    const errors = row.body === null ? row.errors : rejected.get(index++);
    return errors === undefined ? [] : [{ row, errors }];
  });
  return { kind: 'settled', accepted, duplicates, warned, rejected: rejectedEntries };
}

function countLineBytes(part: readonly Placed[]): number {
  return part.reduce((sum, { bytes }) => sum + bytes + 1, 0);
}

function splitInHalves(part: readonly Placed[]): readonly (readonly Placed[])[] {
  const middle = Math.ceil(part.length / 2);
  return [part.slice(0, middle), part.slice(middle)];
}

type Settling = {
  readonly part: readonly Placed[];
  readonly sent: Settled;
  readonly progress: Progress;
};

/** The order matters: progress must never be recorded before the rejected entries are on disk. */
async function settle(deps: RowsDeps, { part, sent, progress }: Settling): Promise<Progress> {
  await deps.rejectedFile.add(sent.rejected);
  const { counts, refused } = progress;
  const next: Progress = {
    ...progress,
    ...part.at(-1)?.after,
    counts: {
      read: counts.read + part.length,
      accepted: counts.accepted + sent.accepted,
      duplicates: counts.duplicates + sent.duplicates,
      refused: counts.refused + sent.rejected.length,
      skipped: counts.skipped + part.filter(({ isSkipped }) => isSkipped).length,
      warned: counts.warned + sent.warned,
    },
    refused: { ...refused, bytes: deps.rejectedFile.bytes() },
  };
  await deps.save(next);
  return next;
}

export function isAbort(error: unknown): boolean {
  return error instanceof Error && error.name === 'AbortError';
}

export type Bounds = { readonly maxCount: number; readonly maxBytes: number };

/**
 * Groups entries in the order of the input. An entry above the bounds is alone in its batch. `bounds`
 * is called for each entry, because they may change.
 */
export async function* groupIntoBatches<T extends Pick<Prepared, 'bytes'>>(
  entries: AsyncIterable<T>,
  bounds: () => Bounds,
): AsyncGenerator<readonly T[], void> {
  let batch: T[] = [];
  let bytes = 0;
  for await (const entry of entries) {
    const { maxCount, maxBytes } = bounds();
    const size = entry.bytes + 1;
    if (batch.length > 0 && (batch.length >= maxCount || bytes + size > maxBytes)) {
      yield batch;
      batch = [];
      bytes = 0;
    }
    batch.push(entry);
    bytes += size;
  }
  if (batch.length > 0) yield batch;
}
