import { parseArgs, type ParseArgsConfig } from 'node:util';
import { findNearName } from '../near-name.js';
import { toErrorMessage } from '../error.js';

/** The command line is invalid: exit code 2. The message says what to write instead. */
export class UsageError extends Error {}

type Options = NonNullable<ParseArgsConfig['options']>;

type Form<T extends Options> = {
  readonly args: readonly string[];
  readonly options: T;
  /** The largest number of arguments that are not options. */
  readonly maxPositionals?: number;
};

/** Reads the arguments of a command. Throws UsageError with a suggestion for unknown ones. */
export function readArguments<T extends Options>({ args, options, maxPositionals = 0 }: Form<T>) {
  const config = { args: [...args], options, allowPositionals: true } as const;
  for (const token of parseArgs({ ...config, strict: false, tokens: true }).tokens) {
    if (token.kind !== 'option' || Object.hasOwn(options, token.name)) continue;
    const near = findNearName(
      token.rawName,
      Object.keys(options).map((name) => `--${name}`),
    );
    throw new UsageError(`unknown option ${token.rawName}${suggest(near)}`);
  }
  const { values, positionals } = parseArguments(config);
  // The argument is not shown, because it may be the secret value of a forgotten option.
  if (positionals.length > maxPositionals) {
    throw new UsageError(
      maxPositionals === 0
        ? 'this command accepts options only'
        : `this command accepts at most ${maxPositionals} arguments`,
    );
  }
  return { values, positionals };
}

export const suggest = (near: string | null): string =>
  near === null ? '' : `; did you mean ${near}?`;

/** Replaces the messages of `parseArgs` for a missing or superfluous value. */
function parseArguments<T extends ParseArgsConfig>(config: T) {
  try {
    return parseArgs(config);
  } catch (error) {
    throw new UsageError(toErrorMessage(error));
  }
}

/** Parses a whole number within the bounds. Throws UsageError. */
export function parseCount(
  option: string,
  given: string,
  { min, max }: { readonly min: number; readonly max: number },
): number {
  const value = Number(given);
  if (/^\d+$/.test(given) && value >= min && value <= max) return value;
  throw new UsageError(`${option} must be a whole number from ${min} to ${max}`);
}
