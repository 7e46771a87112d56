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

/** Entries drafted before other callers get a turn: a few milliseconds' worth. */
export const entriesPerTurn = 250;

export async function collect(
  lane: Lane,
  entries: readonly Entry[],
  context: DraftContext,
): Promise<Collected> {
  const collected: Collected = { drafts: [], rejected: [], warnings: [] };
  let faultCount = 0;
  let index = -1;
  for (const entry of entries) {
    index++;
    if (index > 0 && index % entriesPerTurn === 0) await turn();
    const drafted = draft(lane, entry, context);
    if (!drafted.ok) {
      const isBrief = faultCount > faultsInFull;
      const errors = isBrief ? drafted.errors.slice(0, 1) : drafted.errors;
      faultCount += errors.length;
      collected.rejected.push({ index, errors });
      continue;
    }
    collected.drafts.push(drafted.draft);
    if (drafted.warnings.length > 0) collected.warnings.push({ index, warnings: drafted.warnings });
  }
  return collected;
}

/** Lets the event loop serve what waits. */
export function turn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}
