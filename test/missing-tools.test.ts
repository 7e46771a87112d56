import { describe, expect, it } from 'vitest';
import { summarizeSkipped } from './support/missing-tools.js';

describe('the summary of tests skipped for a missing program', () => {
  it('is empty when nothing was skipped', () => {
    expect(summarizeSkipped('')).toBeNull();
  });

  it('adds up the tests for each program', () => {
    const log = [
      { tool: 'redis-server', tests: 300 },
      { tool: 'strace', tests: 41 },
      { tool: 'redis-server', tests: 12 },
    ];
    expect(summarizeSkipped(log.map((each) => `${JSON.stringify(each)}\n`).join(''))).toBe(
      'skipped: 312 tests need redis-server, 41 need strace (Linux, with the right to trace); ' +
        'scripts/test-tools.sh installs what is missing',
    );
  });
});
