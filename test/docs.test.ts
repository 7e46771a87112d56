import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { z } from 'zod';
import { readMeasured, toCostTable, toModelTable, toNeeds } from '../scripts/capacity.js';
import { readRows, toFigure, toPerformanceTable } from '../scripts/performance.js';
import {
  commandNames,
  replaceBetween,
  toCliSections,
  toEnvExample,
  toGroupedTables,
  toMetricRows,
  toMetricsTable,
  toSettings,
  toSettingsTable,
} from '../scripts/write-docs.js';
import { checkCommand as check } from '../src/cli/check.js';
import { demoCommand as demo } from '../src/cli/demo.js';
import { importCommand } from '../src/cli/import.js';
import { mapCommand as map } from '../src/cli/map.js';
import { sandboxCommand as sandbox } from '../src/cli/sandbox.js';
import { startCommand as start } from '../src/cli/start.js';
import { storeCommand as store } from '../src/cli/store.js';
import { loadConfig, settingsSchema } from '../src/config/config.js';
import { createMetrics } from '../src/metrics.js';
import { findBrokenLinks, findLinks, findPages } from './support/markdown.js';

const read = (path: string): string => readFileSync(new URL(`../${path}`, import.meta.url), 'utf8');
const settings = toSettings(settingsSchema);
const metrics = toMetricRows(createMetrics('0.0.0').registry);

const pages = findPages();

/** In the order of `commandNames`. From the source, because the unit tests need no build. */
const commands = { start, sandbox, check, map, import: importCommand, store, demo };
const commandHelps = Object.entries(commands).map(([name, { help }]) => ({ name, help }));

describe('generated documentation (after a change run npm run docs):', () => {
  it('.env.example contains every setting with its default', () => {
    expect(read('.env.example')).toBe(toEnvExample(settings));
  });

  it.each([
    ['docs/reference/configuration.md', 'settings', () => toGroupedTables(settings)],
    ['docs/reference/metrics.md', 'metrics', () => toMetricsTable(metrics)],
    ['docs/reference/cli.md', 'commands', () => toCliSections(commandHelps)],
    ['docs/operations/capacity.md', 'costs', () => toCostTable(readMeasured())],
    ['docs/operations/capacity.md', 'model', () => toModelTable(readMeasured())],
    ['docs/performance.md', 'measured', () => toPerformanceTable(readRows())],
  ])('%s has the current text between its %s markers', (path, marker, render) => {
    const page = read(path);
    expect(page).toBe(replaceBetween(page, marker, render()));
  });

  it('docs/reference/cli.md lists every command that the command line has', () => {
    const modules = read('src/cli/run.ts').matchAll(/import\('\.\/(\w+)\.js'\)/g);
    expect([...modules].map(([, name]) => name)).toEqual(commandNames);
    for (const name of commandNames) {
      expect(read('docs/reference/cli.md')).toContain(`| [${name}](#${name}) |`);
    }
  });
});

describe('Markdown pages', () => {
  it.each(pages)('%s links only to files and headings that exist', (page) => {
    expect(findBrokenLinks(page)).toEqual([]);
  });

  it('under docs/ are all reachable by links from README.md', () => {
    const reached = new Set(['README.md']);
    // A set that grows during its iteration yields the new members as well.
    for (const page of reached) {
      for (const { target } of findLinks(page)) if (pages.includes(target)) reached.add(target);
    }
    expect(pages.filter((page) => page.startsWith('docs/') && !reached.has(page))).toEqual([]);
  });
});

describe('benchmark figures', () => {
  it('show a median with its range, or one number if they were measured once', () => {
    expect(toFigure({ median: 0.61234, min: 0.5, max: 1 })).toBe('0.612 (0.5–1)');
    expect(toFigure({ median: 12_345.6, min: 12_345.6, max: 12_345.6 })).toBe('12,346');
  });
});

describe('the capacity model', () => {
  it('computes memory from buffered and remembered events, and threads from the time of scripts', () => {
    const cost = {
      payloadBytes: 400,
      waitingBytes: 500,
      rememberedBytes: 200,
      appendMicros: 20,
      singleAppendMicros: 100,
      deliverMicros: 30,
    };
    const needs = toNeeds({ accounts: 10, perSecond: 1000, outageHours: 2 }, cost);
    expect(needs).toEqual({
      total: 10_000,
      // 10,000 events of 50 µs take half of a thread's time, and the plan uses half of each thread.
      threads: 1,
      gigabytes: (10 * (7_200_000 * 500 + 500_000 * 200)) / 1e9,
    });
    expect(toNeeds({ accounts: 30, perSecond: 1000, outageHours: 2 }, cost).threads).toBe(3);
  });
});

