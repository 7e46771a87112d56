import type { Draft, Fault, Lane } from '../envelope.js';
import type { DraftContext, Drafted } from './draft.js';
import { draftEvent } from './draft-event.js';
import { draftProfile } from './draft-profile.js';
import type { Entry } from './entries.js';

const draftEntry = { events: draftEvent, profiles: draftProfile } as const;

/** Validates, maps and serialises one entry of a lane. */
export function draft(lane: Lane, entry: Entry, context: DraftContext): Drafted {
  if (entry.errors.length > 0) return { ok: false, errors: entry.errors };
  return draftEntry[lane](entry.value, context);
}

/** What became of many entries; each index counts from 0 within the request. */
export type Collected = {
  readonly drafts: Draft[];
  readonly rejected: { readonly index: number; readonly errors: readonly Fault[] }[];
  readonly warnings: { readonly index: number; readonly warnings: readonly Fault[] }[];
};

/** Faults listed in full for a request; after these, the first of each entry. */
const faultsInFull = 10_000;

/** Drafts a request's entries one after the other, and keeps what became of them. */
export class Collector {
  readonly collected: Collected = { drafts: [], rejected: [], warnings: [] };
  readonly #lane: Lane;
  readonly #context: DraftContext;
  #faultCount = 0;

  constructor(lane: Lane, context: DraftContext) {
    this.#lane = lane;
    this.#context = context;
  }

  /** Entries so far. */
  get count(): number {
    return this.collected.drafts.length + this.collected.rejected.length;
  }

  add(entry: Entry): void {
    const { drafts, rejected, warnings } = this.collected;
    const index = this.count;
    const drafted = draft(this.#lane, entry, this.#context);
    if (!drafted.ok) {
      const isBrief = this.#faultCount > faultsInFull;
      const errors = isBrief ? drafted.errors.slice(0, 1) : drafted.errors;
      this.#faultCount += errors.length;
      rejected.push({ index, errors });
      return;
    }
    drafts.push(drafted.draft);
    if (drafted.warnings.length > 0) warnings.push({ index, warnings: drafted.warnings });
  }
}

/** Entries drafted before other callers get a turn: a few milliseconds' worth. */
export const entriesPerTurn = 250;

/** Lets the event loop serve what waits. */
export function turn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}
