import { JSONPathEnvironment, JSONPathError, type JSONPathQuery } from 'json-p3';
import { toPointer } from '../../ingest/validation.js';
import { isJsonObject } from '../../json/json.js';

/**
 * JSONPath (RFC 9535) by json-p3. Most paths name one place; those are walked here, which takes a
 * hundredth of the time: a mapping may ask for thirty places in each of thousands of elements.
 */

export type Path = {
  /** Values of all nodes that the path finds, in order. Never throws. */
  readonly findAll: (root: unknown) => readonly unknown[];
  /** JSON Pointer of the place; empty where the path names more than one. */
  readonly pointer: string;
};

/** Deeper than any body that the relay reads. */
const environment = new JSONPathEnvironment({ maxRecursionDepth: 1000 });

const step = /\.([\p{L}_][\p{L}\p{N}_]*)|\['([^'\\]*)'\]|\["([^"\\]*)"\]|\[(0|[1-9]\d{0,9})\]/gu;
const simple = new RegExp(`^\\$(?:${step.source})*$`, 'u');

/** `text` begins with `$`. A text says why it is no path. */
export function compilePath(text: string): Path | string {
  let query: JSONPathQuery;
  try {
    query = environment.compile(text);
  } catch (error) {
    if (!(error instanceof JSONPathError)) throw error;
    return `is no JSONPath: ${error.message}`;
  }
  if (simple.test(text)) return compileSimplePath(text);
  return { pointer: '', findAll: (root) => findNodes(query, root) };
}

function compileSimplePath(text: string): Path {
  const names = [...text.matchAll(step)].map(
    ([, dotted, single, double, index]) => dotted ?? single ?? double ?? Number(index),
  );
  return {
    pointer: toPointer(names),
    findAll(root) {
      let value = root;
      for (const name of names) {
        const isThere =
          typeof name === 'number'
            ? Array.isArray(value) && name < value.length
            : isJsonObject(value) && Object.hasOwn(value, name);
        if (!isThere) return [];
        value = (value as Readonly<Record<string | number, unknown>>)[name];
      }
      return [value];
    },
  };
}

function findNodes(query: JSONPathQuery, root: unknown): readonly unknown[] {
  try {
    // The library's type of a JSON value does not know integers that keep their digits.
    return query.query(root as Parameters<JSONPathQuery['query']>[0]).values();
  } catch (error) {
    if (error instanceof JSONPathError) return [];
    throw error;
  }
}
