import { defineConfig } from 'vitest/config';

// What needs Debian's packages. Real Cyrus instances share the machine's two cores with our server, so the files run
// one after the other.
export default defineConfig({
  test: {
    include: ['test/interop/**/*.test.ts', 'test/prometheus/**/*.test.ts'],
    pool: 'forks',
    fileParallelism: false,
    testTimeout: 120_000,
    hookTimeout: 120_000,
  },
});
