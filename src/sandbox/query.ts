/**
 * Query parameters of read operations (JSON:API, with the names and bounds of Klaviyo's OpenAPI):
 * `fields`, `additional-fields`, `include`, `filter`, `sort`, `page[size]`, `page[cursor]`; and the
 * responses that depend on them: one resource or one page.
 */

import { isJsonObject } from '../json/json.js';
import type { JsonObject } from '../json/json.js';
import { FilterError, parseFilter } from './filters.js';
import type { Condition, FilterContext, FilterRules } from './filters.js';
import { attributeNames } from './resources.js';
import type { Identifier, Resource } from './resources.js';
import { createErrorResponse, createInvalidError } from './response.js';
import type { ApiResponse } from './response.js';

/** The query parameters of an operation, as in Klaviyo's OpenAPI. */
export type QueryRules = {
  /** Types whose attributes `fields[type]` can select. */
  readonly fields: readonly string[];
  /** The type to which `additional-fields[type]` can add attributes. */
  readonly additionalFields?: string;
  readonly include?: readonly string[];
  readonly filter?: FilterRules;
  readonly sort?: readonly string[];
  readonly pageSize?: number;
  /** If absent, `page[size]` is invalid. */
  readonly maxPageSize?: number;
};

/** A valid query. */
export type Query = {
  /** All conditions must hold. */
  readonly filter: readonly Condition[];
  readonly sort: string | null;
  readonly include: readonly string[];
  readonly size: number;
  readonly offset: number;
  /**
   * Keeps the attributes that are shown by default or that `fields` and `additional-fields` name.
   */
  readonly selectAttributes: (resource: Resource) => Resource;
};

/** `now`: epoch ms. */
type QueryContext = { readonly url: URL; readonly now: number };

class ParameterError extends Error {
  readonly parameter: string;

  constructor(parameter: string, detail: string) {
    super(detail);
    this.parameter = parameter;
  }
}

function parseQuery({ url, now }: QueryContext, rules: QueryRules): Query {
  const parameters = url.searchParams;
  checkParameterNames(parameters, rules);
  const sort = parameters.get('sort');
  if (sort !== null && !rules.sort?.includes(sort)) {
    throw new ParameterError('sort', `'${sort}' is not an allowed sort field for this resource.`);
  }
  return {
    filter: parseFilterParameter(parameters.get('filter'), { rules: rules.filter ?? {}, now }),
    sort,
    include: parseInclude(parameters.get('include'), rules.include ?? []),
    size: parsePageSize(parameters.get('page[size]'), rules),
    offset: parsePageCursor(url),
    selectAttributes: createAttributeSelector(parameters, rules),
  };
}

function createAttributeSelector(
  parameters: URLSearchParams,
  rules: QueryRules,
): Query['selectAttributes'] {
  const picked = new Map(
    rules.fields.flatMap((type) => {
      const names = parseNames(parameters, `fields[${type}]`, attributeNames[type]);
      return names === null ? [] : [[type, names] as const];
    }),
  );
  const widened = rules.additionalFields ?? '';
  const { optional = [] } = attributeNames[widened] ?? {};
  const additional =
    parseNames(parameters, `additional-fields[${widened}]`, { usual: optional }) ?? [];
  return (resource) => {
    const { usual, optional: unasked = [] } = attributeNames[resource.type] ?? {};
    const names = picked.get(resource.type) ?? usual;
    if (names === undefined) return resource;
    const asked = unasked.filter((name) => resource.type === widened && additional.includes(name));
    return { ...resource, attributes: selectMembers(resource.attributes, [...names, ...asked]) };
  };
}

/**
 * Returns the names that a parameter lists, or null if it is absent. Names of types that the
 * sandbox never returns are not checked.
 */
