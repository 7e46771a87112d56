import type { Clock } from '../clock.js';
import type { Draft } from '../model/envelope.js';
import type { PostedLane } from '../model/lane.js';
import type { Issue } from '../model/outcome.js';
import { Slices } from '../slices.js';
import { draftEntry, type DraftContext, type RequestTerms } from './draft.js';
import { readJson, readNdjson, type Entry } from './entries.js';
import { limits } from './limits.js';
import { invalidBody, type Invalid } from './validation.js';

/** Drafts all entries of a request for many. Runs in the main thread or in a drafting thread (threads.ts). */

export type ManyPosted = RequestTerms & {
  readonly lane: PostedLane;
  /** The whole body, decompressed, in UTF-8. */
  readonly body: Buffer;
  readonly format: 'json' | 'ndjson';
};

/** Not ok: the body is no list of entries. `count`: entries in it. */
export type DraftedMany =
  Invalid | { readonly ok: true; readonly count: number; readonly built: BuiltBatch };

export type DraftMany = (posted: ManyPosted) => Promise<DraftedMany>;

type DraftManyContext = Pick<DraftContext, 'newId' | 'toE164'> & {
  readonly clock: Pick<Clock, 'monotonic'>;
};

/**
 * Returns a function that drafts one request after the other, in the order of arrival. Two requests that
 * alternate would each take as long as both, and keep their entries in memory meanwhile.
 */
export function createDraftMany(context: DraftManyContext): DraftMany {
  let last: Promise<unknown> = Promise.resolve();
  return (posted) => {
    const drafted = last.then(() => draftMany(posted, context));
    last = drafted.catch(() => undefined);
    return drafted;
  };
}

async function draftMany(
  { lane, body, format, ...terms }: ManyPosted,
  context: DraftManyContext,
): Promise<DraftedMany> {
  const slices = new Slices(context.clock);
  const builder = new BatchBuilder(lane, { ...context, ...terms, nullClears: true });
  for (const part of format === 'json' ? readJson(lane, body) : readNdjson(lane, body)) {
    if (part === undefined) {
      if (slices.isUsedUp()) await slices.startNext();
      continue;
    }
    if (!part.ok) return part;
    for (const entry of part.entries) {
      if (builder.count === limits.entriesPerRequest) {
        return invalidBody('', `holds more than ${limits.entriesPerRequest} entries`);
      }
      if (builder.built.rejectedCount > limits.invalidPerRequest) {
        const detail = `holds more than ${limits.invalidPerRequest} entries that are not valid`;
        return invalidBody('', detail);
      }
      if (slices.isUsedUp()) await slices.startNext();
      builder.add(entry);
    }
  }
  const { count, built } = builder;
  return count === 0 ? invalidBody('', 'holds nothing to accept') : { ok: true, count, built };
}

/**
 * The drafts of a request, and the entries that were rejected or have warnings, each with its index
 * within the request, from 0. The lists are bounded, so that no response is much larger than its
 * request; the counts include unlisted entries.
 */
export type BuiltBatch = {
  /** In the order of the entries. A draft of a lane beside an entry follows that of the entry. */
  readonly drafts: Draft[];
  readonly rejected: { readonly index: number; readonly errors: readonly Issue[] }[];
  readonly warnings: { readonly index: number; readonly warnings: readonly Issue[] }[];
  rejectedCount: number;
  warningCount: number;
};

/** Issues of a request that are listed in full; beyond them, only the first issue of each entry is listed. */
const maxIssuesInFull = 10_000;
/** Maximum length of `rejected` and of `warnings`. */
export const maxListed = 5000;
/** Characters of pointers and details after which a list gets no further entry. */
const maxListedChars = 2_000_000;

/** Drafts the entries of a request one after the other. */
export class BatchBuilder {
  readonly built: BuiltBatch = {
    drafts: [],
    rejected: [],
    warnings: [],
    rejectedCount: 0,
    warningCount: 0,
  };
  readonly #lane: PostedLane;
  readonly #context: DraftContext;
  #count = 0;
  #issueCount = 0;
  #rejectedChars = 0;
  #warningChars = 0;

  constructor(lane: PostedLane, context: DraftContext) {
    this.#lane = lane;
    this.#context = context;
  }

  /** Entries so far. */
  get count(): number {
    return this.#count;
  }

  add(entry: Entry): void {
    const { drafts, rejected, warnings } = this.built;
    const index = this.#count++;
    const drafted = draftEntry(this.#lane, entry, this.#context);
    if (!drafted.ok) {
      this.built.rejectedCount++;
      if (rejected.length === maxListed || this.#rejectedChars > maxListedChars) return;
      const isBrief = this.#issueCount > maxIssuesInFull;
      const errors = isBrief ? drafted.errors.slice(0, 1) : drafted.errors;
      this.#issueCount += errors.length;
      this.#rejectedChars += countChars(errors);
      rejected.push({ index, errors });
      return;
    }
    drafts.push(drafted.draft, ...(drafted.beside ?? []));
    if (drafted.warnings.length === 0) return;
    this.built.warningCount++;
    if (warnings.length === maxListed || this.#warningChars > maxListedChars) return;
    this.#warningChars += countChars(drafted.warnings);
    warnings.push({ index, warnings: drafted.warnings });
  }
}

function countChars(issues: readonly Issue[]): number {
  let chars = 0;
  for (const { pointer, detail } of issues) chars += pointer.length + detail.length;
  return chars;
}
