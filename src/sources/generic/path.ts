import { JSONPathEnvironment, JSONPathError, type JSONPathQuery } from 'json-p3';
import { toPointer } from '../../ingest/validation.js';
import { isJsonObject } from '../../json/json.js';

/**
 * JSONPath (RFC 9535) by json-p3. Most paths name one place. These are walked here, which takes 1 % of the
 * time: a mapping may read thirty places in each of thousands of elements.
 */

export type Path = {
  /** Returns the values of all nodes that the path finds, in order. Never throws. */
  readonly findAll: (root: unknown) => readonly unknown[];
  /** JSON Pointer of the place. Empty if the path names more than one place. */
  readonly pointer: string;
};

/** The maximum depth is above that of any body that the relay reads. */
const environment = new JSONPathEnvironment({ maxRecursionDepth: 1000 });

const step = /\.([\p{L}_][\p{L}\p{N}_]*)|\['([^'\\]*)'\]|\["([^"\\]*)"\]|\[(0|[1-9]\d{0,9})\]/gu;
const simple = new RegExp(`^\\$(?:${step.source})*$`, 'u');

/** Compiles a path, which begins with `$`. Returns a text that describes the fault if it is not valid. */
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
    // The library's type of a JSON value lacks ExactInteger.
    return query.query(root as Parameters<JSONPathQuery['query']>[0]).values();
  } catch (error) {
    if (error instanceof JSONPathError) return [];
    throw error;
  }
}
