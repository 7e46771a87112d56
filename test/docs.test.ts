import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { z } from 'zod';
import { readMeasured, toCostTable, toModelTable, toNeeds } from '../scripts/capacity.js';
import { readRows, toFigure, toPerformanceTable } from '../scripts/performance.js';
import {
  replaceBetween,
  toEnvExample,
  toMetricRows,
  toMetricsTable,
  toSettings,
  toSettingsTable,
} from '../scripts/write-docs.js';
import { loadConfig, settingsSchema } from '../src/config/config.js';
import { createMetrics } from '../src/metrics.js';

const read = (path: string): string => readFileSync(new URL(`../${path}`, import.meta.url), 'utf8');
const settings = toSettings(settingsSchema);
const metrics = toMetricRows(createMetrics('0.0.0').registry);

describe('the files made from the code (after a change: npm run docs)', () => {
  it('.env.example names every setting with its default', () => {
    expect(read('.env.example')).toBe(toEnvExample(settings));
  });

  it("README.md's table of settings is the schema's", () => {
    const readme = read('README.md');
    expect(readme).toBe(replaceBetween(readme, 'settings', toSettingsTable(settings)));
  });

  it("docs/metrics.md's table is the registry's", () => {
    const page = read('docs/metrics.md');
    expect(page).toBe(replaceBetween(page, 'metrics', toMetricsTable(metrics)));
  });
});

describe('what was measured', () => {
  it("docs/performance.md's table is made from it", () => {
    const page = read('docs/performance.md');
    expect(page).toBe(replaceBetween(page, 'measured', toPerformanceTable(readRows())));
  });

  it('is told as a median with its range, and as it is where it was measured once', () => {
    expect(toFigure({ median: 0.61234, min: 0.5, max: 1 })).toBe('0.612 (0.5–1)');
    expect(toFigure({ median: 12_345.6, min: 12_345.6, max: 12_345.6 })).toBe('12,346');
  });
});

describe('the capacity model', () => {
  it("docs/scaling.md's tables are made from what was measured", () => {
    const page = read('docs/scaling.md');
    const costs = toCostTable(readMeasured());
    expect(page).toBe(replaceBetween(page, 'costs', costs));
    expect(page).toBe(replaceBetween(page, 'model', toModelTable(readMeasured())));
  });

  it('is arithmetic: memory by what waits and what is remembered, threads by their time', () => {
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
      // 10,000 events of 50 µs take half a thread, which is planned at half.
      threads: 1,
      gigabytes: (10 * (7_200_000 * 500 + 500_000 * 200)) / 1e9,
    });
    expect(toNeeds({ accounts: 30, perSecond: 1000, outageHours: 2 }, cost).threads).toBe(3);
  });
});

describe('settings', () => {
  it('all have a description', () => {
    expect(settings.filter(({ description }) => description === '')).toEqual([]);
  });

  it('load from .env.example as from an empty environment, comment signs taken away or not', () => {
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
    // As it is shipped, it lacks a key.
    expect(() => loadConfig(asShipped)).toThrow('KLAVIYO_API_KEY: is a placeholder');
    const key = { KLAVIYO_API_KEY: 'pk_1' };
    expect(loadConfig({ ...allUncommented, ...key })).toEqual(loadConfig({ ...asShipped, ...key }));
  });

  it('show defaults as an operator would write them', () => {
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
        '| variable | default | what it does |',
        '| --- | --- | --- |',
        '| `KEY` | required | a key |',
        '| `LEVEL` | `low` | how loud (`low`, `high`) |',
      ].join('\n'),
    );
  });
});

describe('metrics', () => {
  it('all carry the prefix, a help text and no label that could hold an id or an address', () => {
    expect(metrics.length).toBeGreaterThan(20);
    expect(metrics.filter(({ help }) => help === '')).toEqual([]);
    const labels = new Set(metrics.flatMap(({ labelNames }) => labelNames));
    expect([...labels].filter((label) => /id$|email|phone|key|url/.test(label))).toEqual([]);
  });

  it('are shown with their labels', () => {
    const row = { name: 'relay_x_total', type: 'counter', help: 'X | Y', labelNames: ['lane'] };
    expect(toMetricsTable([row])).toContain('| `relay_x_total` | counter | `lane` | X \\| Y |');
  });
});

describe('a part between markers', () => {
  const text = 'a\n<!-- part:start -->\nold\n<!-- part:end -->\nb\n';

  it('is replaced, and the rest is left alone', () => {
    expect(replaceBetween(text, 'part', 'new')).toBe(
      'a\n<!-- part:start -->\n\nnew\n\n<!-- part:end -->\nb\n',
    );
  });

  it('is refused where the markers are missing, turned round or there twice', () => {
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
