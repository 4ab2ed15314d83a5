import { accessSync, constants, statfsSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { defineConfig } from 'vitest/config';

/**
 * Tests that start programs. A process that has run a hundred files holds 400 MB, and to start a program from one so
 * large takes 19 ms of CPU time, from one of 130 MB 11: they come first, in processes of their own.
 */
const PROGRAMS = [
  'test/{admin,cli,crash}/**/*.test.ts',
  'test/restore/{csync,imap}*.test.ts',
  'test/restore/files/*.test.ts',
  'test/server/{backupd,options,serve}.test.ts',
  'test/store/catalog.test.ts',
];
const ELSEWHERE = ['test/interop/**', 'test/prometheus/**'];

/** A file system in memory with room, if there is one: what only reads back what it wrote need not wait for disks. */
function memoryFolder(): string | undefined {
  const folder = '/dev/shm';
  try {
    accessSync(folder, constants.W_OK);
    const { bavail, bsize } = statfsSync(folder);
    return bavail * bsize >= 1 << 30 ? folder : undefined;
  } catch {
    return undefined;
  }
}

const folder = process.env.TMPDIR ?? memoryFolder();

export default defineConfig({
  test: {
    pool: 'forks',
    // Much of it waits for processes and disks: with as few as vitest takes on two cores half the time would be idle.
    maxWorkers: 3,
    // A process for each of the 200 files would take a quarter of the CPU time. No file may count on fresh modules.
    isolate: false,
    testTimeout: 30_000,
    hookTimeout: 30_000,
    // Hundreds of processes of ours are started: half of the CPU time of a short one is compiling.
    env: { NODE_COMPILE_CACHE: path.join(tmpdir(), `csync-backup-compiled-${process.getuid?.()}`) },
    // One after the other, by their names.
    projects: [
      { extends: true, test: { name: 'programs', include: PROGRAMS } },
      {
        extends: true,
        test: {
          name: 'rest',
          include: ['test/**/*.test.ts'],
          exclude: [...PROGRAMS, ...ELSEWHERE],
          ...(folder !== undefined && { env: { TMPDIR: folder } }),
        },
      },
    ],
  },
});
