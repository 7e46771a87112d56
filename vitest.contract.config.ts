import { defineConfig } from 'vitest/config';

/** `npm run contract`: the relay and the sandbox against Klaviyo's official OpenAPI files. */
export default defineConfig({
  test: { include: ['test/contract/**/*.contract.ts'], pool: 'forks', testTimeout: 60_000 },
});
