import { toInvalid } from './answer.js';
import type { ApiError } from './answer.js';

type Segment = string | number;

/** Collects what is wrong with a body; the JSON Pointer is only put together where something is. */
export type Blame = {
  /** Runs `check` with `segments` added to the pointer of everything it blames. */
  within(segments: readonly Segment[], check: () => void): void;
  add(detail: string, ...segments: readonly Segment[]): void;
  errors(): readonly ApiError[];
};

/** One for each request. Scopes nest and are left in the order they were entered. */
export function createBlame(): Blame {
  const path: Segment[] = [];
  const errors: ApiError[] = [];
  return {
    within(segments, check) {
      path.push(...segments);
      check();
      for (let left = segments.length; left > 0; left--) path.pop();
    },
    add(detail, ...segments) {
      errors.push(toInvalid(detail, { pointer: toPointer([...path, ...segments]) }));
    },
    errors: () => errors,
  };
}

/** JSON Pointer, RFC 6901. */
export function toPointer(segments: readonly Segment[]): string {
  return segments
    .map((segment) => `/${String(segment).replaceAll('~', '~0').replaceAll('/', '~1')}`)
    .join('');
}
