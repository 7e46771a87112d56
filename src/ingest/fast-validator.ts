import type { z } from 'zod';
import { isJsonObject } from '../json/json.js';

/** Returns true if the schema accepts the value unchanged. False: the schema must decide. */
export type FastValidator = (value: unknown) => boolean;

const neverValid: FastValidator = () => false;

/**
 * Compiles a schema into one function that accepts valid values quickly: zod creates several objects for
 * each field it checks (docs/performance.md). The schema stays the only source of the rules. A value that
 * the function does not accept goes to zod, which rejects it with issues, or accepts it after all. For kinds
 * of schemas and checks that are not handled here, the function accepts nothing.
 */
export function createFastValidator(schema: z.core.$ZodType): FastValidator {
  const { def } = (schema as z.core.$ZodTypes)._zod;
  switch (def.type) {
    case 'optional':
      return orEqual(undefined, createFastValidator(def.innerType));
    case 'nullable':
      return orEqual(null, createFastValidator(def.innerType));
    case 'unknown':
      return compileChecks(def.checks);
    case 'string':
      return compileString(def);
    case 'object':
      return compileObject(def);
    default:
      return neverValid;
  }
}

const orEqual =
  (one: null | undefined, validator: FastValidator): FastValidator =>
  (value) =>
    value === one || validator(value);

function compileString(def: z.core.$ZodStringDef): FastValidator {
  const pattern = 'format' in def ? compilePattern(def as z.core.$ZodStringFormatDef) : null;
  const checks = compileChecks(def.checks);
  return (value) =>
    typeof value === 'string' && (pattern === null || pattern(value)) && checks(value);
}

function compileObject({ shape, catchall, checks }: z.core.$ZodObjectDef): FastValidator {
  const all = Object.entries(shape);
  const required = all.filter(([, field]) => !isOptional(field)).map(([name]) => name);
  const fields = new Map(all.map(([name, field]) => [name, createFastValidator(field)]));
  // zod drops this name, and all unknown names if there is no catchall.
  fields.set('__proto__', neverValid);
  const others = catchall === undefined ? neverValid : createFastValidator(catchall);
  const passesChecks = compileChecks(checks);
  return (value) => {
    if (!isJsonObject(value)) return false;
    for (const name of required) if (!Object.hasOwn(value, name)) return false;
    for (const name in value) if (!(fields.get(name) ?? others)(value[name])) return false;
    return passesChecks(value);
  };
}

const isOptional = (field: z.core.$ZodType): boolean => field._zod.def.type === 'optional';

type Checks = readonly z.core.$ZodCheck[];

function compileChecks(checks: Checks = []): FastValidator {
  const compiled = checks.map(compileCheck);
  const [first, ...more] = compiled;
  if (first === undefined) return () => true;
  if (more.length === 0) return first;
  return (value) => {
    for (const check of compiled) if (!check(value)) return false;
    return true;
  };
}

/** A check runs after all checks before it have passed, on a value of the schema's type. */
function compileCheck(check: z.core.$ZodCheck): FastValidator {
  const { def } = (check as z.core.$ZodChecks | z.core.$ZodCustom)._zod;
  switch (def.check) {
    case 'max_length':
      return (value) => (value as string).length <= def.maximum;
    case 'overwrite':
      return (value) => def.tx(value) === value;
    case 'string_format':
      return compilePattern(def);
    case 'custom':
      // superRefine has no `fn`.
      return 'fn' in def ? (value) => def.fn(value) === true : neverValid;
    default:
      return neverValid;
  }
}

/** Formats that are decided by their pattern only. */
const patternFormats: ReadonlySet<string> = new Set(['regex', 'datetime']);

type Format = Pick<z.core.$ZodStringFormatDef, 'format' | 'pattern'>;

function compilePattern({ format, pattern }: Format): FastValidator {
  if (pattern === undefined || !patternFormats.has(format)) return neverValid;
  return (value) => pattern.test(value as string);
}
