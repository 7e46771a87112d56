import { toInvalid } from './answer.js';
import type { ApiError } from './answer.js';
import { toPointer } from './blame.js';
import { hasEffect } from './faults.js';
import type { ActivePoison, FaultEffect, Poison } from './faults.js';
import type { ImportFailure } from './imports.js';
import { toMember } from './json.js';
import type { JsonObject } from './json.js';

type Segments = readonly (string | number)[];

/** One record as a poison rule sees it: where it is, and the attributes to look in, in order. */
export type Suspect = {
  readonly prefix: Segments;
  readonly places: readonly { readonly at: Segments; readonly attributes: JsonObject }[];
};

/** What the rules that struck do to this request. */
export type PoisonVerdict = {
  readonly errors: readonly ApiError[];
  /** An effect that a rule names instead of a 400. */
  readonly effect: FaultEffect | null;
  /** Profiles that will fail within their import job, by index. */
  readonly failures: ReadonlyMap<number, ImportFailure>;
};

/** Judges a request against the poison rules that are on; `toSuspects` is only asked when there are any. */
export function judgePoison(
  poisons: readonly ActivePoison[],
  toSuspects: () => readonly Suspect[],
): PoisonVerdict {
  const errors: ApiError[] = [];
  const failures = new Map<number, ImportFailure>();
  let effect: FaultEffect | null = null;
  const suspects = poisons.length === 0 ? [] : toSuspects();
  for (const { rule, poison, strike } of poisons) {
    const found = suspects.flatMap((suspect, index) => {
      const place = findPlace(suspect, poison);
      return place === null ? [] : [{ index, suspect, place }];
    });
    if (found.length === 0 || !strike()) continue;
    const { detail } = poison;
    if (poison.at === 'job') {
      for (const { index } of found) failures.set(index, { detail, pointer: toJobPointer(poison) });
    } else if (hasEffect(rule)) {
      effect ??= rule;
    } else {
      for (const { suspect, place } of found) {
        errors.push(toInvalid(detail, { pointer: toBlame(poison, suspect, place) }));
      }
    }
  }
  return { errors, effect, failures };
}

function toPath(poison: Poison): readonly string[] {
  const { path } = poison.when;
  if (!path.startsWith('/')) return path.split('.');
  const segments = path.slice(1).split('/');
  return segments.map((segment) => segment.replaceAll('~1', '/').replaceAll('~0', '~'));
}

/** Where the marked member is; null in a record without it. */
function findPlace(suspect: Suspect, poison: Poison): Segments | null {
  const path = toPath(poison);
  for (const { at, attributes } of suspect.places) {
    const value = path.reduce<unknown>(toMember, attributes);
    if (value !== undefined && value === poison.when.equals) return [...at, ...path];
  }
  return null;
}

function toBlame(poison: Poison, suspect: Suspect, place: Segments): string {
  if (poison.pointer === 'none') return '/data';
  return toPointer(poison.pointer === 'exact' ? place : suspect.prefix);
}

/** Import errors point into the one profile they are about. */
function toJobPointer(poison: Poison): string {
  if (poison.pointer === 'none') return '/data';
  return toPointer(['data', 'attributes', ...(poison.pointer === 'exact' ? toPath(poison) : [])]);
}
