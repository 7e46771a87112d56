/**
 * Klaviyo's filter language (developers.klaviyo.com/en/docs/filtering_): `equals(email,"a")`,
 * `greater-than(created,2026-01-01T00:00:00Z)`, `any(id,["a","b"])`, `has(metric)`. Conditions
 * joined by commas or by `and(…)` must all hold.
 */

import { parseTimeMs } from './check-event.js';

/** How one field can be filtered. */
export type FilterField = {
  readonly type: 'text' | 'number' | 'time';
  readonly operators: readonly Operator[];
  /** If present, the only texts that are allowed. */
  readonly values?: readonly string[];
};

const operators = [
  'equals',
  'any',
  'has',
  'greater-than',
  'greater-or-equal',
  'less-than',
  'less-or-equal',
] as const;
export type Operator = (typeof operators)[number];

/** The fields by which an operation can be filtered. */
export type FilterRules = Readonly<Record<string, FilterField>>;

export const oneOfTexts: FilterField = { type: 'text', operators: ['equals', 'any'] };
export const equalText: FilterField = { type: 'text', operators: ['equals'] };
export const present: FilterField = { type: 'text', operators: ['has'] };
const comparisons = ['greater-than', 'greater-or-equal', 'less-than', 'less-or-equal'] as const;
export const comparedTime: FilterField = { type: 'time', operators: comparisons };
export const comparedNumber: FilterField = { type: 'number', operators: comparisons };
export const strictlyComparedTime: FilterField = {
  type: 'time',
  operators: ['greater-than', 'less-than'],
};

/** One comparison. Times are epoch ms. */
export type Condition = {
  readonly field: string;
  readonly operator: Operator;
  readonly values: readonly (string | number)[];
};

/** Thrown by `parseFilter`. The message goes to the client. */
export class FilterError extends Error {}

/** `now`: epoch ms. */
export type FilterContext = { readonly rules: FilterRules; readonly now: number };

/** Throws FilterError if the text is not a filter, or not one that the operation supports. */
export function parseFilter(text: string, { rules, now }: FilterContext): readonly Condition[] {
  const scanner: Scanner = { text, at: 0 };
  const calls = parseCalls(scanner);
  if (scanner.at < text.length) throw createFilterError(text);
  const conditions = calls.map((call) => toCondition(call, rules, text));
  for (const condition of conditions) {
    if (!startsInFuture(condition, rules, now)) continue;
    throw new FilterError('End date may not be in the future: YYYY-mm-ddTHH:MM:SS');
  }
  return conditions;
}

/**
 * A filter for times after a future time gets a 400. Two integrators recorded this live, one of
 * them with its text.
 */
function startsInFuture(
  { field, operator, values }: Condition,
  rules: FilterRules,
  now: number,
): boolean {
  if (rules[field]?.type !== 'time' || !operator.startsWith('greater-')) return false;
  return values.some((value) => typeof value === 'number' && value > now);
}

/** `getValue` returns a field of the resource: text, a number or epoch ms. */
export function isMatch(
  conditions: readonly Condition[],
  getValue: (field: string) => string | number | null | undefined,
): boolean {
  return conditions.every(({ field, operator, values }) => {
    const value = getValue(field) ?? null;
    if (operator === 'has') return value !== null;
    if (operator === 'equals' || operator === 'any')
      return value !== null && values.includes(value);
    const [limit] = values;
    if (typeof value !== 'number' || typeof limit !== 'number') return false;
    return compareNumbers(value, operator, limit);
  });
}

function compareNumbers(
  value: number,
  operator: (typeof comparisons)[number],
  limit: number,
): boolean {
  switch (operator) {
    case 'greater-than':
      return value > limit;
    case 'greater-or-equal':
      return value >= limit;
    case 'less-than':
      return value < limit;
    case 'less-or-equal':
      return value <= limit;
  }
}

/** One value of a condition. Quoted values are text; unquoted ones are numbers or times. */
type Scalar = { readonly text: string; readonly isQuoted: boolean };
type Call = {
  readonly operator: string;
  readonly field: string;
  readonly isList: boolean;
  readonly scalars: readonly Scalar[];
};

