import { toErrors, toInvalid } from './answer.js';
import type { Answer } from './answer.js';
import { FilterError, toConditions } from './filters.js';
import type { Condition, FilterContext, FilterRules } from './filters.js';
import { isObject } from './json.js';
import type { JsonObject } from './json.js';
import { attributeNames } from './resources.js';
import type { Identifier, Resource } from './resources.js';

/** Which query parameters an operation takes, as in Klaviyo's OpenAPI. */
export type QueryRules = {
  /** Types that `fields[type]` may narrow. */
  readonly fields: readonly string[];
  /** The type that `additional-fields[type]` may widen. */
  readonly additionalFields?: string;
  readonly include?: readonly string[];
  readonly filter?: FilterRules;
  readonly sort?: readonly string[];
  readonly pageSize?: number;
  /** Where it is absent, `page[size]` is refused. */
  readonly maxPageSize?: number;
};

/** A query that the operation understands. */
export type Query = {
  readonly ok: true;
  /** All of them must hold. */
  readonly filter: readonly Condition[];
  readonly sort: string | null;
  readonly include: readonly string[];
  readonly size: number;
  readonly offset: number;
  /** Leaves the attributes that are shown unasked, and those that `fields` and `additional-fields` name. */
  readonly pick: (resource: Resource) => Resource;
};

/** A request as far as its query goes. `now`: epoch ms. */
type Asked = { readonly url: URL; readonly now: number };

type Refused = { readonly ok: false; readonly refused: Answer };

class BadParameter extends Error {
  readonly parameter: string;

  constructor(parameter: string, detail: string) {
    super(detail);
    this.parameter = parameter;
  }
}

/** Reads the query, or gives the 400 that names the parameter. */
function toQuery(asked: Asked, rules: QueryRules): Query | Refused {
  try {
    return read(asked, rules);
  } catch (error) {
    if (!(error instanceof BadParameter)) throw error;
    const source = { parameter: error.parameter };
    return { ok: false, refused: toErrors(400, [toInvalid(error.message, source)]) };
  }
}

function read({ url, now }: Asked, rules: QueryRules): Query {
  const parameters = url.searchParams;
  refuseUnknown(parameters, rules);
  const sort = parameters.get('sort');
  if (sort !== null && !rules.sort?.includes(sort)) {
    throw new BadParameter('sort', `'${sort}' is not an allowed sort field for this resource.`);
  }
  return {
    ok: true,
    filter: toFilter(parameters.get('filter'), { rules: rules.filter ?? {}, now }),
    sort,
    include: toInclude(parameters.get('include'), rules.include ?? []),
    size: toSize(parameters.get('page[size]'), rules),
    offset: toOffset(url),
    pick: createPick(parameters, rules),
  };
}

function createPick(parameters: URLSearchParams, rules: QueryRules): Query['pick'] {
  const picked = new Map(
    rules.fields.flatMap((type) => {
      const names = toNames(parameters, `fields[${type}]`, attributeNames[type]);
      return names === null ? [] : [[type, names] as const];
    }),
  );
  const widened = rules.additionalFields ?? '';
  const { optional = [] } = attributeNames[widened] ?? {};
  const additional =
    toNames(parameters, `additional-fields[${widened}]`, { usual: optional }) ?? [];
  return (resource) => {
    const { usual, optional: unasked = [] } = attributeNames[resource.type] ?? {};
    const names = picked.get(resource.type) ?? usual;
    if (names === undefined) return resource;
    const asked = unasked.filter((name) => resource.type === widened && additional.includes(name));
    return { ...resource, attributes: pickMembers(resource.attributes, [...names, ...asked]) };
  };
}

/** The names a parameter lists; null where it is absent. Types that the sandbox never shows may have any. */
function toNames(
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
    throw new BadParameter(parameter, `'${name}' is not an allowed field for this resource.`);
  }
  return names;
}