function parseNames(
  parameters: URLSearchParams,
  parameter: string,
  known: (typeof attributeNames)[string] | undefined,
): readonly string[] | null {
  const text = parameters.get(parameter);
  if (text === null) return null;
  const names = text.split(',');
  const all = known && [...known.usual, ...(known.optional ?? []), 'id'];
  for (const name of names) {
    if (all === undefined || all.includes(name.split('.')[0] ?? '')) continue;
    throw new ParameterError(parameter, `'${name}' is not an allowed field for this resource.`);
  }
  return names;
}

/** `location` selects a whole member, `location.city` one of its members. */
function selectMembers(object: JsonObject, names: readonly string[]): JsonObject {
  const tops = new Set(names.map((name) => name.split('.')[0] ?? ''));
  const kept = Object.entries(object).flatMap(([top, value]) => {
    if (!tops.has(top)) return [];
    if (names.includes(top) || !isJsonObject(value)) return [[top, value] as const];
    const below = names.filter((name) => name.startsWith(`${top}.`));
    const members = selectMembers(
      value,
      below.map((name) => name.slice(top.length + 1)),
    );
    return [[top, members] as const];
  });
  return Object.fromEntries(kept);
}

function checkParameterNames(parameters: URLSearchParams, rules: QueryRules): void {
  const known = new Set([
    ...rules.fields.map((type) => `fields[${type}]`),
    ...(rules.additionalFields === undefined
      ? []
      : [`additional-fields[${rules.additionalFields}]`]),
    ...(rules.include === undefined ? [] : ['include']),
    ...(rules.filter === undefined ? [] : ['filter']),
    ...(rules.sort === undefined ? [] : ['sort']),
    ...(rules.maxPageSize === undefined ? [] : ['page[size]']),
    'page[cursor]',
  ]);
  for (const name of parameters.keys()) {
    if (known.has(name)) continue;
    throw new ParameterError(
      name,
      `'${name}' is not an allowed query parameter for this resource.`,
    );
  }
}

function parseInclude(text: string | null, allowed: readonly string[]): readonly string[] {
  const names = text === null ? [] : text.split(',');
  for (const name of names) {
    if (allowed.includes(name)) continue;
    throw new ParameterError(
      'include',
      `'${name}' is not an allowed include parameter for this resource.`,
    );
  }
  return names;
}

function parseFilterParameter(text: string | null, context: FilterContext): readonly Condition[] {
  try {
    return text === null ? [] : parseFilter(text, context);
  } catch (error) {
    if (error instanceof FilterError) throw new ParameterError('filter', error.message);
    throw error;
  }
}

function parsePageSize(text: string | null, rules: QueryRules): number {
  if (text === null) return rules.pageSize ?? 20;
  const size = /^\d{1,5}$/.test(text) ? Number(text) : 0;
  const max = rules.maxPageSize ?? 100;
  if (size >= 1 && size <= max) return size;
  throw new ParameterError('page[size]', `Page size must be an integer between 1 and ${max}.`);
}

/** The cursor is opaque, so that clients do not construct one. */
function parsePageCursor(url: URL): number {
  const cursor = url.searchParams.get('page[cursor]');
  if (cursor === null) return 0;
  const text = findCursorInLink(cursor, url) ?? cursor;
  const offset = /^offset:(\d{1,12})$/.exec(Buffer.from(text, 'base64url').toString())?.[1];
  if (offset === undefined) throw new ParameterError('page[cursor]', 'Invalid cursor provided.');
  return Number(offset);
}

/**
 * Returns the cursor in a link that was sent as a whole. Klaviyo's clients receive `links.next` and
 * extract its cursor if it begins with https://; otherwise they send the whole link.
 */
function findCursorInLink(cursor: string, { pathname }: URL): string | null {
  if (!cursor.startsWith('http://') || !URL.canParse(cursor)) return null;
  const link = new URL(cursor);
  return link.pathname === pathname ? link.searchParams.get('page[cursor]') : null;
}

