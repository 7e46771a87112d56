import { readFileSync, statSync } from 'node:fs';
import { resolve } from 'node:path';
import type { Environment } from '../config/config.js';
import { createAmountReader, type DecimalSign } from '../import/amounts.js';
import { importLanes, type ImportLane, listFieldNames, findPath } from '../import/fields.js';
import type { ImportOptions } from '../import/importer.js';
import type { Mapping } from '../import/mapping.js';
import { backfills } from '../import/post.js';
import { formats } from '../import/rows.js';
import { createTimeReader } from '../import/times.js';
import { maxListed } from '../ingest/draft-many.js';
import { entryNames } from '../ingest/schema.js';
import { findNearName } from '../near-name.js';
import { readArguments, suggest, UsageError } from './arguments.js';
import { toErrorMessage } from '../error.js';

export type ImportCommandOptions = {
  /** One for each input, in the order given. */
  readonly inputs: readonly ImportOptions[];
  readonly isDryRun: boolean;
};

/** Throws UsageError for every error that does not depend on the content of the inputs. */
export function readImportOptions(args: string[], env: Environment): ImportCommandOptions {
  const { values, positionals } = readArguments({
    args,
    maxPositionals: Infinity,
    options: {
      type: { type: 'string' },
      format: { type: 'string' },
      delimiter: { type: 'string' },
      encoding: { type: 'string' },
      map: { type: 'string', multiple: true, default: [] },
      set: { type: 'string', multiple: true, default: [] },
      omit: { type: 'string', multiple: true, default: [] },
      empty: { type: 'string', multiple: true, default: [] },
      'time-format': { type: 'string' },
      timezone: { type: 'string' },
      decimal: { type: 'string' },
      'dry-run': { type: 'boolean', default: false },
      url: { type: 'string', default: env.RELAY_URL ?? 'http://127.0.0.1:3000' },
      'key-file': { type: 'string' },
      batch: { type: 'string', default: '500' },
      backfill: { type: 'string', default: 'all' },
      rejected: { type: 'string' },
      restart: { type: 'boolean', default: false },
    },
  });
  checkInputs(positionals);
  const { type, format, rejected, restart, encoding } = values;
  if (rejected !== undefined && positionals.length > 1) {
    throw new UsageError(
      '--rejected can be used with one input only: several inputs have a file each',
    );
  }
  const delimiter = values.delimiter === undefined ? null : parseDelimiter(values.delimiter);
  const common = {
    lane: type === undefined ? null : parseType(type),
    encoding: encoding === undefined ? null : parseEncoding(encoding),
    mapping: createMapping(values),
    url: parseUrl(values.url),
    key: readKey(values['key-file'], env),
    maxCount: parseBatchSize(values.batch),
    backfill: parseChoice('--backfill', values.backfill, backfills),
    restart,
  };
  const inputs = positionals.map((input) => ({
    ...common,
    input,
    format: format === undefined ? detectFormat(input) : parseChoice('--format', format, formats),
    delimiter: delimiter ?? (/\.(tsv|tab)(\.gz)?$/i.test(input) ? '\t' : null),
    rejectedPath: rejected ?? `${isPipe(input) ? 'import' : input}.rejected.ndjson`,
  }));
  return { inputs, isDryRun: values['dry-run'] };
}

function checkInputs(paths: readonly string[]): void {
  if (paths.length === 0) throw new UsageError('name one or more files, or - for stdin');
  if (paths.length > 1 && paths.includes('-')) {
    throw new UsageError('- for stdin cannot be combined with other files');
  }
  const twice = paths.find((path, at) =>
    paths.slice(0, at).some((other) => resolve(other) === resolve(path)),
  );
  if (twice !== undefined) throw new UsageError(`${twice} is named twice`);
}

type MappingValues = Readonly<Record<'map' | 'set' | 'omit' | 'empty', readonly string[]>> & {
  readonly 'time-format'?: string | undefined;
  readonly timezone?: string | undefined;
  readonly decimal?: string | undefined;
  readonly encoding?: string | undefined;
};

function createMapping(values: MappingValues): Mapping {
  const { map, set, omit, empty, timezone = null, 'time-format': format = null } = values;
  const times = createTimeReader({ format, timezone });
  if (!times.ok) throw new UsageError(`${times.option} ${times.detail}`);
  return {
    // Splits at the last equals sign, because a column may have one in its name and a field does not.
    columns: map.map((given) => {
      const [column, field] = splitOption('--map', given, given.lastIndexOf('='));
      return { column, field: requireField(`--map ${given}`, field) };
    }),
    constants: set.map((given) => {
      const [field, text] = splitOption('--set', given, given.indexOf('='));
      return { field: requireField(`--set ${given}`, field), text };
    }),
    omitted: omit,
    empty,
    readTime: times.read,
    readAmount: createAmountReader(parseDecimalSign(values.decimal)),
    hasTimeOptions: format !== null || timezone !== null,
    flags: flagNames.flatMap((name) =>
      [values[name] ?? []].flat().map((given) => `--${name} ${given}`),
    ),
  };
}

