/**
 * Checks that events and profiles share: limits on values (Klaviyo's API documentation), member
 * names and the frame of a JSON:API resource. Error texts are Klaviyo's where they were recorded.
 */

import { isJsonObject } from '../json/json.js';
import type { JsonObject } from '../json/json.js';
import type { IssueCollector } from './issues.js';

/**
 * Klaviyo's limits on values at every revision. KB is read as 1000 bytes, and the top level counts
 * as level 1.
 */
export const maxStringBytes = 100_000;
export const maxArrayLength = 4000;
export const maxNesting = 10;

/** Reports each value that is too long or nested too deep. It never recurses beyond the limit. */
export function checkNested(value: unknown, issues: IssueCollector, level = 1): void {
  if (typeof value === 'string') {
    // A UTF-16 unit is at most 3 bytes of UTF-8, so a short string needs no byte count.
    if (value.length * 3 > maxStringBytes && Buffer.byteLength(value) > maxStringBytes) {
      issues.add(`String values must not be larger than ${maxStringBytes} bytes.`);
    }
    return;
  }
  if (typeof value !== 'object' || value === null) return;
  if (level > maxNesting) {
    issues.add(`Values must not be nested deeper than ${maxNesting} levels.`);
    return;
  }
  if (Array.isArray(value)) {
    if (value.length > maxArrayLength) {
      issues.add(`Arrays must not have more than ${maxArrayLength} elements.`);
    } else checkMembers(value.entries(), issues, level);
    return;
  }
  checkMembers(Object.entries(value), issues, level);
}

/** Hot path: a full request has tens of thousands of members. */
function checkMembers(
  members: Iterable<readonly [string | number, unknown]>,
  issues: IssueCollector,
  level: number,
): void {
  for (const [name, member] of members) {
    // Most members are short and flat and need no scope of their own.
    if (typeof member === 'string' ? member.length * 3 <= maxStringBytes : !isContainer(member)) {
      continue;
    }
    issues.within([name], () => checkNested(member, issues, level + 1));
  }
}

function isContainer(value: unknown): boolean {
  return typeof value === 'object' && value !== null;
}

/** Reports each member that is not in `known`, with Klaviyo's error text. */
export function checkMemberNames(
  object: JsonObject,
  known: { readonly fields: ReadonlySet<string>; readonly resource: string },
  issues: IssueCollector,
): void {
  for (const field of Object.keys(object)) {
    if (known.fields.has(field)) continue;
    issues.add(`'${field}' is not a valid field for the resource '${known.resource}'.`, field);
  }
}

/** Checks `{type, attributes, …}` and returns the resource, or undefined if it is invalid. */
export function checkResource(
  value: unknown,
  expected: { readonly type: string; readonly members: ReadonlySet<string> },
  issues: IssueCollector,
): { readonly resource: JsonObject; readonly attributes: JsonObject } | undefined {
  if (!isJsonObject(value)) {
    issues.add(`A resource object of type '${expected.type}' is required.`);
    return undefined;
  }
  checkMemberNames(value, { fields: expected.members, resource: expected.type }, issues);
  if (value.type !== expected.type) {
    issues.add(`The type of the resource must be '${expected.type}'.`, 'type');
  }
  const { attributes } = value;
  if (!isJsonObject(attributes)) {
    issues.add("The field 'attributes' is required.", 'attributes');
    return undefined;
  }
  return { resource: value, attributes };
}
