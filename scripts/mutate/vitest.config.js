import { defineConfig } from 'vitest/config';
import { readPlan } from './files.js';

const plan = readPlan();
const sources = new Map(Object.entries(plan.sources));

/** Used by scripts/mutate.js alone. One worker holds all mutants and runs one test file after another. */
export default defineConfig({
  root: plan.root,
  plugins: [
    {
      name: 'mutants',
      enforce: 'pre',
      transform: (_code, id) => {
        const code = sources.get(id);
        return code === undefined ? null : { code, map: null };
      },
    },
  ],
  test: {
    include: plan.tests,
    runner: new URL('runner.js', import.meta.url).pathname,
    pool: 'threads',
    maxWorkers: 1,
    isolate: false,
    testTimeout: 60_000,
    // After a test that hangs, the hook that stops its engine hangs as well.
    hookTimeout: 10_000,
    reporters: ['dot'],
  },
});
