import { availableParallelism } from 'node:os';
import { defineConfig } from 'vitest/config';

export default defineConfig({
  test: {
    include: ['test/**/*.test.ts'],
    pool: 'forks',
    // Tests that need redis-server, strace or openssl are skipped where it is missing.
    runner: './test/support/missing-tools-runner.ts',
    globalSetup: './test/support/missing-tools.ts',
    // The sources are loaded once a worker: loading them for each file takes longer than most files do.
    isolate: false,
    // Many tests wait, for processes and syncs, more than they compute.
    maxWorkers: Math.max(2, Math.ceil(availableParallelism() * 1.5)),
    testTimeout: 20_000,
    hookTimeout: 20_000,
    reporters: process.env.CI ? ['dot'] : ['default'],
  },
});
