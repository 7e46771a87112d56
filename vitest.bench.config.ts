import { defineConfig } from 'vitest/config';

/** `npm run bench -- NAME`: measurements, one after the other, with nothing else beside them. */
export default defineConfig({
  test: {
    include: ['bench/**/*.bench.ts'],
    pool: 'forks',
    fileParallelism: false,
    testTimeout: 1_200_000,
    hookTimeout: 60_000,
  },
});
