import { readFileSync } from 'node:fs';
import { z } from 'zod';

const manifest: unknown = JSON.parse(
  readFileSync(new URL('../../package.json', import.meta.url), 'utf8'),
);

/**
 * The version of package.json. The path is right in both src/cli and dist/cli, which are equally
 * deep.
 */
export const { version } = z.object({ version: z.string() }).parse(manifest);
