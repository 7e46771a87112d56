import type { Readable } from 'node:stream';
import type { Clock } from '../clock.js';
import type { EventRules } from '../ingest/draft.js';
import { createDraftMany } from '../ingest/draft-many.js';
import { createToE164 } from '../ingest/phone.js';
import type { Issue } from '../model/outcome.js';
import type { Columns } from './columns.js';
import { type EntriesOptions, openEntries } from './entries.js';
import { DamagedInput } from './import-error.js';
import {
  groupIntoBatches,
  isAbort,
  maxBatchBytes,
  prepareAll,
  type Report,
  stoppedBySignal,
} from './import-rows.js';
import { openInput } from './input.js';
import type { Prepared } from './prepare.js';
import { type Counts, noCounts } from './progress.js';
import { start } from './rows.js';
import type { ImportLane } from './fields.js';

export type DryRunOptions = EntriesOptions & {
  /** A path, or `-` for stdin. */
  readonly input: string;
  /** As for an import. */
  readonly encoding: string | null;
};

export type DryRunDeps = {
  readonly clock: Clock;
  readonly stdin: Readable;
  readonly signal: AbortSignal;
  readonly report: Report;
  /**
   * Assumptions about the relay: its country for phone numbers without a prefix, and Klaviyo's
   * rules.
   */
  readonly defaultCountry: string | undefined;
  readonly rules: EventRules;
};

/** Entries with the same issue. */
export type FindingCount = {
  readonly reason: string;
  count: number;
  /** The first of their lines. */
  readonly lines: number[];
};

export type DryRunResult = {
  readonly lane: ImportLane;
  readonly columns: Columns | null;
  /** The counts that a relay without any of these entries would respond with. */
  readonly counts: Counts;
  readonly rejected: readonly FindingCount[];
  readonly warned: readonly FindingCount[];
  /** The first acceptable entries, as they would be posted. */
  readonly examples: readonly { readonly line: number; readonly body: string }[];
  /** Why it did not read to the end; null if it did. */
  readonly stopped: string | null;
};

const rowsABatch = 500;

/**
 * Reads, maps and validates a whole input as an import and the relay would. Sends and writes
 * nothing. Throws ImportError.
 */
export async function dryRun(options: DryRunOptions, deps: DryRunDeps): Promise<DryRunResult> {
  const { report, signal } = deps;
  const input = await openInput(options.input, {
    stdin: deps.stdin,
    signal,
    encoding: options.encoding,
  });
  const entries = await openEntries(input, options, deps.clock);
  const { lane, columns } = entries;
  const validate = createBatchValidator(lane, deps);
  const tally = new Tally();
  const toResult = (stopped: string | null) => ({ lane, columns, stopped, ...tally.result() });
  report.begun({ lane, position: 0, counts: noCounts, size: input.file?.size ?? null });
  try {
    const rows = prepareAll(entries.rowsAfter(start), entries, { ...start, entries: 0 });
    for await (const batch of groupIntoBatches(rows, () => batchBounds)) {
      if (signal.aborted) return toResult(stoppedBySignal);
      for (const validated of await validate(batch)) tally.add(validated);
      const position = input.position(batch.at(-1)?.after.offset ?? 0);
      report.moved({ position, counts: tally.result().counts });
    }
    return toResult(null);
  } catch (error) {
    if (signal.aborted && isAbort(error)) return toResult(stoppedBySignal);
    if (error instanceof DamagedInput) return toResult(error.message);
    throw error;
  } finally {
    await entries.close();
  }
}

const batchBounds = { maxCount: rowsABatch, maxBytes: maxBatchBytes };

type Validated = {
  readonly row: Prepared;
  readonly errors: readonly Issue[];
  readonly warnings: readonly Issue[];
  readonly isDuplicate: boolean;
};

type Validate = (batch: readonly Prepared[]) => Promise<readonly Validated[]>;

