import { isJsonObject } from '../json/json.js';

/** Returns an own member of an object. Inherited names such as `constructor` and `__proto__` are plain data here. */
export function getOwnMember(value: unknown, name: string): unknown {
  return isJsonObject(value) && Object.hasOwn(value, name) ? value[name] : undefined;
}

export function readString(value: unknown): string | undefined {
  return typeof value === 'string' ? value : undefined;
}
