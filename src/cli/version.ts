import { readFileSync } from 'node:fs';
import { z } from 'zod';

const manifest: unknown = JSON.parse(
  readFileSync(new URL('../../package.json', import.meta.url), 'utf8'),
);

/** package.json's, wherever the code runs from: src/cli and dist/cli are equally deep. */
export const { version } = z.object({ version: z.string() }).parse(manifest);
