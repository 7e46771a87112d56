import type { Issue } from '../model/outcome.js';
import { isJsonObject, type JsonObject, type PathSegment } from '../json/json.js';
import { toPointer } from './validation-issues.js';
import { limits } from './limits.js';

type Walk = {
  /** Changed in place on the way down and up. */
  readonly path: PathSegment[];
  readonly faults: Issue[];
};

/** What Klaviyo would refuse inside an event's `properties`. Bounded: it stops when there is enough to tell. */
export function findPropertyIssues(properties: JsonObject): readonly Issue[] {
  const walk: Walk = { path: ['properties'], faults: [] };
  checkValue(properties, walk);
  return walk.faults;
}

function checkValue(value: unknown, walk: Walk): void {
  if (typeof value === 'string') checkString(value, walk);
  else if (Array.isArray(value)) checkArray(value, walk);
  else if (isJsonObject(value)) checkObject(value, walk);
}

function checkString(text: string, walk: Walk): void {
  // A UTF-16 unit takes at most three bytes of UTF-8, so most strings need no counting.
  if (text.length * 3 <= limits.stringBytes) return;
  if (Buffer.byteLength(text) > limits.stringBytes) {
    report(walk, `is longer than ${limits.stringBytes} bytes`);
  }
}

function checkArray(values: readonly unknown[], walk: Walk): void {
  if (values.length > limits.arrayLength) {
    report(walk, `has more than ${limits.arrayLength} elements`);
  } else if (isShallow(walk)) {
    for (let index = 0; index < values.length; index++) checkMember(index, values[index], walk);
  }
}

function checkObject(object: JsonObject, walk: Walk): void {
  if (!isShallow(walk)) return;
  for (const name in object) checkMember(name, object[name], walk);
}

function checkMember(segment: PathSegment, value: unknown, walk: Walk): void {
  if (walk.faults.length > limits.issuesPerEntry) return;
  walk.path.push(segment);
  checkValue(value, walk);
  walk.path.pop();
}

/** The path starts with `properties`, so its length is the level of the object or array it leads to. */
function isShallow(walk: Walk): boolean {
  if (walk.path.length <= limits.nesting) return true;
  report(walk, `is nested deeper than ${limits.nesting} levels`);
  return false;
}

function report(walk: Walk, detail: string): void {
  walk.faults.push({ pointer: toPointer(walk.path), detail });
}
