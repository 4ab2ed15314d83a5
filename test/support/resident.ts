import { accessSync, constants, fstatSync, statfsSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { loadKoffi } from '../../src/platform/ffi.ts';

const PAGE_BYTES = 4096;
const TMPFS_MAGIC = 0x01021994;

/**
 * A folder for temporary files whose pages can be forgotten, since they are on a disk; undefined where there is none,
 * or residentBytes() cannot be asked.
 */
export const diskFolder: string | undefined =
  loadKoffi() === undefined ? undefined : [tmpdir(), '/var/tmp'].find((folder) => isOnDisk(folder));

function isOnDisk(folder: string): boolean {
  try {
    accessSync(folder, constants.W_OK);
    return statfsSync(folder).type !== TMPFS_MAGIC;
  } catch {
    return false;
  }
}

/** How much of a file, open for reading, is in the page cache: mincore(2). */
export function residentBytes(fd: number): number {
  const libc = loadKoffi()!.load('libc.so.6');
  const map = libc.func(
    'void *mmap(void *at, size_t length, int protection, int flags, int fd, int64_t offset)',
  );
  const mincore = libc.func('int mincore(void *at, size_t length, uint8_t *pages)');
  const unmap = libc.func('int munmap(void *at, size_t length)');
  const { size } = fstatSync(fd);
  const [READ, SHARED] = [1, 1];
  const at: unknown = map(null, size, READ, SHARED, fd, 0);
  const pages = Buffer.alloc(Math.ceil(size / PAGE_BYTES));
  if (mincore(at, size, pages) !== 0) throw new Error('mincore failed');
  unmap(at, size);
  return pages.reduce((count, page) => count + (page & 1), 0) * PAGE_BYTES;
}
