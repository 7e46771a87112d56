import { describe, expect, it } from 'vitest';
import * as rules from './support/source-rules.js';
import type { Rule } from './support/source-rules.js';
import { loadSources, toSources } from './support/source-tree.js';

const tree = loadSources(['src', 'test']);

type Law = {
  readonly says: string;
  readonly rule: Rule;
  /** A tree that breaks it, and what it is told. */
  readonly broken: Readonly<Record<string, string>>;
  readonly caught: readonly string[];
  /** A tree that comes near and does not break it. */
  readonly fine: Readonly<Record<string, string>>;
};

const laws: readonly Law[] = [
  {
    says: 'the two halves share only the store and the envelope, and imports go one way',
    rule: rules.importDirection,
    broken: {
      'src/http/server.ts': "import { deliver } from '../delivery/deliver.js';",
      'src/http/views.ts': "import type { Store } from '../store/memory.js';",
      'src/http/auth.ts': "import { loadConfig } from '../config/config.js';",
      'src/delivery/deliver.ts': "export * from '../klaviyo/client.js';",
      'src/delivery/settle.ts': "const store = await import('../store/memory.js');",
      'src/delivery/retry.ts': "type Route = import('../http/server.js').Route;",
      'src/klaviyo/client.ts': "import type { Store } from '../store/memory.js';",
      'src/klaviyo/request.ts': "import { check } from '../sandbox/check-event.js';",
      'src/sandbox/body.ts': "import { toRequest } from '../klaviyo/request.js';",
      'src/ingest/accept.ts': "import { MemoryStore } from '../store/memory.js';",
      'src/model/envelope.ts': "import type { z } from 'zod';",
      'src/helpers/text.ts': "import { lanes } from '../model/lane.js';",
    },
    caught: [
      'src/http/server.ts: ../delivery/deliver.js',
      'src/http/views.ts: type ../store/memory.js',
      'src/http/auth.ts: ../config/config.js',
      'src/delivery/deliver.ts: ../klaviyo/client.js',
      'src/delivery/settle.ts: ../store/memory.js',
      'src/delivery/retry.ts: type ../http/server.js',
      'src/klaviyo/client.ts: type ../store/memory.js',
      'src/klaviyo/request.ts: ../sandbox/check-event.js',
      'src/sandbox/body.ts: ../klaviyo/request.js',
      'src/ingest/accept.ts: ../store/memory.js',
      'src/model/envelope.ts: type zod',
      'src/helpers/text.ts: ../model/lane.js',
    ],
    fine: {
      'src/http/server.ts':
        "import type { Store } from '../model/store.js'; import { createAccept } from '../ingest/accept.js';",
      'src/app/app.ts': "import { openStore } from '../store/open.js';",
      'src/sandbox/body.ts': "import { parse } from '../json/json.js';",
    },
  },
  {
    says: 'there is no import cycle, of types neither',
    rule: rules.noCycle,
    broken: {
      'src/store/a.ts': "import { b } from './b.js';",
      'src/store/b.ts': "import { c } from './c.js';",
      'src/store/c.ts': "import type { A } from './a.js';",
    },
    caught: ['src/store/a.ts → src/store/b.ts → src/store/c.ts → src/store/a.ts'],
    fine: {
      'src/store/a.ts': "import { b } from './b.js'; import { c } from './c.js';",
      'src/store/b.ts': "import { c } from './c.js';",
      'src/store/c.ts': 'export const c = 1;',
    },
  },
  {
    says: 'undici, fastify and the store engines each have one place',
    rule: rules.packageOwners,
    broken: {
      'src/klaviyo/request.ts': "import { Pool } from 'undici';",
      'src/app/app.ts': "import type { FastifyInstance } from 'fastify';",
      'src/ingest/schema.ts': "import { x } from '@fastify/helmet';",
      'src/delivery/limiter.ts': "import { Redis } from 'ioredis';",
    },
    caught: [
      'src/klaviyo/request.ts: undici',
      'src/app/app.ts: fastify',
      'src/ingest/schema.ts: @fastify/helmet',
      'src/delivery/limiter.ts: ioredis',
    ],
    fine: {
      'src/klaviyo/connections.ts': "import { Pool } from 'undici';",
      'src/http/server.ts': "import fastify from 'fastify';",
      'src/redis/client.ts': "import { Redis } from 'ioredis';",
    },
  },
  {
    says: 'only config, main and the command line read the environment',
    rule: rules.environmentAtTheEdge,
    broken: {
      'src/http/server.ts': 'const port = process.env.PORT;',
      'src/log/logger.ts': "const level = process['env'];",
    },
    caught: ['src/http/server.ts:1: process.env', "src/log/logger.ts:1: process['env']"],
    fine: {
      'src/main.ts': 'run(process.env);',
      'src/log/logger.ts': '// process.env is read in config.ts\nconst name = "process.env";',
    },
  },
  {
    says: 'only the clock reads time',
    rule: rules.timeFromTheClock,
    broken: {
      'src/delivery/a.ts': 'const at = Date.now();\nconst from = performance.now();',
      'src/delivery/b.ts': 'const at = new Date();\nconst ns = process.hrtime.bigint();',
      'src/delivery/c.ts': 'setTimeout(fire, 10);\nglobalThis.setInterval(fire, 10);',
      'src/delivery/d.ts': "import { setTimeout as later } from 'node:timers/promises';",
      'src/delivery/e.ts': 'fetch(url, { signal: AbortSignal.timeout(10) });',
    },
    caught: [
      'src/delivery/a.ts:1: Date.now',
      'src/delivery/a.ts:2: performance.now',
      'src/delivery/b.ts:1: new Date()',
      'src/delivery/b.ts:2: process.hrtime',
      'src/delivery/c.ts:1: setTimeout',
      'src/delivery/c.ts:2: globalThis.setInterval',
      'src/delivery/d.ts:1: setTimeout',
      'src/delivery/e.ts:1: AbortSignal.timeout',
      'src/delivery/d.ts: node:timers/promises',
    ],
    fine: {
      'src/clock.ts': 'const at = Date.now(); setTimeout(fire, 1);',
      'src/delivery/a.ts': 'const day = new Date(at);\nsocket.setTimeout(10);\n// setTimeout',
    },
  },
  {
    says: 'randomness comes in as an argument',
    rule: rules.randomnessAsArgument,
    broken: { 'src/delivery/retry.ts': 'const share = Math.random();' },
    caught: ['src/delivery/retry.ts:1: Math.random'],
    fine: { 'src/cli/start.ts': 'start({ random: Math.random });' },
  },
  {
    says: 'tests do not sleep',
    rule: rules.noSleepInTests,
    broken: {
      'test/a.test.ts': 'await new Promise((resolve) => setTimeout(resolve, 50));',
      'test/b.test.ts': "import { setTimeout as pause } from 'timers/promises';",
      'test/c.test.ts': 'await sleep(50);\nawait wait(systemClock, 50);',
    },
    caught: [
      'test/a.test.ts:1: setTimeout',
      'test/b.test.ts:1: setTimeout',
      'test/c.test.ts:1: sleep(50)',
      'test/c.test.ts:2: wait(systemClock, 50)',
      'test/b.test.ts: timers/promises',
    ],
    fine: { 'test/a.test.ts': "await wait(clock, 50);\nconst text = 'setTimeout(f, 1)';" },
  },
  {
    says: 'exports have names',
    rule: rules.namedExports,
    broken: {
      'src/http/a.ts': 'export default 1;',
      'src/http/b.ts': 'export default function run() {}',
      'src/http/c.ts': 'const run = 1;\nexport { run as default };',
    },
    caught: [
      'src/http/a.ts:1: export default 1;',
      'src/http/b.ts:1: default',
      'src/http/c.ts:2: run as default',
    ],
    fine: { 'src/http/a.ts': 'switch (x) {\n  default:\n}\nexport const run = { default: 1 };' },
  },
  {
    says: 'types tell the truth: no any, no cast through unknown, no silenced error',
    rule: rules.typesTellTheTruth,
    broken: {
      'src/http/a.ts': 'const a: any = 1;\nconst b = (a as unknown) as string;',
      'src/http/b.ts': '// @ts-ignore\nconst b: number = "1";',
    },
    caught: [
      'src/http/a.ts:1: any',
      'src/http/a.ts:2: (a as unknown) as string',
      'src/http/b.ts:1: @ts-ignore',
    ],
    fine: { 'src/http/a.ts': '// any of them\nconst a = b as unknown;\nconst any = 1;' },
  },
  {
    says: 'nothing is left to do',
    rule: rules.nothingLeftToDo,
    broken: { 'src/http/a.ts': '// FIXME\nconst a = 1; // TODO: more' },
    caught: ['src/http/a.ts:1: FIXME', 'src/http/a.ts:2: TODO'],
    fine: { 'src/http/a.ts': 'const todoList = 1;' },
  },
  {
    says: 'files are in the folders of the layout, in kebab-case, and none is a barrel',
    rule: rules.layout,
    broken: {
      'src/services/send.ts': '',
      'src/misc.ts': '',
      'src/http/views/events.ts': '',
      'src/store/index.ts': '',
      'src/store/memoryStore.ts': '',
    },
    caught: [
      'src/services/send.ts: no folder of the layout',
      'src/services/send.ts: no layer of the layout',
      'src/misc.ts: no layer of the layout',
      'src/http/views/events.ts: no folder of the layout',
      'src/store/index.ts: a barrel',
      'src/store/memoryStore.ts: not kebab-case',
    ],
    fine: { 'src/sandbox/check-event.ts': '', 'src/app/app.ts': '' },
  },
];

describe.each(laws)('$says', ({ rule, broken, caught, fine }) => {
  it('holds', () => {
    expect(rule(tree)).toEqual([]);
  });

  it('would be seen to be broken', () => {
    expect(rule(toSources(broken))).toEqual(caught);
  });

  it('leaves alone what only looks like it', () => {
    expect(rule(toSources(fine))).toEqual([]);
  });
});

describe('the checks', () => {
  it('include every rule there is', () => {
    const checked = new Set(laws.map(({ rule }) => rule));
    expect(Object.entries(rules).filter(([, rule]) => !checked.has(rule))).toEqual([]);
  });

  it('see the whole tree', () => {
    const paths = tree.map(({ path }) => path);
    expect(paths).toEqual(
      expect.arrayContaining(['src/main.ts', 'src/model/store.ts', 'test/architecture.test.ts']),
    );
    const memory = tree.find(({ path }) => path === 'src/store/memory.ts');
    expect(memory?.imports).toContainEqual({
      specifier: '../clock.js',
      target: 'src/clock.ts',
      typeOnly: true,
    });
  });
});
