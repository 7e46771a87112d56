// Copies the files that the service reads at run time and tsc does not compile (Lua scripts, pages) from src to dist.
import { cpSync, statSync } from 'node:fs';
import { extname } from 'node:path';
import { fileURLToPath } from 'node:url';

const path = (/** @type {string} */ name) => fileURLToPath(new URL(`../${name}`, import.meta.url));
const copied = new Set(['.lua', '.html', '.css', '.js']);

cpSync(path('src'), path('dist'), {
  recursive: true,
  filter: (source) => statSync(source).isDirectory() || copied.has(extname(source)),
});
