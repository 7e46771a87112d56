import type { Fault, Lane } from '../envelope.js';
import { isJsonObject, parseJson, type JsonFault } from '../json.js';
import { toFaults } from './faults.js';
import { limits } from './limits.js';

/** One of many, as it came. `errors`: what is wrong with its JSON; then `value` is not to be used. */
export type Entry = { readonly value: unknown; readonly errors: readonly Fault[] };

export type Listed =
  | { readonly ok: true; readonly entries: readonly Entry[] }
  | { readonly ok: false; readonly errors: readonly Fault[] };

const none: readonly Fault[] = [];

/** The entry a request for one consists of. */
export function readOne(body: string): Entry {
  const parsed = parseJson(body);
  return parsed.ok
    ? { value: parsed.value, errors: parsed.faults.length === 0 ? none : toFaults(parsed.faults) }
    : { value: undefined, errors: toFaults([parsed.fault]) };
}

/** `{"events":[…]}`, `{"profiles":[…]}` or a bare array. What is wrong inside one entry stays with it. */
export function listJson(lane: Lane, body: string): Listed {
  const parsed = parseJson(body);
  if (!parsed.ok) return { ok: false, errors: toFaults([parsed.fault]) };
  const { value, faults } = parsed;
  const wrapper = isJsonObject(value) ? value : null;
  const list = wrapper === null ? value : wrapper[lane];
  if (!Array.isArray(list)) return refuse(`must be {"${lane}":[…]} or an array`);
  // Where the index of an entry stands in the path of a fault.
  const indexAt = wrapper === null ? 0 : 1;
  const { byEntry, elsewhere } = groupByEntry(faults, indexAt);
  for (const name of Object.keys(wrapper ?? {})) {
    if (name !== lane) elsewhere.push({ path: [name], detail: `is not known beside ${lane}` });
  }
  if (elsewhere.length > 0) return { ok: false, errors: toFaults(elsewhere) };
  if (list.length === 0) return nothing;
  if (list.length > limits.entriesPerRequest) return tooMany;
  const entries = list.map((entry: unknown, index): Entry => {
    const errors = byEntry.get(index);
    return { value: entry, errors: errors === undefined ? none : toFaults(errors, indexAt + 1) };
  });
  return { ok: true, entries };
}

/** One entry a line; blank lines are skipped and not counted. A line that is not JSON is an entry at fault. */
export function listNdjson(body: string): Listed {
  const entries: Entry[] = [];
  for (const line of linesOf(body)) {
    if (line.trim() === '') continue;
    if (entries.length === limits.entriesPerRequest) return tooMany;
    entries.push(readOne(line));
  }
  return entries.length === 0 ? nothing : { ok: true, entries };
}

/** `indexAt`: where the index of an entry stands in the path of a fault. */
export function groupByEntry(faults: readonly JsonFault[], indexAt: number) {
  const byEntry = new Map<number, JsonFault[]>();
  const elsewhere: JsonFault[] = [];
  for (const fault of faults) {
    const index = fault.path[indexAt];
    const group = typeof index === 'number' ? byEntry.get(index) : elsewhere;
    if (group !== undefined) group.push(fault);
    else if (typeof index === 'number') byEntry.set(index, [fault]);
  }
  return { byEntry, elsewhere };
}

function* linesOf(body: string): Generator<string> {
  let start = 0;
  for (let end = body.indexOf('\n'); end !== -1; end = body.indexOf('\n', start)) {
    yield body.slice(start, end);
    start = end + 1;
  }
  yield body.slice(start);
}

const nothing = refuse('holds nothing to accept');
const tooMany = refuse(`holds more than ${limits.entriesPerRequest} entries`);

function refuse(detail: string): Listed {
  return { ok: false, errors: [{ pointer: '', detail }] };
}
