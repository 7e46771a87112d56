import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it, onTestFinished, vi } from 'vitest';
import { ConfigError, loadConfig } from '../../../src/config/config.js';
import { sourceNames } from '../../../src/sources/list.js';

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'relay-mapping-'));
});
afterEach(() => rmSync(folder, { recursive: true }));

function load(text: string, name = 'mapping.yaml') {
  const path = join(folder, name);
  writeFileSync(path, text);
  return loadConfig({ KLAVIYO_API_KEY: 'pk_test', MAPPING_FILE: path });
}

function problemsOf(run: () => unknown): readonly string[] {
  try {
    run();
  } catch (error) {
    if (error instanceof ConfigError) return error.problems;
    throw error;
  }
  return [];
}

const noRules = { include: null, exclude: [], rename: {} };
const expected = {
  shopify: {
    topics: { 'orders/cancelled': false },
    metrics: { 'Placed Order': 'Order Placed' },
    properties: noRules,
    events: {},
    consent: null,
  },
};

describe('MAPPING_FILE', () => {
  it('is read as YAML or as JSON', () => {
    const yaml =
      'shopify:\n  topics: { orders/cancelled: false } # too many\n  metrics:\n    Placed Order: Order Placed\n';
    expect(load(yaml).MAPPING_FILE).toEqual(expected);
    const { topics, metrics } = expected.shopify;
    const json = JSON.stringify({ shopify: { topics, metrics } });
    expect(load(json, 'mapping.json').MAPPING_FILE).toEqual(expected);
  });

  it('changes nothing if it is absent or empty', () => {
    expect(loadConfig({ KLAVIYO_API_KEY: 'pk_test' }).MAPPING_FILE).toBeUndefined();
    expect(load('# nothing yet\n').MAPPING_FILE).toEqual({});
  });

  it('is a configuration problem if the file does not exist', () => {
    const path = join(folder, 'nowhere.yaml');
    expect(problemsOf(() => loadConfig({ KLAVIYO_API_KEY: 'pk_1', MAPPING_FILE: path }))).toEqual([
      expect.stringMatching(/^MAPPING_FILE: cannot be read \(ENOENT/),
    ]);
  });

  it('reports all its issues at once, each with its path', () => {
    expect(problemsOf(() => load('shopify: { topics: { a: b } }\nwoo: {}\n'))).toEqual([
      'MAPPING_FILE: /shopify/topics/a must be true or false',
      'MAPPING_FILE: /woo is not a field of a mapping',
    ]);
    expect(problemsOf(() => load('[]'))).toEqual([
      `MAPPING_FILE: it must hold ${sourceNames.join(', ')}, or some of them`,
    ]);
  });

  it.each([
    ['has a duplicate key', 'shopify: {}\nshopify: {}\n', /DUPLICATE_KEY at line 2, column 1$/],
    ['is not YAML', 'shopify: [1', /line 1, column 12$/],
    ['expands aliases without bound', toBomb(), /alias/i],
  ])('that %s is reported in one line', (_, text, words) => {
    const problems = problemsOf(() => load(text));
    expect(problems).toEqual([expect.stringMatching(words)]);
    expect(problems[0]).toMatch(/^MAPPING_FILE: /);
  });
});

describe('a MAPPING_FILE that is a file of secrets', () => {
  it.each([
    ['of variables', 'STRIPE_KEY=hunter2\nhunter2\n'],
    ['of YAML', 'password: hunter2\nhunter2: 1\n'],
    ['of YAML with a duplicate key', 'hunter2: 1\nhunter2: 2\n'],
    ['with an alias', 'password: *hunter2\n'],
    ['with a tag', 'password: !hunter2 a\n'],
    ['that is not YAML', 'password: "hunter2\n  hunter2: [\n'],
    ['that is a key', '-----BEGIN KEY-----\nhunter2\n-----END KEY-----\n'],
    ['of bytes', '\u0000\u0001hunter2\u0000'],
  ])('%s is rejected without any of its content', (_, text) => {
    const warned = vi.spyOn(process, 'emitWarning');
    onTestFinished(() => warned.mockRestore());
    const problems = problemsOf(() => load(text));
    expect(problems).toHaveLength(1);
    expect(problems.join()).not.toContain('hunter2');
    expect(warned).not.toHaveBeenCalled();
  });

  it('gets a suggestion for a misspelt name of a source', () => {
    expect(problemsOf(() => load('shoppify: {}\n'))).toEqual([
      `MAPPING_FILE: it must hold ${sourceNames.join(', ')}, or some of them; did you mean shopify?`,
    ]);
  });
});

/** A few lines of YAML that expand to a million texts. */
function toBomb(): string {
  const lines = ['a0: &a0 [x, x, x, x, x, x, x, x, x, x]'];
  for (let at = 1; at < 7; at++) {
    lines.push(`a${at}: &a${at} [${Array.from({ length: 10 }, () => `*a${at - 1}`).join(', ')}]`);
  }
  return lines.join('\n');
}
