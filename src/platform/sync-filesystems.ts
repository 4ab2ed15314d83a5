/** syncfs(2): all that was written to a filesystem, by anybody, is on disk. */
import { execFile } from 'node:child_process';
import { closeSync, openSync, statSync } from 'node:fs';
import { BackupError } from './errors.ts';
import { loadKoffi, loadLibrary } from './ffi.ts';
import { ioError } from './io-error.ts';

/**
 * Syncs the filesystems that hold these directories, one after the other, each once. The thread goes on meanwhile.
 *
 * @throws BackupError IO_ERROR, UNAVAILABLE where neither the C library nor the program `sync` can be called
 */
export async function syncFilesystems(directories: readonly string[]): Promise<void> {
  const byDevice = new Map<number, string>();
  for (const directory of directories) {
    try {
      byDevice.set(statSync(directory).dev, directory);
    } catch (error) {
      throw ioError(error, 'look at', directory);
    }
  }
  for (const directory of byDevice.values()) await (syncByLibrary(directory) ?? syncByProgram(directory));
}

interface AsyncFunction {
  async(fd: number, done: (error: unknown, result: number) => void): void;
}

let syncfs: AsyncFunction | undefined;

function syncByLibrary(directory: string): Promise<void> | undefined {
  syncfs ??= loadLibrary(null, 'libc.so.6')?.func('int syncfs(int)') as unknown as AsyncFunction | undefined;
  if (syncfs === undefined) return undefined;
  const fd = openSync(directory, 'r');
  return new Promise<void>((resolve, reject) => {
    syncfs!.async(fd, (error, result) => {
      const errno = loadKoffi()?.errno();
      closeSync(fd);
      if (!error && result === 0) resolve();
      else reject(failed(directory, error ? String(error) : `syncfs says errno ${errno}`));
    });
  });
}

function syncByProgram(directory: string): Promise<void> {
  return new Promise((resolve, reject) => {
    execFile('sync', ['-f', directory], (error) => {
      if (error === null) resolve();
      else reject(failed(directory, error.message));
    });
  });
}

function failed(directory: string, reason: string): BackupError {
  return new BackupError({
    code: 'IO_ERROR',
    tried: 'sync the filesystem of',
    subject: directory,
    reason,
    remedy: 'Check the disk and dmesg',
  });
}
