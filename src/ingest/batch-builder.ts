import type { Draft } from '../model/envelope.js';
import type { Issue } from '../model/outcome.js';
import type { Lane } from '../model/lane.js';
import type { DraftContext, Drafted } from './draft.js';
import { draftEvent } from './draft-event.js';
import { draftProfile } from './draft-profile.js';
import type { Entry } from './entries.js';

const draftByLane = { events: draftEvent, profiles: draftProfile } as const;

/** Validates, maps and serialises one entry of a lane. */
export function draftEntry(lane: Lane, entry: Entry, context: DraftContext): Drafted {
  if (entry.errors.length > 0) return { ok: false, errors: entry.errors };
  return draftByLane[lane](entry.value, context);
}

/**
 * What became of many entries; each index counts from 0 within the request. The lists are bounded, so
 * that no answer is much larger than its question: the counts are of all of them.
 */
export type BuiltBatch = {
  readonly drafts: Draft[];
  readonly rejected: { readonly index: number; readonly errors: readonly Issue[] }[];
  readonly warnings: { readonly index: number; readonly warnings: readonly Issue[] }[];
  rejectedCount: number;
  warningCount: number;
};

/** Faults listed in full for a request; after these, the first of each entry. */
const faultsInFull = 10_000;
/** Entries listed as rejected, and with warnings, at most. */
export const maxListed = 5000;
/** Characters of pointers and details in each of the lists, at most, but for the last entry. */
const maxListedChars = 2_000_000;

/** Drafts a request's entries one after the other, and keeps what became of them. */
export class BatchBuilder {
  readonly collected: BuiltBatch = {
    drafts: [],
    rejected: [],
    warnings: [],
    rejectedCount: 0,
    warningCount: 0,
  };
  readonly #lane: Lane;
  readonly #context: DraftContext;
  #faultCount = 0;
  #rejectedChars = 0;
  #warningChars = 0;

  constructor(lane: Lane, context: DraftContext) {
    this.#lane = lane;
    this.#context = context;
  }

  /** Entries so far. */
  get count(): number {
    return this.collected.drafts.length + this.collected.rejectedCount;
  }

  add(entry: Entry): void {
    const { drafts, rejected, warnings } = this.collected;
    const index = this.count;
    const drafted = draftEntry(this.#lane, entry, this.#context);
    if (!drafted.ok) {
      this.collected.rejectedCount++;
      if (rejected.length === maxListed || this.#rejectedChars > maxListedChars) return;
      const isBrief = this.#faultCount > faultsInFull;
      const errors = isBrief ? drafted.errors.slice(0, 1) : drafted.errors;
      this.#faultCount += errors.length;
      this.#rejectedChars += countChars(errors);
      rejected.push({ index, errors });
      return;
    }
    drafts.push(drafted.draft);
    if (drafted.warnings.length === 0) return;
    this.collected.warningCount++;
    if (warnings.length === maxListed || this.#warningChars > maxListedChars) return;
    this.#warningChars += countChars(drafted.warnings);
    warnings.push({ index, warnings: drafted.warnings });
  }
}

function countChars(faults: readonly Issue[]): number {
  let chars = 0;
  for (const { pointer, detail } of faults) chars += pointer.length + detail.length;
  return chars;
}
