import { defineConfig } from 'vitest/config';

/** `npm run torture`: the built relay, killed hundreds of times. */
export default defineConfig({
  test: {
    include: ['test/torture/**/*.torture.ts'],
    pool: 'forks',
    fileParallelism: false,
    testTimeout: 1_200_000,
  },
});
