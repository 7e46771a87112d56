import { parseArgs, type ParseArgsConfig } from 'node:util';
import { findNearName } from '../near-name.js';

/** The command line is not understood: exit code 2. The message says what to write instead. */
export class UsageError extends Error {}

type Options = NonNullable<ParseArgsConfig['options']>;

type Form<T extends Options> = {
  readonly args: readonly string[];
  readonly options: T;
  /** Arguments that are no options, at most. */
  readonly maxPositionals?: number;
};

/** Reads a command's arguments. Throws UsageError for what the command does not have, with a suggestion. */
export function readArguments<T extends Options>({ args, options, maxPositionals = 0 }: Form<T>) {
  const config = { args: [...args], options, allowPositionals: true } as const;
  for (const token of parseArgs({ ...config, strict: false, tokens: true }).tokens) {
    if (token.kind !== 'option' || Object.hasOwn(options, token.name)) continue;
    const near = findNearName(
      token.rawName,
      Object.keys(options).map((name) => `--${name}`),
    );
    throw new UsageError(`there is no option ${token.rawName}${suggest(near)}`);
  }
  const { values, positionals } = parse(config);
  // Not shown: it may be the value of an option that was forgotten, and secret.
  if (positionals.length > maxPositionals) {
    throw new UsageError(
      maxPositionals === 0
        ? 'it takes options only'
        : `it takes ${maxPositionals} arguments at most`,
    );
  }
  return { values, positionals };
}

export const suggest = (near: string | null): string =>
  near === null ? '' : `; did you mean ${near}?`;

/** `parseArgs` explains a missing value and a superfluous one in words of its own. */
function parse<T extends ParseArgsConfig>(config: T) {
  try {
    return parseArgs(config);
  } catch (error) {
    throw new UsageError(error instanceof Error ? error.message : String(error));
  }
}

/** A whole number within the bounds. Throws UsageError. */
export function toWholeNumber(
  option: string,
  given: string,
  { min, max }: { readonly min: number; readonly max: number },
): number {
  const value = Number(given);
  if (/^\d+$/.test(given) && value >= min && value <= max) return value;
  throw new UsageError(`${option} must be a whole number from ${min} to ${max}`);
}
