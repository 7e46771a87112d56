import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import addFormats from 'ajv-formats';
import { Ajv, type ValidateFunction } from 'ajv';

/** Klaviyo's official OpenAPI files and samples, at KLAVIYO_REFERENCE_DIR or beside the checkout. */
const folder = process.env.KLAVIYO_REFERENCE_DIR ?? '../shared/reference';

export function readReference(name: string): unknown {
  const path = join(folder, name);
  if (!existsSync(path)) {
    throw new Error(
      `${path} is missing: set KLAVIYO_REFERENCE_DIR to where the official OpenAPI files are`,
    );
  }
  return JSON.parse(readFileSync(path, 'utf8'));
}

export const revisions = ['2024-10-15', '2026-07-15'] as const;

export type Official = {
  /** What is wrong with a request body of the operation; empty where nothing is. */
  requestProblems(operation: string, body: unknown): readonly string[];
  /** What is wrong with an answer; operations without a schema for the status want an empty body. */
  answerProblems(operation: string, status: number, body: unknown): readonly string[];
};

type Json = Readonly<Record<string, unknown>>;

/** `operation` is `POST /api/events`, with path parameters as the document spells them. */
export function loadOfficial(revision: string): Official {
  const document = toJsonSchema(readReference(`klaviyo-openapi-${revision}.json`)) as Json;
  const ajv = new Ajv({ strict: false, allErrors: true });
  addFormats.default(ajv);
  ajv.addSchema({ $id: 'klaviyo', ...document });
  const compiled = new Map<string, ValidateFunction | null>();

  const validate = (place: readonly string[], body: unknown): readonly string[] => {
    const pointer = place.map((part) => part.replaceAll('~', '~0').replaceAll('/', '~1')).join('/');
    let check = compiled.get(pointer);
    if (check === undefined) {
      const found = place.reduce<unknown>(
        (node, part) => (node as Json | undefined)?.[part],
        document,
      );
      check = found === undefined ? null : ajv.compile({ $ref: `klaviyo#/${encodeURI(pointer)}` });
      compiled.set(pointer, check);
    }
    if (check === null) return body === '' || body === undefined ? [] : [`no schema at ${pointer}`];
    if (check(body)) return [];
    return (check.errors ?? []).map(
      ({ instancePath, message }) => `${instancePath} ${message ?? ''}`,
    );
  };
  const placeOf = (operation: string): readonly string[] => {
    const [method = '', path = ''] = operation.split(' ');
    return ['paths', path, method.toLowerCase()];
  };
  const media = 'application/vnd.api+json';
  return {
    requestProblems: (operation, body) =>
      validate([...placeOf(operation), 'requestBody', 'content', media, 'schema'], body),
    answerProblems: (operation, status, body) =>
      validate(
        [...placeOf(operation), 'responses', String(status), 'content', media, 'schema'],
        body,
      ),
  };
}

/** OpenAPI 3.0's `nullable` in JSON Schema's words; it stands without a `type` in places. */
function toJsonSchema(node: unknown): unknown {
  if (Array.isArray(node)) return node.map(toJsonSchema);
  if (typeof node !== 'object' || node === null) return node;
  const { nullable, ...rest } = node as Json;
  const converted = Object.fromEntries(
    Object.entries(rest).map(([key, value]) => [key, toJsonSchema(value)]),
  );
  return nullable === true ? { anyOf: [converted, { type: 'null' }] } : converted;
}
