import { defineConfig } from 'vitest/config';

// What needs Debian's packages. Each file has Cyrus instances and servers of its own, which wait for each other most of
// the time: two files at once keep two cores busy.
export default defineConfig({
  test: {
    include: ['test/interop/**/*.test.ts', 'test/prometheus/**/*.test.ts'],
    pool: 'forks',
    maxWorkers: 2,
    testTimeout: 120_000,
    hookTimeout: 120_000,
  },
});
