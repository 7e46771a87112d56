import type { z } from 'zod';
import { isJsonObject } from '../json/json.js';

/** True: the schema takes this value, and as it is. False: ask the schema. */
export type FastValidator = (value: unknown) => boolean;

const never: FastValidator = () => false;

/**
 * The quick answer for what is right, as nearly all is: zod makes several objects for each field it looks
 * at (docs/performance.md). It is read from the schema, which stays the one source, and alone refuses and
 * says why. Kinds of schema that are not known here are left to it.
 */
export function createFastValidator(schema: z.core.$ZodType): FastValidator {
  const { def } = (schema as z.core.$ZodTypes)._zod;
  switch (def.type) {
    case 'optional':
      return or(undefined, createFastValidator(def.innerType));
    case 'nullable':
      return or(null, createFastValidator(def.innerType));
    case 'unknown':
      return toChecksGuard(def.checks);
    case 'string':
      return toStringGuard(def);
    case 'object':
      return toObjectGuard(def);
    default:
      return never;
  }
}

const or =
  (one: null | undefined, guard: FastValidator): FastValidator =>
  (value) =>
    value === one || guard(value);

function toStringGuard(def: z.core.$ZodStringDef): FastValidator {
  const pattern = 'format' in def ? toPatternGuard(def as z.core.$ZodStringFormatDef) : null;
  const checks = toChecksGuard(def.checks);
  return (value) =>
    typeof value === 'string' && (pattern === null || pattern(value)) && checks(value);
}

function toObjectGuard({ shape, catchall, checks }: z.core.$ZodObjectDef): FastValidator {
  const all = Object.entries(shape);
  const required = all.filter(([, field]) => !isOptional(field)).map(([name]) => name);
  const fields = new Map(all.map(([name, field]) => [name, createFastValidator(field)]));
  // zod leaves this one out, and all others where there is no catchall.
  fields.set('__proto__', never);
  const others = catchall === undefined ? never : createFastValidator(catchall);
  const isRight = toChecksGuard(checks);
  return (value) => {
    if (!isJsonObject(value)) return false;
    for (const name of required) if (!Object.hasOwn(value, name)) return false;
    for (const name in value) if (!(fields.get(name) ?? others)(value[name])) return false;
    return isRight(value);
  };
}

const isOptional = (field: z.core.$ZodType): boolean => field._zod.def.type === 'optional';

type Checks = readonly z.core.$ZodCheck[];

function toChecksGuard(checks: Checks = []): FastValidator {
  const guards = checks.map(toCheckGuard);
  const [first, ...more] = guards;
  if (first === undefined) return () => true;
  if (more.length === 0) return first;
  return (value) => {
    for (const guard of guards) if (!guard(value)) return false;
    return true;
  };
}

/** Each runs after those before it were right, on a value of the schema's type. */
function toCheckGuard(check: z.core.$ZodCheck): FastValidator {
  const { def } = (check as z.core.$ZodChecks | z.core.$ZodCustom)._zod;
  switch (def.check) {
    case 'max_length':
      return (value) => (value as string).length <= def.maximum;
    case 'overwrite':
      return (value) => def.tx(value) === value;
    case 'string_format':
      return toPatternGuard(def);
    case 'custom':
      // superRefine has none.
      return 'fn' in def ? (value) => def.fn(value) === true : never;
    default:
      return never;
  }
}

/** Formats that a pattern alone decides. */
const patternFormats: ReadonlySet<string> = new Set(['regex', 'datetime']);

type Format = Pick<z.core.$ZodStringFormatDef, 'format' | 'pattern'>;

function toPatternGuard({ format, pattern }: Format): FastValidator {
  if (pattern === undefined || !patternFormats.has(format)) return never;
  return (value) => pattern.test(value as string);
}
