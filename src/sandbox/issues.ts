/**
 * Collects the issues of a request body, each with a JSON Pointer (RFC 6901), as Klaviyo's error
 * documents report them.
 */

import { createInvalidError } from './response.js';
import type { ApiError } from './response.js';

type Segment = string | number;

/** Builds a JSON Pointer only when an issue is added, because most requests have none. */
export type IssueCollector = {
  /** Runs `check`. Issues that it adds have `segments` in their pointer. */
  within(segments: readonly Segment[], check: () => void): void;
  add(detail: string, ...segments: readonly Segment[]): void;
  errors(): readonly ApiError[];
};

/** Create one for each request. Scopes nest and are left in reverse order. */
export function createIssueCollector(): IssueCollector {
  const path: Segment[] = [];
  const errors: ApiError[] = [];
  return {
    within(segments, check) {
      path.push(...segments);
      check();
      for (let left = segments.length; left > 0; left--) path.pop();
    },
    add(detail, ...segments) {
      errors.push(createInvalidError(detail, { pointer: toJsonPointer([...path, ...segments]) }));
    },
    errors: () => errors,
  };
}

export function toJsonPointer(segments: readonly Segment[]): string {
  return segments
    .map((segment) => `/${String(segment).replaceAll('~', '~0').replaceAll('/', '~1')}`)
    .join('');
}
