import type { Clock } from '../clock.js';
import type { Issue } from '../model/outcome.js';
import type { Lane } from '../model/lane.js';
import type { Answer } from './answer.js';
import { toBatches } from './batches.js';
import type { Entries } from './entries.js';
import { DamagedInput } from './import-error.js';
import type { Input } from './input.js';
import { start } from './lines.js';
import { createPost, type Backfill, type Post } from './post.js';
import type { Prepared } from './prepare.js';
import type { Counts, Progress, ProgressFile } from './progress.js';
import type { Refused, RefusedFile } from './refused-file.js';
import type { Row } from './row.js';

/** Called as it happens. */
export type Report = {
  /** Before the first batch, with where the import goes on. `size`: bytes of the file; null where nobody knows. */
  begun(at: {
    readonly lane: Lane;
    readonly position: number;
    readonly counts: Counts;
    readonly size: number | null;
  }): void;
  /** Everything before `position`, in bytes of the file, is answered for. */
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
  readonly refusedFile: RefusedFile;
  readonly save: ProgressFile['save'];
  readonly report: Report;
};

export type Reached = {
  /** Why; null where the end of the input is reached. */
  readonly stopped: string | null;
  /** It stopped at a place that the input cannot be read beyond. */
  readonly isDamaged?: boolean;
  readonly progress: Progress;
};

/** Below the relay's BODY_LIMIT_BYTES, which is 5,000,000 unless it says so with a 413. */
export const maxBatchBytes = 4_500_000;
export const toldToStop = 'told to stop';

export async function importRows(deps: RowsDeps, from: Progress): Promise<Reached> {
  const { input, entries, signal, report, save, maxCount } = deps;
  const { lane } = entries;
  const size = input.file?.size ?? null;
  const post = createPost({ ...deps, lane, onWait: (...why) => report.waiting(...why) });
  let maxBytes = maxBatchBytes;
  let progress = from;
  let begin = (): void => {
    report.begun({ ...from, position: input.position(from.offset), lane, size });
    begin = () => undefined;
  };
  const place = from.offset === 0 ? start : from;
  try {
    const rows = prepareAll(entries.rowsAfter(place), entries);
    for await (const batch of toBatches(rows, () => ({ maxCount, maxBytes }))) {
      // Only now the way to where a compressed file goes on is behind.
      begin();
      const parts = [batch];
      for (let part = parts.shift(); part !== undefined; part = parts.shift()) {
        if (signal.aborted) return { stopped: toldToStop, progress };
        const sent = await send(post, part);
        if (sent.kind === 'stop') return { stopped: sent.detail, progress };
        if (sent.kind === 'split') {
          if (sent.isTooLarge) maxBytes = Math.min(maxBytes, Math.ceil(toBytes(part) / 2));
          parts.unshift(...toHalves(part));
          continue;
        }
        progress = await settle(deps, { part, sent, progress });
        report.moved({ ...progress, position: input.position(progress.offset) });
      }
    }
  } catch (error) {
    if (signal.aborted && isAbort(error)) return { stopped: toldToStop, progress };
    if (error instanceof DamagedInput) return { stopped: error.message, isDamaged: true, progress };
    throw error;
  }
  progress = { ...progress, isFinished: true };
  await save(progress);
  report.moved({ ...progress, position: size ?? progress.offset });
  return { stopped: null, progress };
}

export async function* prepareAll(
  rows: AsyncIterable<Row>,
  { prepare }: Entries,
): AsyncGenerator<Prepared, void> {
  for await (const row of rows) {
    const prepared = prepare(row);
    if (prepared !== null) yield prepared;
  }
}

type Settled = {
  readonly kind: 'settled';
  readonly accepted: number;
  readonly duplicates: number;
  readonly warned: number;
  readonly refused: readonly Refused[];
};

type Sent =
  | Settled
  | { readonly kind: 'split'; readonly isTooLarge: boolean }
  | { readonly kind: 'stop'; readonly detail: string };

/** Posts what can be posted of these rows, and tells what became of each. */
async function send(post: Post, part: readonly Prepared[]): Promise<Sent> {
  const posted = part.flatMap(({ body }) => body ?? []);
  const answer = posted.length === 0 ? nothing : await post(posted.join('\n'));
  switch (answer.kind) {
    case 'stop':
      return answer;
    case 'too-large':
      return posted.length > 1 ? toSplit(true) : refuseAll(part, answer.detail);
    case 'invalid':
      if (answer.rejected.size === posted.length) return toSettled(part, { ...none, ...answer });
      return posted.length > 1 ? toSplit(false) : refuseAll(part, answer.detail);
    case 'accepted':
      if (answer.accepted + answer.duplicates + answer.rejected.size === posted.length) {
        return toSettled(part, answer);
      }
      return { kind: 'stop', detail: 'the relay did not answer for each entry of a batch' };
  }
}

const none = { accepted: 0, duplicates: 0, warned: 0 };
const nothing: Extract<Answer, { kind: 'accepted' }> = {
  kind: 'accepted',
  ...none,
  rejected: new Map(),
};

const toSplit = (isTooLarge: boolean): Sent => ({ kind: 'split', isTooLarge });

function refuseAll(part: readonly Prepared[], detail: string): Settled {
  return toSettled(part, { ...none, rejected: new Map([[0, [{ pointer: '', detail }]]]) });
}

function toSettled(
  part: readonly Prepared[],
  {
    accepted,
    duplicates,
    warned,
    rejected,
  }: Omit<Settled, 'kind' | 'refused'> & {
    /** By place among those that were posted. */
    readonly rejected: ReadonlyMap<number, readonly Issue[]>;
  },
): Settled {
  let index = 0;
  const refused = part.flatMap((row): Refused[] => {
    const errors = row.body === null ? row.errors : rejected.get(index++);
    return errors === undefined ? [] : [{ row, errors }];
  });
  return { kind: 'settled', accepted, duplicates, warned, refused };
}

function toBytes(part: readonly Prepared[]): number {
  return part.reduce((sum, { bytes }) => sum + bytes + 1, 0);
}

function toHalves(part: readonly Prepared[]): readonly (readonly Prepared[])[] {
  const middle = Math.ceil(part.length / 2);
  return [part.slice(0, middle), part.slice(middle)];
}

type Settling = {
  readonly part: readonly Prepared[];
  readonly sent: Settled;
  readonly progress: Progress;
};

/** In this order: what was refused must not be forgotten by a progress that is past it. */
async function settle(deps: RowsDeps, { part, sent, progress }: Settling): Promise<Progress> {
  await deps.refusedFile.add(sent.refused);
  const { counts, refused } = progress;
  const last = part.at(-1);
  const next: Progress = {
    ...progress,
    offset: last?.end ?? progress.offset,
    line: last?.lastLine ?? progress.line,
    counts: {
      read: counts.read + part.length,
      accepted: counts.accepted + sent.accepted,
      duplicates: counts.duplicates + sent.duplicates,
      refused: counts.refused + sent.refused.length,
      warned: counts.warned + sent.warned,
    },
    refused: { ...refused, bytes: deps.refusedFile.bytes() },
  };
  await deps.save(next);
  return next;
}

export function isAbort(error: unknown): boolean {
  return error instanceof Error && error.name === 'AbortError';
}
