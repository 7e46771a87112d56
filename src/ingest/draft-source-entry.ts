import type { Draft, Fault } from '../envelope.js';
import { isJsonObject, stringifyJson, type JsonObject } from '../json.js';
import { draft } from './collect.js';
import { toBytes, type DraftContext, type Drafted } from './draft.js';
import { toWords } from './faults.js';
import type { Source, SourcedEntry } from './source-entry.js';

/** A draft to send, or, where there are errors, one for the dead letters. */
export type DraftedSourced = {
  readonly index: number;
  readonly draft: Draft;
  readonly errors: readonly Fault[];
  readonly warnings: readonly Fault[];
};

/** Reason codes of entries that become dead letters at the door. */
export const unknownPerson = 'unknown_person';
export const notValid = 'not_valid';

const unknownDetail =
  'nothing has told yet whom it is about; redrive it once the order, payment or customer it names is known';

/** What such a dead letter holds instead of Klaviyo's JSON: all that is needed to try it again. */
export type Unsent = {
  readonly source: Source;
  readonly personKeys: readonly string[];
  readonly entry: JsonObject;
};

/** Validates, maps and serialises one entry of a source. */
export function draftSourced(
  source: Source,
  sourced: SourcedEntry,
  context: DraftContext,
): DraftedSourced {
  const { index } = sourced;
  const { drafted, entry } = draftForgivingly(sourced, context);
  if (drafted.ok) return { index, draft: drafted.draft, errors: [], warnings: drafted.warnings };
  const { errors } = drafted;
  const isUnknown = isWithoutPerson(sourced, context);
  const reason = isUnknown
    ? { code: unknownPerson, detail: unknownDetail, faults: errors }
    : { code: notValid, detail: toWords(errors), faults: errors };
  const unsent: Unsent = { source, personKeys: sourced.personKeys ?? [], entry };
  const buried: Draft = {
    lane: sourced.lane,
    keys: [],
    acceptedAt: context.acceptedAt,
    payload: toBytes(stringifyJson(unsent)),
    bury: reason,
  };
  return { index, draft: buried, errors, warnings: [] };
}

/** Shops keep addresses that are none. Where something else names the person, it becomes a property. */
function draftForgivingly(
  { lane, entry: given }: SourcedEntry,
  context: DraftContext,
): { readonly drafted: Drafted; readonly entry: JsonObject } {
  const entry = lane === 'events' ? stamp(given, context) : given;
  const drafted = draft(lane, { value: entry, errors: [] }, context);
  if (drafted.ok || drafted.errors.some(({ pointer }) => pointer !== '/email')) {
    return { drafted, entry };
  }
  const { email, properties, ...rest } = entry;
  const kept = { ...(isJsonObject(properties) && properties), email_invalid: email };
  const again = draft(lane, { value: { ...rest, properties: kept }, errors: [] }, context);
  return { drafted: again.ok ? again : drafted, entry };
}

/** A dead letter that is sent a week later still tells when it happened, and which one it is. */
function stamp(entry: JsonObject, { acceptedAt, newId }: DraftContext): JsonObject {
  return {
    ...entry,
    event_time: entry.event_time ?? new Date(acceptedAt).toISOString(),
    insert_id: entry.insert_id ?? newId(),
  };
}

/** All that is wrong is that nobody is named, and there are names to ask for. */
function isWithoutPerson(
  { lane, entry, personKeys = [] }: SourcedEntry,
  context: DraftContext,
): boolean {
  if (personKeys.length === 0) return false;
  const named = { ...entry, distinct_id: entry.distinct_id ?? 'somebody' };
  return draft(lane, { value: named, errors: [] }, context).ok;
}
