import type { z } from 'zod';
import { toErrors, toInvalid, toMalformed } from './answer.js';
import type { Answer, ApiError } from './answer.js';
import { toPointer } from './blame.js';
import { isObject } from './json.js';

/** The outer frame of a body by its schema, or the 400 for it; `resource` names it in Klaviyo's words. */
export function toFrame<T>(
  json: unknown,
  schema: z.ZodType<T>,
  resource: string,
): { readonly frame: T } | { readonly refused: Answer } {
  if (!isObject(json) || !isObject(json.data)) return { refused: toMalformed() };
  const parsed = schema.safeParse(json);
  if (parsed.success) return { frame: parsed.data };
  const errors = parsed.error.issues.flatMap((issue): ApiError[] => {
    const path = issue.path.map((part) => (typeof part === 'symbol' ? String(part) : part));
    if (issue.code !== 'unrecognized_keys') {
      return [toInvalid(issue.message, { pointer: toPointer(path) })];
    }
    return issue.keys.map((key) =>
      toInvalid(`'${key}' is not a valid field for the resource '${resource}'.`, {
        pointer: toPointer([...path, key]),
      }),
    );
  });
  return { refused: toErrors(400, errors) };
}