function toCondition(call: Call, rules: FilterRules, text: string): Condition {
  const { field, scalars } = call;
  const rule = Object.hasOwn(rules, field) ? rules[field] : undefined;
  if (rule === undefined) {
    throw new FilterError(`'${field}' is not a filterable field for this resource.`);
  }
  const operator = operators.find((known) => known === call.operator);
  if (operator === undefined || !rule.operators.includes(operator)) {
    throw new FilterError(
      `'${call.operator}' is not an allowed operator for the field '${field}'.`,
    );
  }
  const takesList = operator === 'any' || (operator === 'equals' && rule.operators.includes('any'));
  const isFine =
    operator === 'has'
      ? scalars.length === 0 && !call.isList
      : scalars.length > 0 && (call.isList ? takesList : operator !== 'any');
  if (!isFine) throw createFilterError(text);
  return { field, operator, values: scalars.map((scalar) => parseValue(scalar, rule, text)) };
}

function parseValue(scalar: Scalar, rule: FilterField, text: string): string | number {
  const { type, values } = rule;
  if (values?.includes(scalar.text) === false) {
    throw new FilterError(`'${scalar.text}' is not an allowed value for this field.`);
  }
  if (type === 'text' && scalar.isQuoted) return scalar.text;
  const number =
    type === 'time'
      ? parseTimeMs(scalar.text)
      : type === 'number' && !scalar.isQuoted && /^-?\d+(?:\.\d+)?$/.test(scalar.text)
        ? Number(scalar.text)
        : undefined;
  if (number === undefined) throw createFilterError(text);
  return number;
}

type Scanner = { readonly text: string; at: number };

/** Returns the next token if it matches the sticky pattern `form`, and advances. */
function readFilterToken(scanner: Scanner, form: RegExp): string | undefined {
  form.lastIndex = scanner.at;
  const found = form.exec(scanner.text)?.[0];
  if (found !== undefined) scanner.at += found.length;
  return found;
}

function expectToken(scanner: Scanner, form: RegExp): string {
  const found = readFilterToken(scanner, form);
  if (found === undefined) throw createFilterError(scanner.text);
  return found;
}

/** Parses calls separated by commas. `and(…)` is replaced by its content. */
function parseCalls(scanner: Scanner): readonly Call[] {
  const calls: Call[] = [];
  do {
    const operator = expectToken(scanner, /[a-z-]+(?=\()/y);
    expectToken(scanner, /\(\s*/y);
    if (operator === 'and') calls.push(...parseCalls(scanner));
    else calls.push(parseCall(scanner, operator));
    expectToken(scanner, /\s*\)/y);
  } while (readFilterToken(scanner, /\s*,\s*/y) !== undefined);
  return calls;
}

function parseCall(scanner: Scanner, operator: string): Call {
  const field = expectToken(scanner, /[\w.]+/y);
  if (readFilterToken(scanner, /\s*,\s*/y) === undefined)
    return { operator, field, isList: false, scalars: [] };
  if (readFilterToken(scanner, /\[\s*/y) === undefined) {
    return { operator, field, isList: false, scalars: [parseScalar(scanner)] };
  }
  const scalars: Scalar[] = [];
  do scalars.push(parseScalar(scanner));
  while (readFilterToken(scanner, /\s*,\s*/y) !== undefined);
  expectToken(scanner, /\s*\]/y);
  return { operator, field, isList: true, scalars };
}

/** Both kinds of quotes are allowed. A backslash escapes the next character. */
function parseScalar(scanner: Scanner): Scalar {
  const quoted = readFilterToken(scanner, /"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*'/sy);
  if (quoted === undefined) {
    return { text: expectToken(scanner, /[^\s,()[\]"']+/y), isQuoted: false };
  }
  return { text: quoted.slice(1, -1).replace(/\\(.)/gs, '$1'), isQuoted: true };
}

function createFilterError(text: string): FilterError {
  return new FilterError(`Invalid filter provided: '${text}'`);
}
