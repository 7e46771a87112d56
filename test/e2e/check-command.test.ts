import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { runCommand } from '../support/relay-process.js';

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'relay-check-'));
});
afterEach(() => rmSync(folder, { recursive: true }));

const check = (mapping: string) => {
  const path = join(folder, 'mapping.yaml');
  writeFileSync(path, mapping);
  return runCommand(['check', '--offline'], { KLAVIYO_API_KEY: 'pk_test', MAPPING_FILE: path });
};

it('check explains what the mapping file does to each source', async () => {
  const { code, output } = await check('shopify:\n  topics: { orders/cancelled: false }\n');
  expect(output).toContain('ok   segment: all on, as it comes\n');
  expect(output).toContain('ok   shopify: topic orders/cancelled: off\n');
  expect(code).toBe(0);
});

it('check names what is wrong with the mapping file', async () => {
  const { code, output } = await check('shopify:\n  topics: { orders/cancelled: 0 }\n');
  expect(output).toContain('MAPPING_FILE: /shopify/topics/orders~1cancelled must be true or false');
  expect(code).toBe(1);
});