/** The relay's own validation. */
function createBatchValidator(
  lane: ImportLane,
  { clock, defaultCountry, rules }: DryRunDeps,
): Validate {
  const draftMany = createDraftMany({
    clock,
    // An import gives each event an id before it is validated.
    newId: () => '',
    toE164: createToE164(defaultCountry),
  });
  const isDuplicate = createRepeatCheck();
  return async (batch) => {
    const posted = batch.flatMap(({ body }) => body ?? []);
    const drafted =
      posted.length === 0
        ? null
        : await draftMany({
            lane,
            body: Buffer.from(posted.join('\n')),
            format: 'ndjson',
            acceptedAt: clock.now(),
            rules,
            backfillBefore: -Infinity,
          });
    if (drafted?.ok === false) throw new Error('a batch of rows is no list of entries');
    const { drafts = [], rejected = [], warnings = [] } = drafted?.built ?? {};
    const errorsOf = new Map(rejected.map((each) => [each.index, each.errors]));
    const warningsOf = new Map(warnings.map((each) => [each.index, each.warnings]));
    const left = drafts.values();
    let index = -1;
    return batch.map((row) => {
      if (row.body === null) {
        return { row, errors: row.errors, warnings: [], isDuplicate: false };
      }
      index++;
      const errors = errorsOf.get(index) ?? [];
      const draft = errors.length > 0 ? undefined : left.next().value;
      const isRepeat = lane === 'events' && draft !== undefined && isDuplicate(draft.keys);
      return { row, errors, warnings: warningsOf.get(index) ?? [], isDuplicate: isRepeat };
    });
  };
}

/** The relay's default DEDUPE_MAX_COUNT. */
const maxSeen = 500_000;

/** Returns true if an earlier event had one of these keys. */
function createRepeatCheck(): (keys: readonly string[]) => boolean {
  const seen = new Set<string>();
  return (keys) => {
    const isRepeat = keys.some((key) => seen.has(key));
    for (const key of keys) seen.add(key);
    for (const oldest of seen) {
      if (seen.size <= maxSeen) break;
      seen.delete(oldest);
    }
    return isRepeat;
  };
}

const maxExamples = 3;

class Tally {
  #counts = noCounts;
  readonly #rejected = new Findings();
  readonly #warned = new Findings();
  readonly #examples: { readonly line: number; readonly body: string }[] = [];

  add({ row, errors, warnings, isDuplicate }: Validated): void {
    const { read, accepted, duplicates, refused, skipped, warned } = this.#counts;
    const [isRejected, isWarned] = [errors.length > 0, warnings.length > 0];
    const isAccepted = !isRejected && !isDuplicate && !row.isSkipped;
    this.#rejected.add(errors, row.line);
    this.#warned.add(warnings, row.line);
    if (isAccepted && this.#examples.length < maxExamples) {
      this.#examples.push({ line: row.line, body: row.body ?? '' });
    }
    this.#counts = {
      read: read + 1,
      accepted: accepted + Number(isAccepted),
      duplicates: duplicates + Number(isDuplicate),
      refused: refused + Number(isRejected),
      skipped: skipped + Number(row.isSkipped),
      warned: warned + Number(isWarned),
    };
  }

  result(): Pick<DryRunResult, 'counts' | 'rejected' | 'warned' | 'examples'> {
    return {
      counts: this.#counts,
      rejected: this.#rejected.list(),
      warned: this.#warned.list(),
      examples: this.#examples,
    };
  }
}

const maxReasons = 100;
const maxLines = 5;

class Findings {
  readonly #byReason = new Map<string, FindingCount>();

  /**
   * An entry counts under its first issue, so that the sum of all counts is the number of entries.
   */
  add([first]: readonly Issue[], line: number): void {
    if (first === undefined) return;
    const { pointer, detail } = first;
    const text = pointer === '' ? detail : `${pointer} ${detail}`;
    const isNew = !this.#byReason.has(text);
    const reason = isNew && this.#byReason.size >= maxReasons ? 'other reasons' : text;
    const finding = this.#byReason.get(reason) ?? { reason, count: 0, lines: [] };
    finding.count++;
    if (finding.lines.length < maxLines) finding.lines.push(line);
    this.#byReason.set(reason, finding);
  }

  /** Most frequent first. */
  list(): readonly FindingCount[] {
    return [...this.#byReason.values()].sort((a, b) => b.count - a.count);
  }
}
