import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { Ajv } from 'ajv';
import { z } from 'zod';

/** As Compose fills in `${NAME}`, `${NAME:-default}` and `${NAME-default}`. */
export function interpolate(text: string, outside: Readonly<Record<string, string>>): string {
  return text.replace(/\$\{[^}]*\}/g, (part) => {
    const [, name = '', colon, fallback = ''] = /^\$\{(\w+)(?:(:?)-(.*))?\}$/.exec(part) ?? [];
    const value = outside[name];
    return value === undefined || (colon === ':' && value === '') ? fallback : value;
  });
}

/** What is wrong with a Compose file, by the schema of the Compose specification, which dclint ships. */
export function toComposeErrors(file: unknown): readonly string[] {
  const root = createRequire(import.meta.url).resolve('dclint/package.json');
  const schema = z
    .looseObject({})
    .parse(
      JSON.parse(readFileSync(new URL('schemas/compose.schema.json', `file://${root}`), 'utf8')),
    );
  // It names its draft by an address that Ajv does not know for the same draft.
  delete schema.$schema;
  // Not strict: the schema has formats that say nothing.
  const ajv = new Ajv({ strict: false, logger: false, allErrors: true });
  ajv.addFormat('duration', /^(\d+(\.\d+)?(ns|us|ms|s|m|h))+$/);
  const validate = ajv.compile(schema);
  validate(file);
  return (validate.errors ?? []).map(
    ({ instancePath, message, params }) =>
      `${instancePath} ${message ?? ''} ${JSON.stringify(params)}`,
  );
}
