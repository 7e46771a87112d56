import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { z } from 'zod';

// A global setup of Vitest: its teardown is the last thing that a run does, after every reporter.

const variable = 'MISSING_TOOLS_LOG';

/** The file to which the workers write what they skipped: a line of JSON for each test or suite. */
export function missingToolsLog(): string {
  const path = process.env[variable];
  if (path === undefined)
    throw new Error(`${variable} is not set: is missing-tools.ts a global setup?`);
  return path;
}

export function setup(): void {
  process.env[variable] = join(mkdtempSync(join(tmpdir(), 'missing-tools-')), 'skipped.jsonl');
}

/** Prints how many tests were skipped. With REQUIRE_TEST_TOOLS set, skipped tests fail the run. */
export function teardown(): void {
  const path = missingToolsLog();
  const text = existsSync(path) ? readFileSync(path, 'utf8') : '';
  rmSync(dirname(path), { recursive: true });
  const summary = summarizeSkipped(text);
  if (summary === null) return;
  process.stdout.write(`${summary}\n`);
  if (process.env.REQUIRE_TEST_TOOLS !== undefined) process.exitCode = 1;
}

const line = z.object({ tool: z.string(), tests: z.int() });
const names: Readonly<Record<string, string>> = {
  strace: 'strace (Linux, with the right to trace)',
};

/** `skipped: 312 tests need redis-server, 41 need strace (…); scripts/test-tools.sh installs them` */
export function summarizeSkipped(log: string): string | null {
  const counts = new Map<string, number>();
  for (const each of log.split('\n').filter((text) => text !== '')) {
    const { tool, tests } = line.parse(JSON.parse(each));
    counts.set(tool, (counts.get(tool) ?? 0) + tests);
  }
  if (counts.size === 0) return null;
  const needs = [...counts].map(([tool, count], index) => {
    const tests = index > 0 ? '' : count === 1 ? ' test' : ' tests';
    return `${count}${tests} need ${names[tool] ?? tool}`;
  });
  return `skipped: ${needs.join(', ')}; scripts/test-tools.sh installs what is missing`;
}
