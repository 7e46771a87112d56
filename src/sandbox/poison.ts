/**
 * Poison rules: fault rules that make single records invalid. Finds the marked records of a request
 * and decides what happens to the request and to them.
 */

import type { JsonObject } from '../json/json.js';
import { getOwnMember } from './json.js';
import { createErrorResponse, createInvalidError } from './response.js';
import type { ApiError, ApiResponse } from './response.js';
import { toJsonPointer } from './issues.js';
import { hasEffect, hasResponse } from './faults.js';
import type { ActivePoison, FaultEffect, Poison } from './faults.js';
import type { ImportFailure } from './import-jobs.js';

type Segments = readonly (string | number)[];

/**
 * One record: its position in the body, and the attributes in which the marker is searched, in
 * order.
 */
export type PoisonCandidate = {
  readonly prefix: Segments;
  readonly places: readonly { readonly at: Segments; readonly attributes: JsonObject }[];
};

/** What the rules that apply do to this request. */
type PoisonResult = {
  readonly errors: readonly ApiError[];
  /** The effect of a rule that has one instead of the 400. */
  readonly effect: FaultEffect | null;
  /** Profiles that will fail in their import job, by index. */
  readonly failures: ReadonlyMap<number, ImportFailure>;
};

/** The records of a request. `listCandidates` is called only if there are poison rules. */
export type PoisonedRecords = {
  readonly count: number;
  readonly listCandidates: () => readonly PoisonCandidate[];
};

/**
 * Responds as the active poison rules say, and otherwise with `respond`, which receives the records
 * that will fail in their job. Poison at the job does not change the response.
 */
export function respondUnlessPoisoned(
  poisons: readonly ActivePoison[],
  { count, listCandidates }: PoisonedRecords,
  respond: (failures: PoisonResult['failures']) => ApiResponse,
): ApiResponse {
  const { errors, effect, failures } = applyPoison(poisons, listCandidates);
  if (errors.length > 0) return { ...createErrorResponse(400, errors), count };
  if (effect !== null && hasResponse(effect)) return { status: 202, count, effect };
  return { ...respond(failures), count, ...(effect !== null && { effect }) };
}

function applyPoison(
  poisons: readonly ActivePoison[],
  listCandidates: () => readonly PoisonCandidate[],
): PoisonResult {
  const errors: ApiError[] = [];
  const failures = new Map<number, ImportFailure>();
  let effect: FaultEffect | null = null;
  const candidates = poisons.length === 0 ? [] : listCandidates();
  for (const { rule, poison, tryApply } of poisons) {
    const found = candidates.flatMap((candidate, index) => {
      const place = findMarkedMember(candidate, poison);
      return place === null ? [] : [{ index, candidate, place }];
    });
    if (found.length === 0 || !tryApply()) continue;
    const { detail } = poison;
    if (poison.at === 'job') {
      for (const { index } of found) failures.set(index, { detail, pointer: toJobPointer(poison) });
    } else if (hasEffect(rule)) {
      effect ??= rule;
    } else {
      for (const { candidate, place } of found) {
        errors.push(
          createInvalidError(detail, { pointer: toErrorPointer(poison, candidate, place) }),
        );
      }
    }
  }
  return { errors, effect, failures };
}

/** Each profile of a list is one record. `path`: of the list in the body. */
export function listProfileCandidates(
  profiles: readonly { readonly attributes: JsonObject }[],
  path: Segments,
): PoisonCandidate[] {
  return profiles.map(({ attributes }, index) => {
    const prefix = [...path, index];
    return { prefix, places: [{ at: [...prefix, 'attributes'], attributes }] };
  });
}

function parseMarkerPath(poison: Poison): readonly string[] {
  const { path } = poison.when;
  if (!path.startsWith('/')) return path.split('.');
  const segments = path.slice(1).split('/');
  return segments.map((segment) => segment.replaceAll('~1', '/').replaceAll('~0', '~'));
}

/** Returns the path of the marked member, or null if the record has no such member. */
function findMarkedMember(candidate: PoisonCandidate, poison: Poison): Segments | null {
  const path = parseMarkerPath(poison);
  for (const { at, attributes } of candidate.places) {
    const value = path.reduce<unknown>(getOwnMember, attributes);
    if (value !== undefined && value === poison.when.equals) return [...at, ...path];
  }
  return null;
}

function toErrorPointer(poison: Poison, candidate: PoisonCandidate, place: Segments): string {
  if (poison.pointer === 'none') return '/data';
  return toJsonPointer(poison.pointer === 'exact' ? place : candidate.prefix);
}

/** Pointers of import errors are relative to their profile. */
function toJobPointer(poison: Poison): string {
  if (poison.pointer === 'none') return '/data';
  return toJsonPointer([
    'data',
    'attributes',
    ...(poison.pointer === 'exact' ? parseMarkerPath(poison) : []),
  ]);
}
