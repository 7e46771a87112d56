import { toPointer } from '../../ingest/validation.js';
import type { JsonObject } from '../../json/json.js';
import type { LocatedValue } from '../money.js';

/** Removes case and separators from a name of an event or property, as Segment's own integrations do to compare names. */
export function foldSpelling(name: string): string {
  return name.replace(/[\s_.-]/g, '').toLowerCase();
}

/** Finds members of an object by any spelling of their names. */
export type FieldFinder = {
  /** Returns the value of the first name that has one. Null, undefined and blank text are not values. */
  find(...names: readonly string[]): LocatedValue;
};

/** `path`: the path of the object in the call, for pointers. */
export function createFieldFinder(
  object: JsonObject,
  path: readonly (string | number)[],
): FieldFinder {
  const folded = new Map<string, string>();
  // In reverse order, so that the first of several spellings counts.
  for (const name of Object.keys(object).reverse()) folded.set(foldSpelling(name), name);
  return {
    find(...names) {
      const spelled = names.map((name) => {
        return isFilled(object[name]) ? name : (folded.get(foldSpelling(name)) ?? name);
      });
      const name = spelled.find((each) => Object.hasOwn(object, each) && isFilled(object[each]));
      if (name === undefined)
        return { value: undefined, pointer: toPointer([...path, names[0] ?? '']) };
      return { value: object[name], pointer: toPointer([...path, name]) };
    },
  };
}

function isFilled(value: unknown): boolean {
  return (
    value !== undefined && value !== null && !(typeof value === 'string' && value.trim() === '')
  );
}
