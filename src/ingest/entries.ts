import { cutList, toListOpening } from '../json/cut.js';
import { decodeUtf8, isJsonObject, type JsonIssue, type Parsed, parseJson } from '../json/json.js';
import {
  type Container,
  type FindExcess,
  parseInSteps,
  skipBlanks,
  smallChars,
} from '../json/large.js';
import { mapPostedLanes, type PostedLane } from '../model/lane.js';
import type { Issue } from '../model/outcome.js';
import { limits } from './limits.js';
import { entryNames, notAnEntry } from './schema.js';
import { type Invalid, invalidBody, toIssues } from './validation.js';

/** Reads the entries of a request body. An entry whose JSON has issues does not affect its neighbours. */

/** One posted item before it is validated. `errors`: issues of its JSON; if there are any, `value` is not used. */
export type Entry = { readonly value: unknown; readonly errors: readonly Issue[] };

/** Consecutive entries of a request for many. Not ok: nothing of the request can be accepted. */
export type Part = { readonly ok: true; readonly entries: readonly Entry[] } | Invalid;

const noIssues: readonly Issue[] = [];

/** Reads the single entry of a short body. */
export function readOne(body: string): Entry {
  return readEntry(parseJson(body));
}

/** Reads the single entry of a body of any length, in steps. */
export function* readLongOne(lane: PostedLane, body: string): Generator<undefined, Entry> {
  return readEntry(yield* parseInSteps(body, entryBounds[lane]));
}

function readEntry(parsed: Parsed): Entry {
  return parsed.ok
    ? {
        value: parsed.value,
        errors: parsed.issues.length === 0 ? noIssues : toIssues(parsed.issues),
      }
    : { value: undefined, errors: toIssues([parsed.issue]) };
}

/**
 * A body is read in parts of about this many bytes: parsed values live until they are drafted, and
 * long-lived values are what garbage collection costs (docs/performance.md). A longer part is one long
 * entry, which is read in steps. The generators below yield `undefined` after a step without entries.
 */
const partBytes = smallChars;

const openings = mapPostedLanes((lane) => toListOpening(entryNames[lane].many));

/** Reads `{"events":[…]}` (`entryNames` has the names of the other lanes) or a bare array, in UTF-8. */
export function* readJson(lane: PostedLane, body: Buffer): Generator<Part | undefined> {
  for (const { text, shift } of cutList(body, openings[lane], partBytes)) {
    const isLong = text.length > 2 * partBytes + openings[lane].maxBytes;
    if (isLong) yield undefined;
    yield readListPart(
      lane,
      isLong ? yield* parseInSteps(text, createListBounds(lane), shift) : parseJson(text, shift),
    );
  }
}

function readListPart(lane: PostedLane, parsed: Parsed): Part {
  if (!parsed.ok) return { ok: false, errors: toIssues([parsed.issue]) };
  const { value, issues } = parsed;
  // The value is null if the whole text was too long to be read.
  if (value === null && issues.length > 0) return { ok: false, errors: toIssues(issues) };
  const wrapper = isJsonObject(value) ? value : null;
  const { many } = entryNames[lane];
  const list = wrapper === null ? value : wrapper[many];
  if (!Array.isArray(list)) return invalidBody('', `must be {"${many}":[…]} or an array`);
  const indexAt = wrapper === null ? 0 : 1;
  const { byEntry, elsewhere } = groupByEntry(issues, indexAt);
  for (const name of Object.keys(wrapper ?? {})) {
    if (name !== many) elsewhere.push({ path: [name], detail: `is not known beside ${many}` });
  }
  if (elsewhere.length > 0) return { ok: false, errors: toIssues(elsewhere) };
  const entries = list.map((entry: unknown, index): Entry => {
    const errors = byEntry.get(index);
    return {
      value: entry,
      errors: errors === undefined ? noIssues : toIssues(errors, indexAt + 1),
    };
  });
  return { ok: true, entries };
}

