import type { z } from 'zod';
import type { Issue } from '../model/outcome.js';
import type { JsonIssue } from '../json/json.js';
import { createFastValidator } from './fast-validator.js';
import { limits } from './limits.js';

/** A name longer than this is cut in a pointer: an answer need not repeat a megabyte of it. */
const maxSegmentChars = 128;

/** A path deeper than this is cut in a pointer, too: Klaviyo takes ten levels. */
const maxSegments = 16;

/** JSON Pointer (RFC 6901) of a path; '' is the whole. */
export function toPointer(path: readonly PropertyKey[]): string {
  const pointer = path
    .slice(0, maxSegments)
    .map((segment) => `/${toSegment(String(segment))}`)
    .join('');
  return path.length > maxSegments ? `${pointer}/…` : pointer;
}

function toSegment(name: string): string {
  const cut = name.length > maxSegmentChars ? `${name.slice(0, maxSegmentChars)}…` : name;
  return cut
    .replace(/\p{Surrogate}/gu, '\ufffd')
    .replaceAll('~', '~0')
    .replaceAll('/', '~1');
}

/** Bounded: the last one says how many were left out. */
export function capIssues(faults: readonly Issue[]): readonly Issue[] {
  const extra = faults.length - limits.issuesPerEntry;
  if (extra <= 0) return faults;
  return [
    ...faults.slice(0, limits.issuesPerEntry),
    { pointer: '', detail: `has ${extra} more faults like these` },
  ];
}

/** `fromSegment`: how much of the path is the way to the entry and so left out. */
export function toIssues(faults: readonly JsonIssue[], fromSegment = 0): readonly Issue[] {
  return capIssues(
    faults.map(({ path, detail }) => ({ pointer: toPointer(path.slice(fromSegment)), detail })),
  );
}

/** One line for a person. */
export function describeIssues(errors: readonly Issue[]): string {
  return errors
    .map(({ pointer, detail }) => (pointer === '' ? detail : `${pointer} ${detail}`))
    .join('; ');
}

/** Not valid, and why. */
export type Invalid = { readonly ok: false; readonly errors: readonly Issue[] };

/** With one fault. */
export function invalidBody(pointer: string, detail: string): Invalid {
  return { ok: false, errors: [{ pointer, detail }] };
}

export type Checked<T> = { readonly ok: true; readonly value: T } | Invalid;

/** What a schema says of values. `what` it describes is for the words: `an event`. */
export function createCheck<T>(schema: z.ZodType<T>, what: string): (value: unknown) => Checked<T> {
  const isRight = createFastValidator(schema);
  return (value) => (isRight(value) ? { ok: true, value: value as T } : check(schema, value, what));
}

function check<T>(schema: z.ZodType<T>, value: unknown, what: string): Checked<T> {
  const parsed = schema.safeParse(value);
  if (parsed.success) return { ok: true, value: parsed.data };
  // Again with our words: an error map would more than double the time of the first go.
  const worded = schema.safeParse(value, { error: toDetail });
  return { ok: false, errors: toSchemaFaults((worded.error ?? parsed.error).issues, what) };
}

function toSchemaFaults(issues: readonly z.core.$ZodIssue[], what: string): readonly Issue[] {
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

/** Words for everything a schema does not word itself. They name what is wrong and never repeat a value. */
function toDetail(issue: z.core.$ZodRawIssue): string | undefined {
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
