import type { JsonObject } from '../../json/json.js';
import { toPointer } from '../../ingest/validation.js';
import type { LocatedValue } from '../money.js';

/** Names of events and properties without case and separators, as Segment's own integrations compare them. */
export function foldSpelling(name: string): string {
  return name.replace(/[\s_.-]/g, '').toLowerCase();
}

/** Members of an object by any spelling of their names. */
export type FieldFinder = {
  /** The first of the names that has a value; null, undefined and blank text are none. */
  find(...names: readonly string[]): LocatedValue;
};

/** `path`: where the object stands in the call. */
export function createFieldFinder(
  object: JsonObject,
  path: readonly (string | number)[],
): FieldFinder {
  const folded = new Map<string, string>();
  // The first of several spellings counts.
  for (const name of Object.keys(object).reverse()) folded.set(foldSpelling(name), name);
  return {
    find(...names) {
      const spelled = names.map((name) => {
        return hasValue(object[name]) ? name : (folded.get(foldSpelling(name)) ?? name);
      });
      const name = spelled.find((each) => Object.hasOwn(object, each) && hasValue(object[each]));
      if (name === undefined)
        return { value: undefined, pointer: toPointer([...path, names[0] ?? '']) };
      return { value: object[name], pointer: toPointer([...path, name]) };
    },
  };
}

function hasValue(value: unknown): boolean {
  return (
    value !== undefined && value !== null && !(typeof value === 'string' && value.trim() === '')
  );
}
