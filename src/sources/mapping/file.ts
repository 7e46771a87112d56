import { readFileSync } from 'node:fs';
import { parse, YAMLParseError } from 'yaml';
import { z } from 'zod';
import { parseMapping, type Mapping } from './mapping.js';
import { sourceNames } from '../list.js';
import { isJsonObject } from '../../json/json.js';
import { findNearName } from '../../near-name.js';
import { toErrorMessage } from '../../error.js';

type Loaded =
  | { readonly ok: true; readonly mapping: Mapping }
  | { readonly ok: false; readonly problems: readonly string[] };

/** The schema of MAPPING_FILE: reads the YAML or JSON at this path, or reports all its faults. */
export const mappingFile = z.string().transform((path, context): Mapping => {
  const loaded = loadMapping(path);
  if (loaded.ok) return loaded.mapping;
  for (const problem of loaded.problems) context.addIssue(problem);
  return z.NEVER;
});

/**
 * Reads a mapping file. The problems quote only the names of a mapping. They show nothing of a file that is
 * not a mapping, because the path may lead to a file of secrets.
 */
function loadMapping(path: string): Loaded {
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch (error) {
    const why = toErrorMessage(error);
    return { ok: false, problems: [`cannot be read (${why})`] };
  }
  let content: unknown;
  try {
    content = parse(text, { logLevel: 'error' });
  } catch (error) {
    return { ok: false, problems: [`is neither YAML nor JSON${describePosition(error)}`] };
  }
  const mapping = parseMapping(content);
  if (mapping.ok) return { ok: true, mapping: mapping.value };
  const names = isJsonObject(content) ? Object.keys(content) : [];
  const isMapping = names.some((name) => sourceNames.some((source) => source === name));
  if (!isMapping) return { ok: false, problems: [describeExpectedSources(names)] };
  const problems = mapping.errors.map(({ pointer, detail }) => `${pointer || 'it'} ${detail}`);
  return { ok: false, problems };
}

function describeExpectedSources(names: readonly string[]): string {
  const near = names.map((name) => findNearName(name, sourceNames)).find((name) => name !== null);
  return `it must hold ${sourceNames.join(', ')}, or some of them${near === undefined ? '' : `; did you mean ${near}?`}`;
}

/** Describes a YAML error by its code and position, because the library's message quotes the file. */
function describePosition(error: unknown): string {
  if (error instanceof ReferenceError) return ': an alias has no anchor, or there are too many';
  if (!(error instanceof YAMLParseError)) return '';
  const [start] = error.linePos ?? [];
  const at = start === undefined ? '' : ` at line ${start.line}, column ${start.col}`;
  return `: ${error.code}${at}`;
}