/**
 * The options that decide how an input is read. An import resumes only with the same ones.
 */
const flagNames = [
  'map',
  'set',
  'omit',
  'empty',
  'time-format',
  'timezone',
  'decimal',
  'encoding',
] as const;

function parseDecimalSign(given: string | undefined): DecimalSign {
  if (given === undefined || given === '.' || given === ',') return given ?? null;
  throw new UsageError('--decimal must be . or ,');
}

function splitOption(option: string, given: string, at: number): readonly [string, string] {
  const [left, right] = [given.slice(0, Math.max(at, 0)).trim(), given.slice(at + 1)];
  if (at !== -1 && left !== '' && right.trim() !== '') return [left, right];
  const form = option === '--map' ? '"COLUMN=FIELD", such as "E-mail=email"' : 'FIELD=VALUE';
  throw new UsageError(`${option} must be ${form}`);
}

/** Accepts a field of either lane, because the input may decide which lane it is. */
function requireField(option: string, given: string): string {
  const field = given.trim();
  if (importLanes.some((lane) => findPath(field, lane) !== null)) return field;
  const near = findNearName(field, importLanes.flatMap(listFieldNames));
  throw new UsageError(
    `${option}: unknown field ${field}${near === null ? '; a property is properties.NAME' : suggest(near)}`,
  );
}

function parseType(given: string): ImportLane | null {
  const toName = (lane: ImportLane) => entryNames[lane].many;
  const chosen = parseChoice('--type', given, importLanes.map(toName));
  return importLanes.find((lane) => toName(lane) === chosen) ?? null;
}

function parseEncoding(given: string): string {
  try {
    return new TextDecoder(given).encoding;
  } catch {
    throw new UsageError(
      '--encoding must be the name of an encoding, such as windows-1252 or utf-16le',
    );
  }
}

function parseChoice<T extends string>(option: string, given: string, choices: readonly T[]): T {
  const chosen = choices.find((choice) => choice === given);
  if (chosen === undefined) throw new UsageError(`${option} must be ${choices.join(' or ')}`);
  return chosen;
}

function detectFormat(input: string): ImportOptions['format'] {
  if (/\.(csv|tsv|tab)(\.gz)?$/i.test(input)) return 'csv';
  if (/\.(ndjson|jsonl)(\.gz)?$/i.test(input)) return 'ndjson';
  throw new UsageError(
    `the name of ${input} has no known extension: use --format ndjson or --format csv`,
  );
}

function parseDelimiter(given: string): string {
  const delimiter = given === '\\t' ? '\t' : given;
  if (delimiter.length === 1 && !/["\r\n]/.test(delimiter)) return delimiter;
  throw new UsageError('--delimiter must be one character, such as ";" or "\\t"');
}

function isPipe(input: string): boolean {
  return input === '-' || statSync(input, { throwIfNoEntry: false })?.isFile() === false;
}

/** The URL must not contain the key, because URLs are shown and kept in FILE.import.json. */
function parseUrl(given: string): string {
  const url = URL.canParse(given) ? new URL(given) : null;
  if (url === null || !/^https?:$/.test(url.protocol) || url.username !== '' || url.search !== '') {
    throw new UsageError('--url must be an http or https URL without user, password and query');
  }
  return url.href.replace(/\/+$/, '');
}

/** Bounded by the number of rejected entries that a relay lists in one response. */
function parseBatchSize(given: string): number {
  const count = Number(given);
  if (Number.isInteger(count) && count >= 1 && count <= maxListed) return count;
  throw new UsageError(`--batch must be a whole number from 1 to ${maxListed}`);
}

function readKey(path: string | undefined, env: Environment): string | null {
  const fromEnvironment = env.RELAY_API_KEY ?? '';
  if (path !== undefined && fromEnvironment !== '') {
    throw new UsageError('set RELAY_API_KEY or --key-file, not both');
  }
  const key = (path === undefined ? fromEnvironment : readKeyFile(path)).trim();
  if (key === '') {
    if (path !== undefined) throw new UsageError(`${path} is empty`);
    return null;
  }
  if (!/^[\x21-\x7e]+$/.test(key)) throw new UsageError('the key must be ASCII without blanks');
  return key;
}

function readKeyFile(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch (error) {
    throw new UsageError(`--key-file cannot be read: ${toErrorMessage(error)}`);
  }
}
