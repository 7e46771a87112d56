import type { Issue } from '../model/outcome.js';
import type { Lane } from '../model/lane.js';
import { isJsonObject, parseJson, type JsonIssue, type Parsed } from '../json/json.js';
import { cutList, toListOpening } from '../json/cut.js';
import { parseInSteps, skipBlanks, smallChars } from '../json/large.js';
import { decodeUtf8 } from '../json/utf8.js';
import { entryBounds, toListBounds } from './entry-bounds.js';
import { invalidBody, toIssues, type Invalid } from './validation-issues.js';

/** One of many, as it came. `errors`: what is wrong with its JSON; then `value` is not to be used. */
export type Entry = { readonly value: unknown; readonly errors: readonly Issue[] };

/** Some neighbours of a request for many. Not ok: nothing of the request can be taken. */
export type Part = { readonly ok: true; readonly entries: readonly Entry[] } | Invalid;

const none: readonly Issue[] = [];

/** The entry a request for one consists of. */
export function readOne(body: string): Entry {
  return toEntry(parseJson(body));
}

/** The same for a text of any length, in steps. */
export function* readLongOne(lane: Lane, body: string): Generator<undefined, Entry> {
  return toEntry(yield* parseInSteps(body, entryBounds[lane]));
}

function toEntry(parsed: Parsed): Entry {
  return parsed.ok
    ? { value: parsed.value, errors: parsed.issues.length === 0 ? none : toIssues(parsed.issues) }
    : { value: undefined, errors: toIssues([parsed.issue]) };
}

/**
 * A request is read a part at a time: what is read of it lives on until it is drafted, and what lives
 * long is what a garbage collector works on (docs/performance.md). A part that is longer is one long
 * entry, and read in steps. Undefined: a step was done, and nothing is read yet.
 */
const partBytes = smallChars;

const openings = { events: toListOpening('events'), profiles: toListOpening('profiles') } as const;

/** `{"events":[…]}`, `{"profiles":[…]}` or a bare array, in UTF-8. What is wrong inside one entry stays with it. */
export function* readJson(lane: Lane, body: Buffer): Generator<Part | undefined> {
  for (const { text, shift } of cutList(body, openings[lane], partBytes)) {
    const isLong = text.length > 2 * partBytes + openings[lane].maxBytes;
    if (isLong) yield undefined;
    yield readList(
      lane,
      isLong ? yield* parseInSteps(text, toListBounds(lane), shift) : parseJson(text, shift),
    );
  }
}

function readList(lane: Lane, parsed: Parsed): Part {
  if (!parsed.ok) return { ok: false, errors: toIssues([parsed.issue]) };
  const { value, issues: faults } = parsed;
  // The whole was too long to be read.
  if (value === null && faults.length > 0) return { ok: false, errors: toIssues(faults) };
  const wrapper = isJsonObject(value) ? value : null;
  const list = wrapper === null ? value : wrapper[lane];
  if (!Array.isArray(list)) return invalidBody('', `must be {"${lane}":[…]} or an array`);
  // Where the index of an entry stands in the path of a fault.
  const indexAt = wrapper === null ? 0 : 1;
  const { byEntry, elsewhere } = groupByEntry(faults, indexAt);
  for (const name of Object.keys(wrapper ?? {})) {
    if (name !== lane) elsewhere.push({ path: [name], detail: `is not known beside ${lane}` });
  }
  if (elsewhere.length > 0) return { ok: false, errors: toIssues(elsewhere) };
  const entries = list.map((entry: unknown, index): Entry => {
    const errors = byEntry.get(index);
    return { value: entry, errors: errors === undefined ? none : toIssues(errors, indexAt + 1) };
  });
  return { ok: true, entries };
}

/** One entry a line; blank lines are skipped and not counted. A line that is not JSON is an entry at fault. */
export function* readNdjson(lane: Lane, body: Buffer): Generator<Part | undefined> {
  for (const lines of linesOf(body)) {
    for (const line of lines) {
      if (line.length > smallChars) {
        if (skipBlanks(line, 0) < line.length) {
          yield { ok: true, entries: [yield* readLongOne(lane, line)] };
        }
      } else if (line.trim() !== '') yield { ok: true, entries: [readOne(line)] };
    }
    yield undefined;
  }
}

/** `indexAt`: where the index of an entry stands in the path of a fault. */
export function groupByEntry(faults: readonly JsonIssue[], indexAt: number) {
  const byEntry = new Map<number, JsonIssue[]>();
  const elsewhere: JsonIssue[] = [];
  for (const fault of faults) {
    const index = fault.path[indexAt];
    const group = typeof index === 'number' ? byEntry.get(index) : elsewhere;
    if (group !== undefined) group.push(fault);
    else if (typeof index === 'number') byEntry.set(index, [fault]);
  }
  return { byEntry, elsewhere };
}

/** Some neighbours at a time. */
function* linesOf(body: Buffer): Generator<readonly string[]> {
  for (let start = 0; start < body.length;) {
    const end = body.indexOf('\n', start + partBytes);
    const next = end === -1 ? body.length : end + 1;
    yield decodeUtf8(body.subarray(start, next)).split('\n');
    start = next;
  }
}
