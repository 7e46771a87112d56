import type { IncomingHttpHeaders } from 'node:http';
import { ExactInteger, harmfulNames, isJsonObject, type JsonObject } from '../../json/json.js';
import { asId, asText } from '../json.js';
import { compilePath, type Path } from './path.js';

/**
 * The expression that a mapping file writes in place of a value. It is one of:
 * - `$.a.b`: the first value that this JSONPath finds in the body
 * - `@.a`: the same, in the element of `each`
 * - `header:X-Name`: a header
 * - `order-{$.id}`: a text with references in it; absent if one of them is absent
 * - a list: its first member that is present
 * - `{ $all: '$.items[*].name' }`: a list of all values that the path finds
 * - `{ $constant: … }`: this value, even if it looks like another expression
 * - an object: an object of the same names with the values of its expressions
 * - any other text, number, true or false: itself
 */
export type Expression = unknown;

/** The values that an expression reads. */
export type Scope = {
  readonly body: unknown;
  /** The element of `each`. Undefined if the rule has no `each`. */
  readonly element: unknown;
  readonly headers: IncomingHttpHeaders;
};

export type FoundValue = { readonly value: unknown; readonly pointer: string };

export type Compiled = {
  /** Returns the first value that is present. `value` is undefined if none is. */
  readonly find: (scope: Scope) => FoundValue;
  /** Returns all values that are present. */
  readonly findAll: (scope: Scope) => readonly unknown[];
  /** True if the value depends on the element of `each`. */
  readonly isOfElement: boolean;
};

export type ExpressionFault = {
  readonly path: readonly (string | number)[];
  readonly detail: string;
};

/** Compiles an expression. Returns its faults if it is not valid. `hasElement`: the rule has `each`. */
export function compileExpression(
  expression: Expression,
  hasElement: boolean,
): Compiled | readonly ExpressionFault[] {
  if (typeof expression === 'string') return compileText(expression, hasElement);
  if (Array.isArray(expression)) {
    const parts = compileParts(Object.entries(expression).map(([at, part]) => [Number(at), part]));
    return parts.ok ? compileAlternatives(parts.compiled) : parts.faults;
  }
  if (!isJsonObject(expression)) return compileConstant(expression ?? undefined);
  if ('$constant' in expression) return compileConstant(sanitizeValue(expression.$constant));
  if ('$all' in expression) return compileAll(expression.$all, hasElement);
  const entries = Object.entries(expression);
  const parts = compileParts(entries);
  if (!parts.ok) return parts.faults;
  const names = entries.map(([name]) => name);
  return compileObjectExpression(names, parts.compiled);

  function compileParts(members: readonly (readonly [string | number, unknown])[]) {
    const compiled: Compiled[] = [];
    const faults: ExpressionFault[] = [];
    for (const [name, part] of members) {
      if (typeof name === 'string' && harmfulNames.has(name)) {
        faults.push({ path: [name], detail: 'is a name that is not allowed' });
      }
      const one = compileExpression(part, hasElement);
      if (isFaults(one))
        faults.push(...one.map((each) => ({ ...each, path: [name, ...each.path] })));
      else compiled.push(one);
    }
    return faults.length > 0 ? { ok: false as const, faults } : { ok: true as const, compiled };
  }
}

export function isFaults(
  compiled: Compiled | readonly ExpressionFault[],
): compiled is readonly ExpressionFault[] {
  return Array.isArray(compiled);
}

const nothing: FoundValue = { value: undefined, pointer: '' };

function compileText(text: string, hasElement: boolean): Compiled | readonly ExpressionFault[] {
  if (isReference(text)) return compileReference(text, hasElement);
  const parts = text.split(/\{((?:\$|@|header:)[^{}]*)\}/);
  if (parts.length === 1) return compileConstant(text);
  const texts = parts.filter((_, at) => at % 2 === 0);
  const references: Compiled[] = [];
  for (const reference of parts.filter((_, at) => at % 2 === 1)) {
    const compiled = compileReference(reference, hasElement);
    if (isFaults(compiled)) return compiled;
    references.push(compiled);
  }
  const fillTemplate = (scope: Scope): string | undefined => {
    const values = references.map((each) => asId(each.find(scope).value));
    if (values.includes(undefined)) return undefined;
    return texts.map((fixed, at) => fixed + (values[at] ?? '')).join('');
  };
  return {
    isOfElement: references.some(({ isOfElement }) => isOfElement),
    find: (scope) => ({ value: fillTemplate(scope), pointer: '' }),
    findAll: (scope) => [fillTemplate(scope)].filter((value) => value !== undefined),
  };
}

