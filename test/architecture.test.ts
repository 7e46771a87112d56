import { execFile } from 'node:child_process';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { promisify } from 'node:util';
import { ESLint, Linter } from 'eslint';
import { parser } from 'typescript-eslint';
import { afterAll, describe, expect, it } from 'vitest';
import { z } from 'zod';

// `npm run lint` runs dependency-cruiser and ESLint over the source. These tests show that each of
// the project's own rules reports a violation, and that it reports nothing else.

const root = new URL('../', import.meta.url).pathname;
const cleanups: (() => Promise<void>)[] = [];
afterAll(async () => {
  await Promise.all(cleanups.map((clean) => clean()));
});

const cruiseReport = z.object({
  summary: z.object({
    violations: z.array(
      z.object({ from: z.string(), to: z.string(), rule: z.object({ name: z.string() }) }),
    ),
  }),
});

/** Writes the files into an empty folder and returns the violations, as `from → to: rule`. */
async function cruise(files: Readonly<Record<string, string>>): Promise<readonly string[]> {
  const folder = await mkdtemp(join(tmpdir(), 'architecture-'));
  cleanups.push(() => rm(folder, { recursive: true }));
  for (const [path, text] of Object.entries({ 'tsconfig.json': '{}', ...files })) {
    await mkdir(dirname(join(folder, path)), { recursive: true });
    await writeFile(join(folder, path), text);
  }
  const command = join(root, 'node_modules/dependency-cruiser/bin/dependency-cruise.mjs');
  const config = join(root, '.dependency-cruiser.js');
  const output = await promisify(execFile)(
    process.execPath,
    [command, 'src', '--config', config, '--output-type', 'json'],
    { cwd: folder },
  ).catch((error: unknown) => z.object({ stdout: z.string() }).parse(error));
  const { violations } = cruiseReport.parse(JSON.parse(output.stdout)).summary;
  return violations.map(({ from, to, rule }) => `${from} → ${to}: ${rule.name}`).sort();
}

describe('dependency-cruiser', { timeout: 60_000 }, () => {
  it('reports every import that the layers forbid', async () => {
    const violations = await cruise({
      'src/model/store.ts': "import type { z } from 'zod'; export type Store = z.ZodType;",
      'src/store/memory.ts': 'export type Memory = 1; export const memory = 1;',
      'src/store/index.ts': "export * from './camelCase.js';",
      'src/store/camelCase.ts': 'export const a = 1;',
      'src/delivery/deliver.ts': "export * from '../klaviyo/client.js';",
      'src/delivery/settle.ts': "export const store = await import('../store/memory.js');",
      'src/delivery/retry.ts': "export type Client = import('../klaviyo/client.js').Client;",
      'src/delivery/limiter/redis.ts': "import { Redis } from 'ioredis'; new Redis();",
      'src/klaviyo/client.ts':
        "import type { Memory } from '../store/memory.js'; export type Client = Memory;",
      'src/klaviyo/merge.ts': "import { Pool } from 'undici'; new Pool('');",
      'src/http/server.ts': "import { deliver } from '../delivery/deliver.js'; deliver();",
      'src/ingest/accept.ts':
        "import { memory } from '../store/memory.js'; export const a = memory;",
      'src/ingest/schema.ts': "import helmet from '@fastify/helmet'; helmet();",
      'src/sources/shop/source.ts': "import '../../http/server.js'; import 'fastify';",
      'src/sandbox/body.ts': "import { merge } from '../klaviyo/merge.js'; merge();",
      'src/app/app.ts': "import lmdb from 'lmdb'; import fastify from 'fastify'; fastify(lmdb);",
      'src/json/a.ts': "import { b } from './b.js'; export const a = b;",
      'src/json/b.ts': "import type { C } from './c.js'; export const b: C = 1;",
      'src/json/c.ts': "import { a } from './a.js'; export type C = typeof a;",
      'src/helpers/text.ts': "import { a } from '../json/a.js'; export const text = a;",
      'src/http/views/events.ts': "import { text } from '../../helpers/text.js'; text();",
    });
    expect(violations).toEqual([
      'src/app/app.ts → fastify: owner-of-fastify',
      'src/app/app.ts → lmdb: owner-of-lmdb',
      'src/delivery/deliver.ts → src/klaviyo/client.ts: imports-of-delivery',
      'src/delivery/limiter/redis.ts → ioredis: owner-of-redis',
      'src/delivery/retry.ts → src/klaviyo/client.ts: types-of-delivery',
      'src/delivery/settle.ts → src/store/memory.ts: imports-of-delivery',
      'src/helpers/text.ts → src/json/a.ts: layout-of-importer',
      'src/http/server.ts → src/delivery/deliver.ts: imports-of-http',
      'src/http/views/events.ts → src/helpers/text.ts: imports-of-http',
      'src/http/views/events.ts → src/helpers/text.ts: layout',
      'src/http/views/events.ts → src/helpers/text.ts: layout-of-importer',
      'src/ingest/accept.ts → src/store/memory.ts: imports-of-ingest',
      'src/ingest/schema.ts → @fastify/helmet: owner-of-fastify',
      'src/json/a.ts → src/json/b.ts: no-cycle',
      'src/klaviyo/client.ts → src/store/memory.ts: types-of-klaviyo',
      'src/klaviyo/merge.ts → undici: owner-of-undici',
      'src/model/store.ts → zod: model-imports-nothing',
      'src/sandbox/body.ts → src/klaviyo/merge.ts: imports-of-sandbox',
      'src/sources/shop/source.ts → fastify: owner-of-fastify',
      'src/sources/shop/source.ts → src/http/server.ts: imports-of-sources',
      'src/store/index.ts → src/store/camelCase.ts: layout',
      'src/store/index.ts → src/store/camelCase.ts: no-barrel',
    ]);
  });

  it('accepts imports that the layers allow', async () => {
    const violations = await cruise({
      'src/model/store.ts': 'export type Store = 1;',
      'src/clock.ts': 'export const clock = 1;',
      'src/json/json.ts': 'export const parse = 1;',
      'src/ingest/accept.ts': 'export const accept = 1;',
      'src/store/open.ts': "import lmdb from 'lmdb'; export const open = lmdb;",
      'src/klaviyo/connections.ts': "import { Pool } from 'undici'; export const pool = Pool;",
      'src/http/server.ts':
        "import fastify from 'fastify'; import { accept } from '../ingest/accept.js'; import type { Store } from '../model/store.js'; export const a: Store = fastify(accept);",
      'src/sources/shop/map.ts': "import '../../ingest/accept.js'; export const b = 1;",
      'src/http/routes/sources/shop.ts':
        "import { b } from '../../../sources/shop/map.js'; export const c = b;",
      'src/app/app.ts': "import { open } from '../store/open.js'; import '../clock.js'; open();",
      'src/sandbox/body.ts': "import { parse } from '../json/json.js'; parse();",
      'src/slices.ts': "import type { clock } from './clock.js'; export type A = typeof clock;",
    });
    expect(violations).toEqual([]);
  });
});

