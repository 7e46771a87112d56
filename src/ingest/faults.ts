import type { z } from 'zod';
import type { Fault } from '../envelope.js';
import type { JsonFault } from '../json.js';
import { limits } from './limits.js';

/** A name longer than this is cut in a pointer: an answer need not repeat a megabyte of it. */
const maxSegmentChars = 128;

/** JSON Pointer (RFC 6901) of a path; '' is the whole. */
export function toPointer(path: readonly PropertyKey[]): string {
  return path.map((segment) => `/${toSegment(String(segment))}`).join('');
}

function toSegment(name: string): string {
  const cut = name.length > maxSegmentChars ? `${name.slice(0, maxSegmentChars)}…` : name;
  return cut
    .replace(/\p{Surrogate}/gu, '\ufffd')
    .replaceAll('~', '~0')
    .replaceAll('/', '~1');
}

/** Bounded: the last one says how many were left out. */
export function capFaults(faults: readonly Fault[]): readonly Fault[] {
  const extra = faults.length - limits.faultsPerEntry;
  if (extra <= 0) return faults;
  return [
    ...faults.slice(0, limits.faultsPerEntry),
    { pointer: '', detail: `has ${extra} more faults like these` },
  ];
}

/** `fromSegment`: how much of the path is the way to the entry and so left out. */
export function toFaults(faults: readonly JsonFault[], fromSegment = 0): readonly Fault[] {
  return capFaults(
    faults.map(({ path, detail }) => ({ pointer: toPointer(path.slice(fromSegment)), detail })),
  );
}

/** What zod found, in pointers and words. Names fields, never repeats a value. */
export function toSchemaFaults(error: z.ZodError, what: string): readonly Fault[] {
  return capFaults(
    error.issues.flatMap((issue): Fault[] => {
      if (issue.code !== 'unrecognized_keys') {
        return [{ pointer: toPointer(issue.path), detail: issue.message }];
      }
      return issue.keys.map((name) => ({
        pointer: toPointer([...issue.path, name]),
        detail: `is not a field of ${issue.path.length === 0 ? what : String(issue.path.at(-1))}`,
      }));
    }),
  );
}

/** zod's error map for everything a schema does not word itself. */
export function toDetail(issue: z.core.$ZodRawIssue): string | undefined {
  switch (issue.code) {
    case 'invalid_type':
      if (issue.input === undefined) return 'is required';
      return `must be ${issue.expected === 'object' ? 'a JSON object' : `a ${issue.expected}`}`;
    case 'too_big':
      return `must have at most ${String(issue.maximum)} characters`;
    case 'too_small':
      return 'must not be empty';
    default:
      return undefined;
  }
}