describe('the settings schema', () => {
  it('describes every setting', () => {
    expect(settings.filter(({ description }) => description === '')).toEqual([]);
  });

  it('loads the same configuration from .env.example, with or without its comment signs, as from an empty environment', () => {
    const lines = read('.env.example').split('\n');
    const toEnv = (assignments: readonly string[]) =>
      Object.fromEntries(
        assignments.map((line) => {
          const [name = '', ...value] = line.split('=');
          return [name, value.join('=')];
        }),
      );
    const asShipped = toEnv(lines.filter((line) => /^[A-Z]/.test(line)));
    const allUncommented = toEnv(
      lines.filter((line) => /^(# )?[A-Z_]+=/.test(line)).map((line) => line.replace(/^# /, '')),
    );
    expect(Object.keys(allUncommented)).toEqual(Object.keys(settingsSchema.shape));
    // The file as shipped has a placeholder instead of a key.
    expect(() => loadConfig(asShipped)).toThrow('KLAVIYO_API_KEY: is a placeholder');
    const key = { KLAVIYO_API_KEY: 'pk_1' };
    expect(loadConfig({ ...allUncommented, ...key })).toEqual(loadConfig({ ...asShipped, ...key }));
  });

  it('is rendered in groups, and every setting must be in exactly one', () => {
    const [A, B] = ['A', 'B'].map((name) => ({
      name,
      description: `setting ${name}`,
      required: false,
      fallback: null,
    }));
    const inGroups = toGroupedTables(
      [A!, B!],
      [
        { title: 'First', names: ['A'] },
        { title: 'Second', prefix: 'B' },
      ],
    );
    expect(inGroups).toBe(
      `## First\n\n${toSettingsTable([A!])}\n\n## Second\n\n${toSettingsTable([B!])}`,
    );
    const render = (...names: readonly string[]) =>
      toGroupedTables(
        [A!, B!],
        [
          { title: 'First', names },
          { title: 'All', prefix: 'B' },
        ],
      );
    expect(() => render('A', 'B')).toThrow('not in exactly one group: B');
    expect(() => render()).toThrow('not in exactly one group: A');
    expect(() => render('A', 'C')).toThrow('group First: a setting does not exist');
  });

  it('is rendered with defaults as an operator would write them', () => {
    const schema = z.object({
      KEY: z.string().describe('a key'),
      LIST: z.string().default('').transform(splitCommas),
      WINDOWS: z.string().transform(splitCommas).prefault('10/1s,150/60s'),
      SWITCH: z.stringbool().default(false),
      COUNT: z.coerce.number().int().default(8),
      LEVEL: z.enum(['low', 'high']).default('low').describe('how loud'),
      COUNTRY: z.string().optional(),
    });
    expect(toSettings(schema).map(({ name, fallback }) => [name, fallback])).toEqual([
      ['KEY', null],
      ['LIST', null],
      ['WINDOWS', '10/1s,150/60s'],
      ['SWITCH', 'false'],
      ['COUNT', '8'],
      ['LEVEL', 'low'],
      ['COUNTRY', null],
    ]);
    expect(toSettingsTable(toSettings(schema.pick({ KEY: true, LEVEL: true })))).toBe(
      [
        '| variable | default | meaning |',
        '| --- | --- | --- |',
        '| `KEY` | required | a key |',
        '| `LEVEL` | `low` | how loud (`low`, `high`) |',
      ].join('\n'),
    );
  });
});

describe('every metric', () => {
  it('has the prefix, a help text and no label that could hold an id or an address', () => {
    expect(metrics.length).toBeGreaterThan(20);
    expect(metrics.filter(({ help }) => help === '')).toEqual([]);
    const labels = new Set(metrics.flatMap(({ labelNames }) => labelNames));
    expect([...labels].filter((label) => /id$|email|phone|key|url/.test(label))).toEqual([]);
  });

  it('is rendered with its labels', () => {
    const row = { name: 'relay_x_total', type: 'counter', help: 'X | Y', labelNames: ['lane'] };
    expect(toMetricsTable([row])).toContain('| `relay_x_total` | counter | `lane` | X \\| Y |');
  });
});

describe('replaceBetween', () => {
  const text = 'a\n<!-- part:start -->\nold\n<!-- part:end -->\nb\n';

  it('replaces the text between the markers and nothing else', () => {
    expect(replaceBetween(text, 'part', 'new')).toBe(
      'a\n<!-- part:start -->\n\nnew\n\n<!-- part:end -->\nb\n',
    );
  });

  it('throws if the markers are missing, in the wrong order or there twice', () => {
    expect(() => replaceBetween('nothing', 'part', 'new')).toThrow('there is no');
    expect(() => replaceBetween('<!-- part:end --><!-- part:start -->', 'part', 'new')).toThrow(
      'there is no',
    );
    expect(() => replaceBetween(text + text, 'part', 'new')).toThrow('twice');
  });
});

function splitCommas(text: string): readonly string[] {
  return text.split(',');
}
