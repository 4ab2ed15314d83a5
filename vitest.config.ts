import { tmpdir } from 'node:os';
import path from 'node:path';
import { defineConfig } from 'vitest/config';

export default defineConfig({
  test: {
    include: ['test/**/*.test.ts'],
    exclude: ['test/interop/**', 'test/prometheus/**'],
    pool: 'forks',
    // Much of it waits for processes and disks: with as few as vitest takes on two cores half the time would be idle.
    maxWorkers: 3,
    // A process for each of the 200 files would take a quarter of the CPU time. No file may count on fresh modules.
    isolate: false,
    testTimeout: 30_000,
    // Hundreds of processes of ours are started: half of the CPU time of a short one is compiling.
    env: { NODE_COMPILE_CACHE: path.join(tmpdir(), `csync-backup-compiled-${process.getuid?.()}`) },
  },
});