/** Reads the query and passes it to `respond`. An invalid query gets a 400 that names the parameter. */
export function withQuery(
  context: QueryContext,
  rules: QueryRules,
  respond: (query: Query) => ApiResponse,
): ApiResponse {
  let query: Query;
  try {
    query = parseQuery(context, rules);
  } catch (error) {
    if (!(error instanceof ParameterError)) throw error;
    const source = { parameter: error.parameter };
    return createErrorResponse(400, [createInvalidError(error.message, source)]);
  }
  return respond(query);
}

/** `included`: the resources that `include` asks for. */
export function respondWithResource(
  resource: Resource,
  query: Query,
  included: readonly Resource[] = [],
): ApiResponse {
  const links = { self: resource.links.self };
  const more = query.include.length > 0 ? { included: included.map(query.selectAttributes) } : {};
  return { status: 200, body: { data: query.selectAttributes(resource), links, ...more } };
}

/** Responds with type and id alone. */
export function respondWithIdentifier(
  identifier: Identifier,
  links: { readonly self: string; readonly related: string },
): ApiResponse {
  const { type, id } = identifier;
  return { status: 200, body: { data: { type, id }, links } };
}

export type PageOptions<T> = {
  readonly query: Query;
  readonly url: URL;
  readonly toResource: (entry: T) => Resource;
  /** Responds with type and id alone, as relationships do. */
  readonly identifiersOnly?: boolean;
  /** The resources that `include` asks for. */
  readonly listIncluded?: (entries: readonly T[]) => readonly Resource[];
};

/**
 * The cursor is a position in the list. It is stable for lists that no longer change, such as
 * import errors.
 */
export function respondWithPage<T>(entries: readonly T[], options: PageOptions<T>): ApiResponse {
  const { query, url } = options;
  const end = query.offset + query.size;
  const shown = entries.slice(query.offset, end);
  // Klaviyo's OpenAPI allows no null links, although live responses contain them.
  const links = {
    self: createPageLink(url, null),
    ...(end < entries.length ? { next: createPageLink(url, end) } : {}),
    ...(query.offset > 0
      ? { prev: createPageLink(url, Math.max(0, query.offset - query.size)) }
      : {}),
  };
  const included = options.listIncluded?.(shown) ?? [];
  return {
    status: 200,
    body: {
      data: shown.map((entry) => {
        const resource = options.toResource(entry);
        if (options.identifiersOnly !== true) return query.selectAttributes(resource);
        return { type: resource.type, id: resource.id };
      }),
      links,
      ...(query.include.length > 0 ? { included: included.map(query.selectAttributes) } : {}),
    },
  };
}

/** For resources that never exist in the sandbox. */
export function respondWithEmptyPage(query: Query, url: URL): ApiResponse {
  return respondWithPage<never>([], { query, url, toResource: (nothing) => nothing });
}

/**
 * The link to the same list from `offset` on; null means the position of the request. Brackets are
 * escaped, because a URI must not contain them.
 */
function createPageLink(url: URL, offset: number | null): string {
  const link = new URL(url);
  const cursor = Buffer.from(`offset:${offset ?? 0}`).toString('base64url');
  if (offset !== null) link.searchParams.set('page[cursor]', cursor);
  link.search = link.searchParams.toString();
  return link.href;
}

/**
 * Sorts by the field in `sort`, descending after a minus sign. The sort is stable; null keeps the
 * order.
 */
export function sortBy<T>(
  entries: readonly T[],
  sort: string | null,
  getOrder: (entry: T, field: string) => string | number,
): readonly T[] {
  if (sort === null) return entries;
  const sign = sort.startsWith('-') ? -1 : 1;
  const field = sort.replace(/^-/, '');
  return [...entries].sort((a, b) => {
    const [left, right] = [getOrder(a, field), getOrder(b, field)];
    return left === right ? 0 : sign * (left < right ? -1 : 1);
  });
}

/** Returns each field as an ascending and a descending sort. */
export function inBothDirections(...fields: readonly string[]): readonly string[] {
  return fields.flatMap((field) => [field, `-${field}`]);
}
