import { existsSync, readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { Ajv, type ValidateFunction } from 'ajv';
import ajvFormats from 'ajv-formats';

/** The default revision of the relay and the newest known revision. */
export const revisions = ['2024-10-15', '2026-07-15'] as const;
export type Revision = (typeof revisions)[number];

export type Sample = {
  readonly name: string;
  readonly status: number;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: unknown;
  readonly body_text?: string;
  readonly body_detail_only?: string;
};

const folder = resolve(process.env.KLAVIYO_REFERENCE_DIR ?? '../shared/reference');

/** Throws if the file is missing, so that every test that needs it fails; a skipped test would check nothing. */
function read(name: string): unknown {
  const path = join(folder, name);
  if (!existsSync(path)) {
    throw new Error(
      `${path} does not exist: set KLAVIYO_REFERENCE_DIR to the folder with Klaviyo's OpenAPI files`,
    );
  }
  return JSON.parse(readFileSync(path, 'utf8'));
}

/** Example bodies by `METHOD path`. */
export function readRequestExamples(): readonly (readonly [string, unknown])[] {
  const examples = read('klaviyo-request-examples.json') as Record<string, unknown>;
  return Object.entries(examples).filter(([name]) => name.startsWith('POST '));
}

export function readErrorSamples(): readonly Sample[] {
  return (read('klaviyo-error-samples.json') as { samples: readonly Sample[] }).samples;
}

export type OpenApi = {
  /** Returns the violations of a request body: wrong, missing and unknown fields. */
  readonly findRequestIssues: (operation: string, body: unknown) => readonly string[];
  /** Returns the violations of a request query: unknown parameters or values, and unknown fields, operators or values of a filter. */
  readonly findQueryIssues: (operation: string, query: URLSearchParams) => readonly string[];
  /** Returns the violations of a response. `body` is undefined if there is none. */
  readonly findResponseIssues: (
    operation: string,
    status: number,
    body: unknown,
  ) => readonly string[];
  readonly has: (operation: string) => boolean;
  readonly describe: (operation: string) => Description;
};

type DescribedSchema = { readonly description?: string; readonly required?: readonly string[] };

/** The description of one operation. */
export type Description = {
  /** The schema of a member of the request body, by the path of names, through lists. Undefined if there is none. */
  readonly requestBody: (path: readonly string[]) => DescribedSchema | undefined;
  readonly parameters: readonly string[];
  /** The description of the parameter `filter`. */
  readonly filter: string;
  /** Requests a minute. */
  readonly perMinute: number;
  /** Requests a second and a minute. */
  readonly limits: readonly number[];
  /** Sorted. */
  readonly scopes: readonly string[];
};

type Content = { readonly content?: Readonly<Record<string, unknown>> };
type Operation = {
  readonly requestBody?: Content;
  readonly responses: Readonly<Record<string, Content & { readonly $ref?: string }>>;
  readonly parameters: readonly {
    readonly name: string;
    readonly description?: string;
    readonly schema: { readonly type?: string };
  }[];
  /** Only newer revisions describe the values of a filter. */
  readonly 'x-klaviyo-filters'?: Readonly<
    Record<string, { readonly value?: { readonly enum?: readonly string[] } }>
  >;
  readonly 'x-klaviyo-ratelimit': { readonly burst: string; readonly steady: string };
  readonly 'x-klaviyo-scopes': readonly string[];
};
type Document = { readonly paths: Readonly<Record<string, Readonly<Record<string, Operation>>>> };

const mediaType = 'application/vnd.api+json';

/** Loads Klaviyo's OpenAPI documents of one revision. An `operation` is a method and a path, such as `POST /api/events`. */
export function loadOpenApi(revision: Revision): OpenApi {
  const [document, lanes] = ['', 'lanes-'].map(
    (part) => read(`klaviyo-openapi-${part}${revision}.json`) as Document,
  ) as [Document, Document];
  const validators = new Map(
    [document, lanes].map((one) => [
      one,
      {
        open: createValidator(toJsonSchema(one)),
        closed: createValidator(close(toJsonSchema(one))),
      },
    ]),
  );
  const findOperation = (name: string) => {
    const [method = '', path = ''] = name.split(' ');
    const pointer = ['paths', path, method.toLowerCase()];
    for (const [one, { open, closed }] of validators) {
      const operation = one.paths[path]?.[method.toLowerCase()];
      if (operation !== undefined) return { document: one, operation, pointer, open, closed };
    }
    return null;
  };
  const requireOperation = (name: string) => {
    const found = findOperation(name);
    if (found === null) throw new Error(`${name} is not in revision ${revision}`);
    return found;
  };
  return {
    findRequestIssues(name, body) {
      const { pointer, closed } = requireOperation(name);
      return closed([...pointer, 'requestBody', 'content', mediaType, 'schema'], body);
    },
    findQueryIssues(name, query) {
      const { operation, pointer, open } = requireOperation(name);
      return [...query].flatMap(([parameter, text]) => {
        const index = operation.parameters.findIndex((each) => each.name === parameter);
        const { schema, description = '' } = operation.parameters[index] ?? {};
        if (schema === undefined) return [`${parameter} is not a parameter`];
        const value =
          schema.type === 'integer'
            ? Number(text)
            : schema.type === 'array'
              ? text.split(',')
              : text;
        const place = [...pointer, 'parameters', String(index), 'schema'];
        const values = operation['x-klaviyo-filters'];
        const inFilter = parameter === 'filter' ? findFilterIssues(text, description, values) : [];
        return [...open(place, value), ...inFilter].map((issue) => `${parameter}: ${issue}`);
      });
    },
    findResponseIssues(name, status, body) {
      const { operation, pointer, open } = requireOperation(name);
      const key = [String(status), `${Math.floor(status / 100)}XX`].find(
        (each) => operation.responses[each] !== undefined,
      );
      if (key === undefined) return [`status ${status} is not described`];
      const { content, $ref } = operation.responses[key] ?? {};
      if (content === undefined && $ref === undefined) {
        return body === undefined ? [] : ['there should be no body'];
      }
      const place = $ref === undefined ? [...pointer, 'responses', key] : $ref.slice(2).split('/');
      return open([...place, 'content', mediaType, 'schema'], body);
    },
    has: (name) => findOperation(name) !== null,
    describe(name) {
      const { document, operation: described } = requireOperation(name);
      const { requestBody, parameters, ...operation } = described;
      return {
        requestBody: (path) =>
          path.reduce(
            (schema: unknown, member) => toProperty(document, schema, member),
            toMember(requestBody?.content?.[mediaType], 'schema'),
          ) as DescribedSchema | undefined,
        parameters: parameters.map((parameter) => parameter.name),
        filter: parameters.find((parameter) => parameter.name === 'filter')?.description ?? '',
        perMinute: parseInt(operation['x-klaviyo-ratelimit'].steady, 10),
        limits: ['burst' as const, 'steady' as const].map((span) =>
          parseInt(operation['x-klaviyo-ratelimit'][span], 10),
        ),
        scopes: [...operation['x-klaviyo-scopes']].sort(),
      };
    },
  };
}

/** `description` lists the operators of each field: "`status`: `any`, `equals`". Only one condition is supported here. */
function findFilterIssues(
  text: string,
  description: string,
  values: Operation['x-klaviyo-filters'],
): readonly string[] {
  const allowed = new Map(
    Array.from(
      description.matchAll(/`([\w.]+)`: ((?:`[\w-]+`(?:, )?)+)/g),
      ([, field, list = '']) => {
        return [field, list.match(/[\w-]+/g) ?? []] as const;
      },
    ),
  );
  const [, operator = '', field = '', value = ''] = /^([\w-]+)\(([\w.]+),(.*)\)$/.exec(text) ?? [];
  const given: unknown = JSON.parse(value || 'null');
  const list: readonly unknown[] = Array.isArray(given) ? given : [given];
  const known = values?.[field]?.value?.enum;
  return [
    ...(allowed.get(field)?.some((each) => each === operator) === true
      ? []
      : [`${operator} of ${field}`]),
    // `equals` also accepts a list (x-klaviyo-filters).
    ...(Array.isArray(given) || operator === 'equals' ? [] : [`value ${value}`]),
    ...list.filter((each) => known?.includes(String(each)) === false).map(String),
  ];
}

const toMember = (node: unknown, name: string): unknown => (isNode(node) ? node[name] : undefined);

/** The schema of a property, through references and lists. */
function toProperty(document: object, schema: unknown, name: string): unknown {
  const reference = toMember(schema, '$ref');
  if (typeof reference === 'string') {
    const target = reference.slice(2).split('/').reduce<unknown>(toMember, document);
    return toProperty(document, target, name);
  }
  const items = toMember(schema, 'items');
  if (items !== undefined) return toProperty(document, items, name);
  return toMember(toMember(schema, 'properties'), name);
}

type Validate = (pointer: readonly string[], value: unknown) => readonly string[];

function createValidator(document: object): Validate {
  const ajv = new Ajv({ strict: false, allErrors: true, validateSchema: false });
  ajvFormats.default(ajv);
  ajv.addSchema(document, 'klaviyo');
  const known = new Map<string, ValidateFunction>();
  return (pointer, value) => {
    const escaped = pointer.map((part) => part.replaceAll('~', '~0').replaceAll('/', '~1'));
    const $ref = `klaviyo#/${escaped.map(encodeURIComponent).join('/')}`;
    const validate = known.get($ref) ?? ajv.compile({ $ref });
    known.set($ref, validate);
    if (validate(value)) return [];
    return (validate.errors ?? []).map(({ instancePath, message = '', params }) => {
      return `${instancePath} ${message} ${JSON.stringify(params)}`;
    });
  };
}

type Node = Readonly<Record<string, unknown>>;
const isNode = (value: unknown): value is Node => typeof value === 'object' && value !== null;

/** Rebuilds a JSON value from the leaves up. */
function rebuild(value: unknown, change: (node: Node) => unknown): unknown {
  if (Array.isArray(value)) return value.map((each) => rebuild(each, change));
  if (!isNode(value)) return value;
  const members = Object.entries(value)
    // Examples are data, and some have the form of schemas.
    .filter(([name, member]) => name !== 'example' || isNode((member as Node | null)?.type))
    .map(([name, member]) => [name, rebuild(member, change)]);
  return change(Object.fromEntries(members) as Node);
}

/**
 * OpenAPI 3.0 writes "or null" as `nullable`, which JSON Schema does not have. Klaviyo uses it beside
 * `$ref`, beside `oneOf` and alone, which ajv does not support.
 */
function toJsonSchema(document: object): object {
  return rebuild(document, (node) => {
    if (node.nullable !== true) return node;
    const rest = Object.fromEntries(Object.entries(node).filter(([name]) => name !== 'nullable'));
    const hasType = ['type', '$ref', 'oneOf', 'anyOf', 'allOf', 'enum'].some(
      (name) => name in rest,
    );
    return hasType ? { anyOf: [rest, { type: 'null' }] } : rest;
  }) as object;
}

/** Forbids unknown fields: Klaviyo rejects them with a 400, although its documents permit them. */
function close(document: object): object {
  return rebuild(document, (node) => {
    const isSchema = node.type === 'object' && isNode(node.properties);
    return isSchema && node.additionalProperties === undefined
      ? { ...node, additionalProperties: false }
      : node;
  }) as object;
}