const isReference = (text: string): boolean => /^(?:[$@](?:$|[.[])|header:)/.test(text);

function compileReference(
  text: string,
  hasElement: boolean,
): Compiled | readonly ExpressionFault[] {
  const [, header] = /^header:(.*)$/.exec(text) ?? [];
  if (header !== undefined) return compileHeader(header);
  const isOfElement = text.startsWith('@');
  if (isOfElement && !hasElement) {
    return [{ path: [], detail: 'begins with @, which needs an `each` in this rule' }];
  }
  const path = compilePath(isOfElement ? `$${text.slice(1)}` : text);
  if (typeof path === 'string') return [{ path: [], detail: path }];
  return compilePathReference(path, isOfElement);
}

function compileHeader(name: string): Compiled | readonly ExpressionFault[] {
  if (!/^[\w-]+$/.test(name)) return [{ path: [], detail: 'must name a header: header:X-Name' }];
  const read = ({ headers }: Scope): string | undefined => asText(headers[name.toLowerCase()]);
  return {
    isOfElement: false,
    find: (scope) => ({ value: read(scope), pointer: '' }),
    findAll: (scope) => [read(scope)].filter((value) => value !== undefined),
  };
}

function compilePathReference(path: Path, isOfElement: boolean): Compiled {
  const findAll = ({ body, element }: Scope): readonly unknown[] =>
    path.findAll(isOfElement ? element : body).filter(isPresent);
  return {
    isOfElement,
    find: (scope) => ({ value: sanitizeValue(findAll(scope)[0]), pointer: path.pointer }),
    findAll: (scope) => findAll(scope).map((value) => sanitizeValue(value)),
  };
}

function compileConstant(value: unknown): Compiled {
  return {
    isOfElement: false,
    find: () => ({ value, pointer: '' }),
    findAll: () => (value === undefined ? [] : [value]),
  };
}

function compileAll(text: unknown, hasElement: boolean): Compiled | readonly ExpressionFault[] {
  if (typeof text !== 'string' || !isReference(text)) {
    return [{ path: ['$all'], detail: 'must be a JSONPath' }];
  }
  const compiled = compileReference(text, hasElement);
  if (isFaults(compiled)) return compiled.map((each) => ({ ...each, path: ['$all'] }));
  const find = (scope: Scope): FoundValue => {
    const all = compiled.findAll(scope);
    return all.length === 0 ? nothing : { value: all, pointer: '' };
  };
  return { ...compiled, find };
}

function compileAlternatives(members: readonly Compiled[]): Compiled {
  const find = (scope: Scope): FoundValue => {
    for (const member of members) {
      const found = member.find(scope);
      if (found.value !== undefined) return found;
    }
    return nothing;
  };
  return {
    isOfElement: members.some(({ isOfElement }) => isOfElement),
    find,
    findAll: (scope) => [find(scope).value].filter((value) => value !== undefined),
  };
}

function compileObjectExpression(names: readonly string[], members: readonly Compiled[]): Compiled {
  const read = (scope: Scope): JsonObject | undefined => {
    const found = members.flatMap((member, at): [string, unknown][] => {
      const { value } = member.find(scope);
      return value === undefined ? [] : [[names[at] ?? '', value]];
    });
    return found.length === 0 ? undefined : Object.fromEntries(found);
  };
  return {
    isOfElement: members.some(({ isOfElement }) => isOfElement),
    find: (scope) => ({ value: read(scope), pointer: '' }),
    findAll: (scope) => [read(scope)].filter((value) => value !== undefined),
  };
}

/** Returns false for null and blank text, which count as absent in all sources. */
function isPresent(value: unknown): boolean {
  if (value === undefined || value === null) return false;
  return typeof value !== 'string' || /\S/.test(value);
}

/** Maximum levels of nesting in a value; deeper parts are dropped. Klaviyo accepts fewer. */
const maxLevels = 50;
const surrogate = /\p{Surrogate}/gu;

/** Replaces lone surrogates in a value of the body and drops members with harmful names. */
function sanitizeValue(value: unknown, level = 0): unknown {
  if (typeof value === 'string') return value.replace(surrogate, '\ufffd');
  if (typeof value !== 'object' || value === null || value instanceof ExactInteger) return value;
  if (level > maxLevels) return undefined;
  if (Array.isArray(value)) return value.map((member) => sanitizeValue(member, level + 1) ?? null);
  const members = Object.entries(value).filter(([name]) => !harmfulNames.has(name));
  return Object.fromEntries(
    members.map(([name, member]) => [
      name.replace(surrogate, '\ufffd'),
      sanitizeValue(member, level + 1),
    ]),
  );
}
