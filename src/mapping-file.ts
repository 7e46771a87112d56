import { readFileSync } from 'node:fs';
import { parse } from 'yaml';
import { z } from 'zod';
import { toMapping, type Mapping } from './ingest/mapping.js';

type Loaded =
  | { readonly ok: true; readonly mapping: Mapping }
  | { readonly ok: false; readonly problems: readonly string[] };

/** MAPPING_FILE: from its path to what it holds (JSON is YAML, too), or everything that is wrong with it. */
export const mappingFile = z.string().transform((path, context): Mapping => {
  const loaded = loadMapping(path);
  if (loaded.ok) return loaded.mapping;
  for (const problem of loaded.problems) context.addIssue(problem);
  return z.NEVER;
});

function loadMapping(path: string): Loaded {
  let content: unknown;
  try {
    content = parse(readFileSync(path, 'utf8'));
  } catch (error) {
    const why = error instanceof Error ? toFirstLine(error.message) : 'unknown error';
    return { ok: false, problems: [`cannot be read (${why})`] };
  }
  const mapping = toMapping(content);
  if (mapping.ok) return { ok: true, mapping: mapping.value };
  const problems = mapping.errors.map(({ pointer, detail }) => `${pointer || 'it'} ${detail}`);
  return { ok: false, problems };
}

/** What YAML says of a place ends with a drawing of it. */
function toFirstLine(message: string): string {
  return message.replace(/:?\n[^]*$/, '');
}
