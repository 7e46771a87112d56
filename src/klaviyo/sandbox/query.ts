import { toErrors, toInvalid } from './answer.js';
import type { Answer } from './answer.js';
import type { Resource } from './resources.js';

/** Which query parameters an operation takes, as in Klaviyo's OpenAPI. */
export type QueryRules = {
  /** Types that `fields[type]` may narrow. */
  readonly fields: readonly string[];
  readonly additionalFields?: boolean;
  readonly include?: readonly string[];
  /** Fields that `filter=equals(…)` and `any(…)` may name; the sandbox knows no other operator. */
  readonly filter?: readonly string[];
  readonly sort?: readonly string[];
  readonly pageSize?: number;
  /** Where it is absent, `page[size]` is refused. */
  readonly maxPageSize?: number;
};

export type Filter = { readonly field: string; readonly values: readonly string[] };

/** A query that the operation understands. */
export type Query = {
  readonly ok: true;
  readonly filter: Filter | null;
  readonly sort: string | null;
  readonly include: readonly string[];
  readonly size: number;
  readonly offset: number;
  /** Leaves the attributes `fields[type]` asks for. */
  readonly pick: (resource: Resource) => Resource;
};

type Refused = { readonly ok: false; readonly refused: Answer };

class BadParameter extends Error {
  readonly parameter: string;

  constructor(parameter: string, detail: string) {
    super(detail);
    this.parameter = parameter;
  }
}

/** Reads the query, or gives the 400 that names the parameter. */
export function toQuery(url: URL, rules: QueryRules): Query | Refused {
  try {
    return read(url.searchParams, rules);
  } catch (error) {
    if (!(error instanceof BadParameter)) throw error;
    const source = { parameter: error.parameter };
    return { ok: false, refused: toErrors(400, [toInvalid(error.message, source)]) };
  }
}

function read(parameters: URLSearchParams, rules: QueryRules): Query {
  refuseUnknown(parameters, rules);
  const picked = new Map(
    rules.fields.flatMap((type) => {
      const names = parameters.get(`fields[${type}]`);
      return names === null ? [] : [[type, new Set(names.split(','))] as const];
    }),
  );
  const sort = parameters.get('sort');
  if (sort !== null && !rules.sort?.includes(sort)) {
    throw new BadParameter('sort', `'${sort}' is not an allowed sort field for this resource.`);
  }
  return {
    ok: true,
    filter: toFilter(parameters.get('filter'), rules.filter ?? []),
    sort,
    include: toInclude(parameters.get('include'), rules.include ?? []),
    size: toSize(parameters.get('page[size]'), rules),
    offset: toOffset(parameters.get('page[cursor]')),
    pick(resource) {
      const names = picked.get(resource.type);
      if (names === undefined) return resource;
      const kept = Object.entries(resource.attributes).filter(([name]) => names.has(name));
      return { ...resource, attributes: Object.fromEntries(kept) };
    },
  };
}

function refuseUnknown(parameters: URLSearchParams, rules: QueryRules): void {
  const known = new Set([
    ...rules.fields.map((type) => `fields[${type}]`),
    ...(rules.additionalFields === true ? ['additional-fields[profile]'] : []),
    ...(rules.include === undefined ? [] : ['include']),
    ...(rules.filter === undefined ? [] : ['filter']),
    ...(rules.sort === undefined ? [] : ['sort']),
    ...(rules.maxPageSize === undefined ? [] : ['page[size]']),
    'page[cursor]',
  ]);
  for (const name of parameters.keys()) {
    if (known.has(name)) continue;
    throw new BadParameter(name, `'${name}' is not an allowed query parameter for this resource.`);
  }
}

function toInclude(text: string | null, allowed: readonly string[]): readonly string[] {
  const names = text === null ? [] : text.split(',');
  for (const name of names) {
    if (allowed.includes(name)) continue;
    throw new BadParameter(
      'include',
      `'${name}' is not an allowed include parameter for this resource.`,
    );
  }
  return names;
}

/** `equals(field,"value")` or `any(field,["a","b"])`, with either kind of quotes. */
function toFilter(text: string | null, allowed: readonly string[]): Filter | null {
  if (text === null) return null;
  const [, operator, field = '', rest = ''] =
    /^(equals|any)\(([\w.]+),\s*(.*)\)$/s.exec(text) ?? [];
  const list = operator === 'any' ? (/^\[(.*)\]$/s.exec(rest)?.[1] ?? '') : rest;
  const form = /^(?:"[^"]*"|'[^']*')(?:,\s*(?:"[^"]*"|'[^']*'))*$/;
  if (operator === undefined || !form.test(list)) {
    throw new BadParameter('filter', `Invalid filter provided: '${text}'`);
  }
  if (!allowed.includes(field)) {
    throw new BadParameter('filter', `'${field}' is not a filterable field for this resource.`);
  }
  const values = [...list.matchAll(/"([^"]*)"|'([^']*)'/g)].map(
    ([, double, single]) => double ?? single ?? '',
  );
  if (operator === 'equals' && values.length !== 1) {
    throw new BadParameter('filter', `Invalid filter provided: '${text}'`);
  }
  return { field, values };
}

function toSize(text: string | null, rules: QueryRules): number {
  if (text === null) return rules.pageSize ?? 20;
  const size = /^\d{1,5}$/.test(text) ? Number(text) : 0;
  const max = rules.maxPageSize ?? 100;
  if (size >= 1 && size <= max) return size;
  throw new BadParameter('page[size]', `Page size must be an integer between 1 and ${max}.`);
}

/** Opaque to the sender, so that nobody builds one. */
function toOffset(cursor: string | null): number {
  if (cursor === null) return 0;
  const offset = /^offset:(\d{1,12})$/.exec(Buffer.from(cursor, 'base64url').toString())?.[1];
  if (offset === undefined) throw new BadParameter('page[cursor]', 'Invalid cursor provided.');
  return Number(offset);
}

export type PageOptions<T> = {
  readonly query: Query;
  readonly url: URL;
  readonly toResource: (entry: T) => Resource;
  /** Resources that `include` asked for. */
  readonly toIncluded?: (entries: readonly T[]) => readonly Resource[];
};

/** One page. A cursor is the place in the list: stable for what no longer changes, such as import errors. */
export function toPage<T>(entries: readonly T[], options: PageOptions<T>): Answer {
  const { query, url } = options;
  const end = query.offset + query.size;
  const shown = entries.slice(query.offset, end);
  // A link that leads nowhere is left out: the OpenAPI has no null there, though live answers do.
  const links = {
    self: toLink(url, null),
    ...(end < entries.length ? { next: toLink(url, end) } : {}),
    ...(query.offset > 0 ? { prev: toLink(url, Math.max(0, query.offset - query.size)) } : {}),
  };
  const included = options.toIncluded?.(shown) ?? [];
  return {
    status: 200,
    body: {
      data: shown.map((entry) => query.pick(options.toResource(entry))),
      links,
      ...(query.include.length > 0 ? { included: included.map(query.pick) } : {}),
    },
  };
}

/** The same list from `offset` on; null is where the request was. Brackets are escaped: a raw one is no URI. */
function toLink(url: URL, offset: number | null): string {
  const link = new URL(url);
  const cursor = Buffer.from(`offset:${offset ?? 0}`).toString('base64url');
  if (offset !== null) link.searchParams.set('page[cursor]', cursor);
  link.search = link.searchParams.toString();
  return link.href;
}