const eslint = new ESLint({ cwd: root });
const configShape = z.object({ rules: z.record(z.string(), z.array(z.unknown()).min(1)) });

/** The project's own rules that report the text as a file of that path, as `line: rule`. */
async function lint(path: string, text: string): Promise<readonly string[]> {
  const config: unknown = await eslint.calculateConfigForFile(join(root, path));
  const own = Object.entries(configShape.parse(config).rules).filter(
    ([name, [severity]]) => /^no-(restricted-|warning-comments)/.test(name) && severity !== 0,
  );
  const messages = new Linter().verify(
    text,
    [
      {
        files: ['**/*.ts'],
        languageOptions: { parser },
        rules: Object.fromEntries(
          own.map(([name, [, ...options]]) => [name, ['error', ...options]]),
        ),
      },
    ],
    path,
  );
  return messages.map(({ line, ruleId, message }) => `${line}: ${ruleId ?? message}`);
}

describe('ESLint', () => {
  it.each([
    ['src/delivery/a.ts', 'Date.now();', 'no-restricted-properties'],
    ['src/delivery/a.ts', "Date['now']();", 'no-restricted-properties'],
    ['src/delivery/a.ts', 'performance.now();', 'no-restricted-properties'],
    ['src/delivery/a.ts', 'process.hrtime.bigint();', 'no-restricted-properties'],
    ['src/delivery/a.ts', 'AbortSignal.timeout(10);', 'no-restricted-properties'],
    ['src/cli/a.ts', 'Date.now();', 'no-restricted-properties'],
    ['src/delivery/a.ts', 'new Date();', 'no-restricted-syntax'],
    ['src/delivery/a.ts', 'Date();', 'no-restricted-syntax'],
    ['src/delivery/a.ts', 'setTimeout(fire, 10);', 'no-restricted-globals'],
    ['src/delivery/a.ts', 'globalThis.setInterval(fire, 10);', 'no-restricted-globals'],
    [
      'src/delivery/a.ts',
      "import { setTimeout as a } from 'node:timers/promises';",
      'no-restricted-imports',
    ],
    ['src/delivery/a.ts', 'Math.random();', 'no-restricted-properties'],
    ['src/clock.ts', 'Math.random();', 'no-restricted-properties'],
    ['src/http/a.ts', 'process.env.PORT;', 'no-restricted-properties'],
    ['src/log/a.ts', "process['env'];", 'no-restricted-properties'],
    ['src/http/a.ts', 'export default 1;', 'no-restricted-syntax'],
    ['src/http/a.ts', 'const run = 1; export { run as default };', 'no-restricted-syntax'],
    ['src/http/a.ts', 'const b = (a as unknown) as string;', 'no-restricted-syntax'],
    ['src/http/a.ts', 'const a = 1; // TODO: more', 'no-warning-comments'],
    ['src/http/a.ts', '/* the rest, FIXME */', 'no-warning-comments'],
    [
      'test/a.test.ts',
      'new Promise((resolve) => setTimeout(resolve, 50));',
      'no-restricted-globals',
    ],
    [
      'test/a.test.ts',
      "import { setTimeout as pause } from 'timers/promises';",
      'no-restricted-imports',
    ],
    ['test/support/a.ts', 'sleep(50);', 'no-restricted-syntax'],
    ['test/a.test.ts', 'wait(systemClock, 50);', 'no-restricted-syntax'],
  ])('reports in %s: %s', async (path, text, rule) => {
    expect(await lint(path, text)).toEqual([`1: ${rule}`]);
  });

  it.each([
    ['src/clock.ts', 'Date.now(); setTimeout(fire, 1); new Date();'],
    ['src/delivery/a.ts', 'new Date(at); socket.setTimeout(10); // setTimeout and todoList'],
    ['src/cli/a.ts', 'start({ random: Math.random, environment: process.env });'],
    ['src/main.ts', 'run(process.env);'],
    ['src/http/a.ts', 'export const run = { default: "process.env" };'],
    ['test/a.test.ts', "wait(clock, 50); const text = 'setTimeout(f, 1)'; Date.now();"],
  ])('accepts in %s: %s', async (path, text) => {
    expect(await lint(path, text)).toEqual([]);
  });
});
