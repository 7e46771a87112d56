// Checks the Lua files in src: each script parses together with the files that it includes
// (src/redis/load-script.ts), reads and writes no undefined global, and is formatted by StyLua.
// `--fix` formats the files.
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import {
  CollapseSimpleStatement,
  Config,
  formatCode,
  IndentType,
  OutputVerification,
  QuoteStyle,
} from '@johnnymorganz/stylua';
import luaparse from 'luaparse';

const root = fileURLToPath(new URL('..', import.meta.url));

/** The globals that Redis and Lua 5.1 define for a script, and the table that load-script.ts adds. */
const globals = new Set([
  ...['redis', 'cjson', 'KEYS', 'ARGV', 'constants'],
  ...[
    'math',
    'string',
    'table',
    'ipairs',
    'pairs',
    'pcall',
    'tonumber',
    'tostring',
    'type',
    'unpack',
  ],
]);

const files = readdirSync(join(root, 'src'), { recursive: true, encoding: 'utf8' })
  .filter((name) => name.endsWith('.lua'))
  .map((name) => join('src', name));
const problems = files.flatMap((file) => [...findUndefined(file), ...checkFormat(file)]);
for (const problem of problems) console.error(problem);
process.exitCode = problems.length === 0 ? 0 : 1;

/** @param {string} file */
function findUndefined(file) {
  try {
    const options = { luaVersion: /** @type {const} */ ('5.1'), scope: true };
    const parsed = luaparse.parse(joinIncludes(file, new Set()), options);
    const { globals: used } = /** @type {{ globals: { name: string }[] } & object} */ (parsed);
    const names = new Set(used.map(({ name }) => name).filter((name) => !globals.has(name)));
    return [...names].map((name) => `${file}: ${name} is not defined`);
  } catch (error) {
    return [`${file}, with its includes: ${String(error)}`];
  }
}

/**
 * @param {string} file
 * @param {Set<string>} included
 * @returns {string}
 */
function joinIncludes(file, included) {
  const path = resolve(root, file);
  if (included.has(path)) return '';
  included.add(path);
  return readFileSync(path, 'utf8').replace(
    /^--- @include "([^"]+)"\n/gm,
    (_line, /** @type {string} */ other) => joinIncludes(join(dirname(path), other), included),
  );
}

/** @param {string} file */
function checkFormat(file) {
  const path = join(root, file);
  const code = readFileSync(path, 'utf8');
  const config = Config.new();
  config.column_width = 110;
  config.indent_type = IndentType.Spaces;
  config.indent_width = 2;
  config.quote_style = QuoteStyle.AutoPreferSingle;
  config.collapse_simple_statement = CollapseSimpleStatement.Always;
  const formatted = formatCode(code, config, undefined, OutputVerification.None);
  if (formatted === code) return [];
  if (!process.argv.includes('--fix')) return [`${file}: not formatted (npm run format)`];
  writeFileSync(path, formatted);
  return [];
}
