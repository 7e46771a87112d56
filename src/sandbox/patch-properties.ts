import { isDeepStrictEqual } from 'node:util';
import { isObject } from './json.js';
import type { JsonObject } from './json.js';

/** Klaviyo's `meta.patch_properties`: append to and remove from list properties, drop properties. */
export function patchProperties(attributes: JsonObject, patch: JsonObject): JsonObject {
  const current = attributes.properties;
  const properties = new Map(Object.entries(isObject(current) ? current : {}));
  for (const [name, value] of toEntries(patch.append)) {
    properties.set(name, [...toList(properties.get(name)), ...toList(value)]);
  }
  for (const [name, value] of toEntries(patch.unappend)) {
    const removed = toList(value);
    const kept = toList(properties.get(name)).filter(
      (entry) => !removed.some((gone) => isDeepStrictEqual(gone, entry)),
    );
    properties.set(name, kept);
  }
  for (const name of toList(patch.unset)) {
    if (typeof name === 'string') properties.delete(name);
  }
  return { ...attributes, properties: Object.fromEntries(properties) };
}

function toEntries(value: unknown): [string, unknown][] {
  return isObject(value) ? Object.entries(value) : [];
}

/** A property that holds a single value counts as a list of it. */
function toList(value: unknown): readonly unknown[] {
  if (value === undefined || value === null) return [];
  return Array.isArray(value) ? Array.from<unknown>(value) : [value];
}
