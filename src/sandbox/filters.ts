import { toTimeMs } from './check-event.js';

/**
 * Klaviyo's filters: `equals(email,"a")`, `greater-than(created,2026-01-01T00:00:00Z)`,
 * `any(id,["a","b"])`, `has(metric)`. All of those that are joined by commas, or by `and(…)`, must hold.
 */
export type FilterField = {
  readonly type: 'text' | 'number' | 'time';
  readonly operators: readonly Operator[];
  /** Where it is there, a text has to be one of these. */
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

/** What an operation can be filtered by. */
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

/** Thrown by `toConditions`, in words for the sender. */
export class FilterError extends Error {}

/** What decides about a filter beside its text. `now`: epoch ms. */
export type FilterContext = { readonly rules: FilterRules; readonly now: number };

/** Throws FilterError where the text is no filter, or one that the operation does not take. */
export function toConditions(text: string, { rules, now }: FilterContext): readonly Condition[] {
  const scanner: Scanner = { text, at: 0 };
  const calls = takeCalls(scanner);
  if (scanner.at < text.length) throw toInvalidFilter(text);
  const conditions = calls.map((call) => toCondition(call, rules, text));
  for (const condition of conditions) {
    if (!isAfterFuture(condition, rules, now)) continue;
    throw new FilterError('End date may not be in the future: YYYY-mm-ddTHH:MM:SS');
  }
  return conditions;
}

/** What happened after a time that is still to come: a 400 (recorded live by two integrators, once with its words). */
function isAfterFuture(
  { field, operator, values }: Condition,
  rules: FilterRules,
  now: number,
): boolean {
  if (rules[field]?.type !== 'time' || !operator.startsWith('greater-')) return false;
  return values.some((value) => typeof value === 'number' && value > now);
}

/** `toValue` gives what the resource has for a field: text, a number or epoch ms. */
export function isMatch(
  conditions: readonly Condition[],
  toValue: (field: string) => string | number | null | undefined,
): boolean {
  return conditions.every(({ field, operator, values }) => {
    const value = toValue(field) ?? null;
    if (operator === 'has') return value !== null;
    if (operator === 'equals' || operator === 'any')
      return value !== null && values.includes(value);
    const [limit] = values;
    if (typeof value !== 'number' || typeof limit !== 'number') return false;
    return compare(value, operator, limit);
  });
}

function compare(value: number, operator: (typeof comparisons)[number], limit: number): boolean {
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

/** One value as it is written: quoted values are text, bare ones are numbers and times. */
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
  if (!isFine) throw toInvalidFilter(text);
  return { field, operator, values: scalars.map((scalar) => toValue(scalar, rule, text)) };
}

function toValue(scalar: Scalar, rule: FilterField, text: string): string | number {
  const { type, values } = rule;
  if (values?.includes(scalar.text) === false) {
    throw new FilterError(`'${scalar.text}' is not an allowed value for this field.`);
  }
  if (type === 'text' && scalar.isQuoted) return scalar.text;
  const number =
    type === 'time'
      ? toTimeMs(scalar.text)
      : type === 'number' && !scalar.isQuoted && /^-?\d+(?:\.\d+)?$/.test(scalar.text)
        ? Number(scalar.text)
        : undefined;
  if (number === undefined) throw toInvalidFilter(text);
  return number;
}

type Scanner = { readonly text: string; at: number };

/** The next piece of text that has the form, or undefined; `form` is sticky. */
function take(scanner: Scanner, form: RegExp): string | undefined {
  form.lastIndex = scanner.at;
  const found = form.exec(scanner.text)?.[0];
  if (found !== undefined) scanner.at += found.length;
  return found;
}

function expectText(scanner: Scanner, form: RegExp): string {
  const found = take(scanner, form);
  if (found === undefined) throw toInvalidFilter(scanner.text);
  return found;
}

/** Calls with commas between them; `and(…)` is as good as what is in it. */
function takeCalls(scanner: Scanner): readonly Call[] {
  const calls: Call[] = [];
  do {
    const operator = expectText(scanner, /[a-z-]+(?=\()/y);
    expectText(scanner, /\(\s*/y);
    if (operator === 'and') calls.push(...takeCalls(scanner));
    else calls.push(takeCall(scanner, operator));
    expectText(scanner, /\s*\)/y);
  } while (take(scanner, /\s*,\s*/y) !== undefined);
  return calls;
}

function takeCall(scanner: Scanner, operator: string): Call {
  const field = expectText(scanner, /[\w.]+/y);
  if (take(scanner, /\s*,\s*/y) === undefined)
    return { operator, field, isList: false, scalars: [] };
  if (take(scanner, /\[\s*/y) === undefined) {
    return { operator, field, isList: false, scalars: [takeScalar(scanner)] };
  }
  const scalars: Scalar[] = [];
  do scalars.push(takeScalar(scanner));
  while (take(scanner, /\s*,\s*/y) !== undefined);
  expectText(scanner, /\s*\]/y);
  return { operator, field, isList: true, scalars };
}

/** With either kind of quotes; a backslash keeps the character after it. */
function takeScalar(scanner: Scanner): Scalar {
  const quoted = take(scanner, /"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*'/sy);
  if (quoted === undefined) {
    return { text: expectText(scanner, /[^\s,()[\]"']+/y), isQuoted: false };
  }
  return { text: quoted.slice(1, -1).replace(/\\(.)/gs, '$1'), isQuoted: true };
}

function toInvalidFilter(text: string): FilterError {
  return new FilterError(`Invalid filter provided: '${text}'`);
}
