import type { z } from 'zod';
import { isJsonObject, type JsonIssue, type JsonObject, type PathSegment } from '../json/json.js';
import type { Issue } from '../model/outcome.js';
import { createFastValidator } from './fast-validator.js';
import { limits } from './limits.js';

/**
 * Validation of posted values, and the issues it reports. An issue has a JSON Pointer and a text that
 * names the problem; it never repeats a posted value, which may be personal data. All lists of issues are
 * bounded, so that a small request cannot cause a huge response.
 */

/** The value is not valid. */
export type Invalid = { readonly ok: false; readonly errors: readonly Issue[] };

export type Checked<T> = { readonly ok: true; readonly value: T } | Invalid;

/** An invalid result with one issue. */
export function invalidBody(pointer: string, detail: string): Invalid {
  return { ok: false, errors: [{ pointer, detail }] };
}

/** Characters of one name in a pointer; a longer name is cut. */
const maxSegmentChars = 128;

/** Segments of a pointer; a deeper path is cut. Klaviyo accepts ten levels. */
const maxSegments = 16;

/** JSON Pointer (RFC 6901) of a path; '' is the whole value. */
export function toPointer(path: readonly PropertyKey[]): string {
  const pointer = path
    .slice(0, maxSegments)
    .map((segment) => `/${toPointerSegment(String(segment))}`)
    .join('');
  return path.length > maxSegments ? `${pointer}/…` : pointer;
}

function toPointerSegment(name: string): string {
  const cut = name.length > maxSegmentChars ? `${name.slice(0, maxSegmentChars)}…` : name;
  return cut
    .replace(/\p{Surrogate}/gu, '\ufffd')
    .replaceAll('~', '~0')
    .replaceAll('/', '~1');
}

/** The first issues of an entry; one more issue counts those that were left out. */
export function capIssues(issues: readonly Issue[]): readonly Issue[] {
  const extra = issues.length - limits.issuesPerEntry;
  if (extra <= 0) return issues;
  return [
    ...issues.slice(0, limits.issuesPerEntry),
    { pointer: '', detail: `has ${extra} more faults like these` },
  ];
}

/** Issues of a JSON text with pointers. The first `fromSegment` segments lead to the entry and are left out. */
export function toIssues(issues: readonly JsonIssue[], fromSegment = 0): readonly Issue[] {
  return capIssues(
    issues.map(({ path, detail }) => ({ pointer: toPointer(path.slice(fromSegment)), detail })),
  );
}

/** All issues in one line of text. */
export function describeIssues(issues: readonly Issue[]): string {
  return issues
    .map(({ pointer, detail }) => (pointer === '' ? detail : `${pointer} ${detail}`))
    .join('; ');
}

/**
 * Returns a function that checks values against a schema. `what` names the value in issues, such as
 * `an event`. The fast validator decides for nearly all values; zod runs only if it does not accept.
 */
export function createCheck<T>(schema: z.ZodType<T>, what: string): (value: unknown) => Checked<T> {
  const isValid = createFastValidator(schema);
  return (value) =>
    isValid(value) ? { ok: true, value: value as T } : checkWithZod(schema, value, what);
}

function checkWithZod<T>(schema: z.ZodType<T>, value: unknown, what: string): Checked<T> {
  const parsed = schema.safeParse(value);
  if (parsed.success) return { ok: true, value: parsed.data };
  // A second run adds the texts: an error map would more than double the time of the first run.
  const worded = schema.safeParse(value, { error: describeZodIssue });
  return { ok: false, errors: toSchemaIssues((worded.error ?? parsed.error).issues, what) };
}

function toSchemaIssues(issues: readonly z.core.$ZodIssue[], what: string): readonly Issue[] {
  return capIssues(
    issues.flatMap((issue): Issue[] => {
      if (issue.code !== 'unrecognized_keys') {
        return [{ pointer: toPointer(issue.path), detail: issue.message }];
      }
      const owner = issue.path.length === 0 ? what : String(issue.path.at(-1));
      return issue.keys.map((name) => ({
        pointer: toPointer([...issue.path, name]),
        detail: `is not a field of ${owner}`,
      }));
    }),
  );
}

/** Texts for issues to which the schema itself gives no text. */
function describeZodIssue(issue: z.core.$ZodRawIssue): string | undefined {
  switch (issue.code) {
    case 'invalid_type':
      if (issue.input === undefined) return 'is required';
      return `must be a ${issue.expected === 'object' ? 'JSON object' : issue.expected}`;
    case 'too_big':
      return `must have at most ${String(issue.maximum)} characters`;
    default:
      return undefined;
  }
}

/**
 * Finds what Klaviyo would reject inside an event's `properties`: strings and arrays that are too long,
 * and values that are nested too deeply. Stops once more than `issuesPerEntry` issues are found.
 */
export function findPropertyIssues(properties: JsonObject): readonly Issue[] {
  const walk: PropertyWalk = { path: ['properties'], issues: [] };
  checkPropertyValue(properties, walk);
  return walk.issues;
}

type PropertyWalk = {
  /** Path of the current value. It is changed in place on the way down and up. */
  readonly path: PathSegment[];
  readonly issues: Issue[];
};

function checkPropertyValue(value: unknown, walk: PropertyWalk): void {
  if (typeof value === 'string') {
    // A UTF-16 unit takes at most three bytes of UTF-8, so most strings need no counting.
    if (value.length * 3 <= limits.stringBytes) return;
    if (Buffer.byteLength(value) > limits.stringBytes) {
      addPropertyIssue(walk, `is longer than ${limits.stringBytes} bytes`);
    }
  } else if (Array.isArray(value) && value.length > limits.arrayLength) {
    addPropertyIssue(walk, `has more than ${limits.arrayLength} elements`);
  } else if (Array.isArray(value) || isJsonObject(value)) {
    // The path starts with `properties`, so that its length is the level of this array or object.
    if (walk.path.length > limits.nesting) {
      addPropertyIssue(walk, `is nested deeper than ${limits.nesting} levels`);
    } else if (Array.isArray(value)) {
      for (let index = 0; index < value.length; index++) {
        checkPropertyMember(index, value[index], walk);
      }
    } else for (const name in value) checkPropertyMember(name, value[name], walk);
  }
}

function checkPropertyMember(segment: PathSegment, value: unknown, walk: PropertyWalk): void {
  if (walk.issues.length > limits.issuesPerEntry) return;
  walk.path.push(segment);
  checkPropertyValue(value, walk);
  walk.path.pop();
}

function addPropertyIssue(walk: PropertyWalk, detail: string): void {
  walk.issues.push({ pointer: toPointer(walk.path), detail });
}
