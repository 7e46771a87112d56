import type { Draft } from '../model/envelope.js';
import type { Issue } from '../model/outcome.js';
import type { Lane } from '../model/lane.js';
import { isJsonObject, type JsonObject } from '../json/json.js';
import { draftEntry } from './batch-builder.js';
import type { DraftContext, Drafted } from './draft.js';
import { describeIssues } from './validation-issues.js';
import type { SourceEntry, SourceWarning } from './source-entry.js';
import { toUnmappable } from './unmappable-entry.js';

/** A draft to send, one that waits, or, where there are errors, one for the dead letters. */
export type DraftedSourceEntry = {
  readonly index: number;
  /** Of the entry. A draft that waits is in another. */
  readonly lane: Lane;
  readonly draft: Draft;
  readonly errors: readonly Issue[];
  readonly warnings: readonly SourceWarning[];
};

/** Reason codes of entries that become dead letters at the door. */
export const unknownPerson = 'unknown_person';
export const invalidEntry = 'not_valid';

const unknownDetail =
  'no request says whom it is about; redrive it once the order, payment or customer it names is known';
const noRoomDetail = `as many entries wait as may (WAITING_MAX_COUNT), and ${unknownDetail}`;

const toUnknownDetail = ({ reserveWait }: SourceEntryContext): string =>
  reserveWait === undefined ? unknownDetail : noRoomDetail;

export type SourceEntryContext = DraftContext & {
  /** Asked for each entry that names a person who is not known yet: true where it waits. Absent: none does. */
  readonly reserveWait?: ((bytes: number) => boolean) | undefined;
};

/** Validates, maps and serialises one entry of a source. */
export function draftSourceEntry(
  source: string,
  sourceEntry: SourceEntry,
  context: SourceEntryContext,
): DraftedSourceEntry {
  const { index, lane } = sourceEntry;
  const { drafted, entry, warnings } = draftForgivingly(sourceEntry, context);
  if (drafted.ok) {
    return {
      index,
      lane,
      draft: drafted.draft,
      errors: [],
      warnings: [...warnings, ...drafted.warnings.map(toPhoneWarning)],
    };
  }
  const { errors } = drafted;
  const { acceptedAt } = context;
  const isUnknown = isWithoutPerson(sourceEntry, context);
  const payload = toUnmappable(source, sourceEntry, entry);
  if (isUnknown && context.reserveWait?.(payload.byteLength) === true) {
    const waiting: Draft = { lane: 'waiting', keys: [], acceptedAt, payload };
    return { index, lane, draft: waiting, errors: [], warnings };
  }
  const reason = isUnknown
    ? { code: unknownPerson, detail: toUnknownDetail(context), faults: errors }
    : { code: invalidEntry, detail: describeIssues(errors), faults: errors };
  const deadLetter: Draft = { lane, keys: [], acceptedAt, payload, deadLetterReason: reason };
  return { index, lane, draft: deadLetter, errors, warnings };
}

type Forgiven = {
  readonly drafted: Drafted;
  readonly entry: JsonObject;
  readonly warnings: readonly SourceWarning[];
};

/** Shops keep addresses that are none. Where something else names the person, it becomes a property. */
function draftForgivingly(
  { lane, entry: given, warnings = [] }: SourceEntry,
  context: DraftContext,
): Forgiven {
  const entry = lane === 'events' ? stamp(given, context) : given;
  const drafted = draftEntry(lane, { value: entry, errors: [] }, context);
  if (drafted.ok || drafted.errors.some(({ pointer }) => pointer !== '/email')) {
    return { drafted, entry, warnings };
  }
  const { email, properties, ...rest } = entry;
  const kept = { ...(isJsonObject(properties) && properties), email_invalid: email };
  const again = draftEntry(lane, { value: { ...rest, properties: kept }, errors: [] }, context);
  if (!again.ok) return { drafted, entry, warnings };
  return { drafted: again, entry, warnings: [...warnings, ...drafted.errors.map(toEmailWarning)] };
}

const toPhoneWarning = (fault: Issue): SourceWarning => ({ code: 'phone_unusable', ...fault });
const toEmailWarning = ({ pointer, detail }: Issue): SourceWarning => ({
  code: 'email_unusable',
  pointer,
  detail: `${detail}; it was kept as the property email_invalid`,
});

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
  { lane, entry, personKeys = [] }: SourceEntry,
  context: DraftContext,
): boolean {
  if (personKeys.length === 0) return false;
  const named = { ...entry, distinct_id: entry.distinct_id ?? 'somebody' };
  return draftEntry(lane, { value: named, errors: [] }, context).ok;
}
