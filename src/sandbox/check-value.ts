import type { Blame } from './blame.js';
import { isObject } from './json.js';
import type { JsonObject } from './json.js';

/** Klaviyo's limits on values of any revision; KB read the strict way, the top level counted as level 1. */
export const maxStringBytes = 100_000;
export const maxArrayLength = 4000;
export const maxNesting = 10;

/** Blames every value in it that is too long or too deep. Never goes deeper than the limit itself. */
export function checkNested(value: unknown, blame: Blame, level = 1): void {
  if (typeof value === 'string') {
    // A UTF-16 unit is at most 3 bytes of UTF-8, so short strings need no counting.
    if (value.length * 3 > maxStringBytes && Buffer.byteLength(value) > maxStringBytes) {
      blame.add(`String values must not be larger than ${maxStringBytes} bytes.`);
    }
    return;
  }
  if (typeof value !== 'object' || value === null) return;
  if (level > maxNesting) {
    blame.add(`Values must not be nested deeper than ${maxNesting} levels.`);
    return;
  }
  if (Array.isArray(value)) {
    if (value.length > maxArrayLength) {
      blame.add(`Arrays must not have more than ${maxArrayLength} elements.`);
    } else checkMembers(value.entries(), blame, level);
    return;
  }
  checkMembers(Object.entries(value), blame, level);
}

/** The hot path: a full request has tens of thousands of members. */
function checkMembers(
  members: Iterable<readonly [string | number, unknown]>,
  blame: Blame,
  level: number,
): void {
  for (const [name, member] of members) {
    // Most members are short and flat: no scope is opened for them.
    if (typeof member === 'string' ? member.length * 3 <= maxStringBytes : !isContainer(member)) {
      continue;
    }
    blame.within([name], () => checkNested(member, blame, level + 1));
  }
}

function isContainer(value: unknown): boolean {
  return typeof value === 'object' && value !== null;
}

/** Blames members that are not in `known`, in Klaviyo's words. */
export function checkKnown(
  object: JsonObject,
  known: { readonly fields: ReadonlySet<string>; readonly resource: string },
  blame: Blame,
): void {
  for (const field of Object.keys(object)) {
    if (known.fields.has(field)) continue;
    blame.add(`'${field}' is not a valid field for the resource '${known.resource}'.`, field);
  }
}

/** Checks `{data: {type, attributes, …}}` and gives the resource; undefined where it is not one. */
export function toResource(
  value: unknown,
  expected: { readonly type: string; readonly members: ReadonlySet<string> },
  blame: Blame,
): { readonly resource: JsonObject; readonly attributes: JsonObject } | undefined {
  if (!isObject(value)) {
    blame.add(`A resource object of type '${expected.type}' is required.`);
    return undefined;
  }
  checkKnown(value, { fields: expected.members, resource: expected.type }, blame);
  if (value.type !== expected.type) {
    blame.add(`The type of the resource must be '${expected.type}'.`, 'type');
  }
  const { attributes } = value;
  if (!isObject(attributes)) {
    blame.add("The field 'attributes' is required.", 'attributes');
    return undefined;
  }
  return { resource: value, attributes };
}