/** `location` keeps a whole member, `location.city` one of its members. */
function pickMembers(object: JsonObject, names: readonly string[]): JsonObject {
  const tops = new Set(names.map((name) => name.split('.')[0] ?? ''));
  const kept = Object.entries(object).flatMap(([top, value]) => {
    if (!tops.has(top)) return [];
    if (names.includes(top) || !isObject(value)) return [[top, value] as const];
    const below = names.filter((name) => name.startsWith(`${top}.`));
    const members = pickMembers(
      value,
      below.map((name) => name.slice(top.length + 1)),
    );
    return [[top, members] as const];
  });
  return Object.fromEntries(kept);
}

function refuseUnknown(parameters: URLSearchParams, rules: QueryRules): void {
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

function toFilter(text: string | null, context: FilterContext): readonly Condition[] {
  try {
    return text === null ? [] : toConditions(text, context);
  } catch (error) {
    if (error instanceof FilterError) throw new BadParameter('filter', error.message);
    throw error;
  }
}

function toSize(text: string | null, rules: QueryRules): number {
  if (text === null) return rules.pageSize ?? 20;
  const size = /^\d{1,5}$/.test(text) ? Number(text) : 0;
  const max = rules.maxPageSize ?? 100;
  if (size >= 1 && size <= max) return size;
  throw new BadParameter('page[size]', `Page size must be an integer between 1 and ${max}.`);
}

/** Opaque to the sender, so that nobody builds one. */
function toOffset(url: URL): number {
  const cursor = url.searchParams.get('page[cursor]');
  if (cursor === null) return 0;
  const text = toLinkedCursor(cursor, url) ?? cursor;
  const offset = /^offset:(\d{1,12})$/.exec(Buffer.from(text, 'base64url').toString())?.[1];
  if (offset === undefined) throw new BadParameter('page[cursor]', 'Invalid cursor provided.');
  return Number(offset);
}

/**
 * The cursor of a link that was sent whole. Klaviyo's clients are given `links.next` as it is; they
 * take the cursor out of it where it begins with https://, and send it as it is where it does not.
 */
function toLinkedCursor(cursor: string, { pathname }: URL): string | null {
  if (!cursor.startsWith('http://') || !URL.canParse(cursor)) return null;
  const link = new URL(cursor);
  return link.pathname === pathname ? link.searchParams.get('page[cursor]') : null;
}

/** Answers a request with a query: reads it and, where it is fine, asks for the answer. */
export function withQuery(
  asked: Asked,
  rules: QueryRules,
  answer: (query: Query) => Answer,
): Answer {
  const query = toQuery(asked, rules);
  return query.ok ? answer(query) : query.refused;
}

/** One resource. `included`: what `include` asked for. */
export function toOne(
  resource: Resource,
  query: Query,
  included: readonly Resource[] = [],
): Answer {
  const links = { self: resource.links.self };
  const more = query.include.length > 0 ? { included: included.map(query.pick) } : {};
  return { status: 200, body: { data: query.pick(resource), links, ...more } };
}

/** What a relationship leads to, without its attributes. */
export function toRelated(
  identifier: Identifier,
  links: { readonly self: string; readonly related: string },
): Answer {
  const { type, id } = identifier;
  return { status: 200, body: { data: { type, id }, links } };
}

export type PageOptions<T> = {
  readonly query: Query;
  readonly url: URL;
  readonly toResource: (entry: T) => Resource;
  /** Shows type and id alone, as a relationship does. */
  readonly identifiersOnly?: boolean;
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
      data: shown.map((entry) => {
        const resource = options.toResource(entry);
        if (options.identifiersOnly !== true) return query.pick(resource);
        return { type: resource.type, id: resource.id };
      }),
      links,
      ...(query.include.length > 0 ? { included: included.map(query.pick) } : {}),
    },
  };
}

/** A list of what the sandbox never has. */
export function toEmptyPage(query: Query, url: URL): Answer {
  return toPage<never>([], { query, url, toResource: (nothing) => nothing });
}

/** The same list from `offset` on; null is where the request was. Brackets are escaped: a raw one is no URI. */
function toLink(url: URL, offset: number | null): string {
  const link = new URL(url);
  const cursor = Buffer.from(`offset:${offset ?? 0}`).toString('base64url');
  if (offset !== null) link.searchParams.set('page[cursor]', cursor);
  link.search = link.searchParams.toString();
  return link.href;
}
