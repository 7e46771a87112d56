import { readFileSync } from 'node:fs';
import { toScript, type Script } from './connection.js';

/** A value that a script reads as a field of the table `constants`. */
type Constant =
  | number
  | string
  | readonly string[]
  | Readonly<Record<string, number | string | readonly string[]>>;

export type ScriptOptions = {
  /** What follows the prefix in the name of each key that the script may use. */
  readonly keys: readonly string[];
  /** Values that the script shares with TypeScript code. */
  readonly constants?: Readonly<Record<string, Constant>>;
};

/**
 * Reads a Lua script. A line `--- @include "other.lua"` stands for the text of that file, whose path is
 * relative to the including file; a file that several files include is inserted once. Lua has no modules
 * inside Redis, so all files of a script share their local names. `npm run lint` checks the joined text.
 */
export function loadScript(file: URL, { keys, constants = {} }: ScriptOptions): Script {
  const name = file.pathname.replace(/^.*\/|\.lua$/g, '');
  const fields = Object.entries(constants).map(([field, value]) => `${field} = ${toLua(value)}`);
  const lua = `local constants = { ${fields.join(', ')} }\n${readWithIncludes(file, new Set())}`;
  return toScript(name, keys, lua);
}

const includePattern = /^--- @include "([^"]+)"\n/gm;

function readWithIncludes(file: URL, included: Set<string>): string {
  if (included.has(file.href)) return '';
  included.add(file.href);
  return readFileSync(file, 'utf8').replace(includePattern, (_line, path: string) =>
    readWithIncludes(new URL(path, file), included),
  );
}

/** JSON writes numbers and names of keys as Lua does. */
function toLua(value: Constant): string {
  if (typeof value !== 'object') return JSON.stringify(value);
  const fields = Array.isArray(value)
    ? value.map((each) => JSON.stringify(each))
    : Object.entries(value).map(([name, each]) => `${name} = ${toLua(each)}`);
  return `{ ${fields.join(', ')} }`;
}