/** Groups issues of a list by entry. `indexAt`: the position of the entry's index in the path of an issue. */
export function groupByEntry(issues: readonly JsonIssue[], indexAt: number) {
  const byEntry = new Map<number, JsonIssue[]>();
  const elsewhere: JsonIssue[] = [];
  for (const issue of issues) {
    const index = issue.path[indexAt];
    const group = typeof index === 'number' ? byEntry.get(index) : elsewhere;
    if (group !== undefined) group.push(issue);
    else if (typeof index === 'number') byEntry.set(index, [issue]);
  }
  return { byEntry, elsewhere };
}

/** Reads one entry per line. Blank lines are skipped and not counted. A line that is not JSON is an invalid entry. */
export function* readNdjson(lane: PostedLane, body: Buffer): Generator<Part | undefined> {
  for (let start = 0; start < body.length;) {
    const end = body.indexOf('\n', start + partBytes);
    const next = end === -1 ? body.length : end + 1;
    for (const line of decodeUtf8(body.subarray(start, next)).split('\n')) {
      if (line.length > smallChars) {
        if (skipBlanks(line, 0) < line.length) {
          yield { ok: true, entries: [yield* readLongOne(lane, line)] };
        }
      } else if (line.trim() !== '') yield { ok: true, entries: [readOne(line)] };
    }
    yield undefined;
    start = next;
  }
}

/** The bounds of an entry that no valid one comes near. */
function createSmallBounds(lane: PostedLane): FindExcess {
  return ({ path, isArray, total }) => {
    if (path.length === 0 && isArray) return notAnEntry[lane];
    return total > limits.valuesPerSmallEntry
      ? `has more than ${limits.valuesPerSmallEntry} values`
      : null;
  };
}

/**
 * Bounds of a long entry while it is read: once it exceeds one, the rest is not read. The texts are
 * those of the checks that a short entry meets after it is parsed.
 */
const entryBounds: Readonly<Record<PostedLane, FindExcess>> = {
  events({ path, isArray, count, total }) {
    if (path.length === 0 && isArray) return notAnEntry.events;
    if (path.length > limits.nesting) return `is nested deeper than ${limits.nesting} levels`;
    if (isArray && count > limits.arrayLength) {
      return `has more than ${limits.arrayLength} elements`;
    }
    if (path.length === 0 && count > limits.eventFields) {
      return `has more than ${limits.eventFields} fields`;
    }
    if (path.length === 1 && path[0] === 'properties' && count > limits.eventProperties) {
      return `has more than ${limits.eventProperties} properties`;
    }
    return total > limits.valuesPerEntry ? `has more than ${limits.valuesPerEntry} values` : null;
  },
  profiles({ path, isArray, total }) {
    if (path.length === 0 && isArray) return notAnEntry.profiles;
    // Each value takes at least two bytes.
    return total > limits.profileBytes / 2 ? `is longer than ${limits.profileBytes} bytes` : null;
  },
  subscribe: createSmallBounds('subscribe'),
  unsubscribe: createSmallBounds('unsubscribe'),
  suppress: createSmallBounds('suppress'),
  unsuppress: createSmallBounds('unsuppress'),
  erase: createSmallBounds('erase'),
};

/** The same bounds for the entries of a list: the path of each value starts with the path of its entry. */
function createListBounds(lane: PostedLane): FindExcess {
  const findExcess = entryBounds[lane];
  const { many } = entryNames[lane];
  let before = { index: -1, total: 0 };
  return (container: Container) => {
    const { path, isArray, total } = container;
    const indexAt = path[0] === many ? 1 : 0;
    if (path.length > 0 && typeof path[0] === 'string' && path[0] !== many) {
      return `is not known beside ${many}`;
    }
    const index = path[indexAt];
    if (typeof index !== 'number') {
      const isWrapper = path.length === 0 && !isArray;
      return isWrapper && container.count > limits.eventFields
        ? `has more than ${limits.eventFields} fields`
        : null;
    }
    if (before.index !== index) before = { index, total };
    return findExcess({ ...container, path: path.slice(indexAt + 1), total: total - before.total });
  };
}
