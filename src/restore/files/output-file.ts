/** One file, or standard output, that all is written into, in order. */
import fs from 'node:fs';
import path from 'node:path';
import { crashPoint } from '../../platform/crash-points.ts';
import { syncDirectorySync } from '../../platform/durable.ts';
import { BackupError, hasErrno } from '../../platform/errors.ts';
import type { RestoreReport } from '../report.ts';
import { attempt } from './durable-files.ts';
import { targetError } from './target-error.ts';

export const STANDARD_OUTPUT = '-';
const STANDARD_OUTPUT_FD = 1;
const BUFFER_BYTES = 256 * 1024;
const RETRY_MS = 2;

/**
 * A file gets its name when it is complete and on disk. Standard output, and what is there but is no file (a pipe, a
 * device), is written to as it is.
 */
export class OutputFile {
  readonly #fd: number;
  readonly #name: string;
  /** Until it is complete; undefined: it has its name already. */
  readonly #part: string | undefined;
  /** What was left of a run that was interrupted was dropped. */
  readonly dropsPart: boolean = false;
  readonly #buffer = Buffer.allocUnsafe(BUFFER_BYTES);
  #buffered = 0;
  readonly #failed = (error: unknown): Error => targetError(error, 'write', this.#name);

  /** @param file a path, or `-` */
  constructor(file: string) {
    this.#name = file === STANDARD_OUTPUT ? 'standard output' : file;
    if (file === STANDARD_OUTPUT) this.#fd = STANDARD_OUTPUT_FD;
    else {
      const isSpecial = attempt(
        () => fs.statSync(file, { throwIfNoEntry: false })?.isFile() === false,
        this.#failed,
      );
      this.#part = isSpecial ? undefined : `${file}.part`;
      this.dropsPart = this.#part !== undefined && fs.existsSync(this.#part);
      this.#fd = attempt(() => fs.openSync(this.#part ?? file, 'w', 0o600), this.#failed);
    }
  }

  /** The bytes may be reused afterwards. */
  write(bytes: Uint8Array): void {
    if (this.#buffered + bytes.length > BUFFER_BYTES) this.#flush();
    if (bytes.length > BUFFER_BYTES) this.#writeAll(bytes);
    else {
      this.#buffer.set(bytes, this.#buffered);
      this.#buffered += bytes.length;
    }
  }

  /** All is written, and if it is a file it is on disk under its name. */
  finish(): void {
    this.#flush();
    if (this.#part === undefined) {
      this.#close();
      return;
    }
    attempt(() => fs.fsyncSync(this.#fd), this.#failed);
    this.#close();
    crashPoint('restore-files-synced');
    attempt(() => {
      fs.renameSync(this.#part!, this.#name);
      syncDirectorySync(path.dirname(this.#name));
    }, this.#failed);
  }

  /** After an error: nothing is left of a file. */
  discard(): void {
    this.#close();
    if (this.#part !== undefined) fs.rmSync(this.#part, { force: true });
  }

  #close(): void {
    if (this.#fd !== STANDARD_OUTPUT_FD) fs.closeSync(this.#fd);
  }

  #flush(): void {
    this.#writeAll(this.#buffer.subarray(0, this.#buffered));
    this.#buffered = 0;
  }

  #writeAll(bytes: Uint8Array): void {
    for (let at = 0; at < bytes.length; ) at += this.#writeSome(bytes.subarray(at));
  }

  /** @returns how many bytes were written; 0 after a short wait if the reader of a pipe is slow */
  #writeSome(bytes: Uint8Array): number {
    try {
      return fs.writeSync(this.#fd, bytes);
    } catch (error) {
      if (!hasErrno(error, 'EAGAIN')) throw this.#failed(error);
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, RETRY_MS);
      return 0;
    }
  }
}

/** What holds many messages cannot be gone on with: it begins anew, which may take hours. */
export function remarkDropped(report: RestoreReport, file: string, kind: string): void {
  report.remark(`what an interrupted run had written of ${file} is dropped: ${kind} begins anew`);
}

/**
 * Whether something is there that would be replaced.
 *
 * @throws BackupError where nothing can be written there
 */
export function checkOutput(file: string): boolean {
  if (file === STANDARD_OUTPUT) {
    if (process.stdout.isTTY) {
      throw new BackupError({
        code: 'USAGE',
        tried: 'write to',
        subject: 'standard output',
        reason: 'it is a terminal',
        remedy: 'Send it to a program or a file: ... | ssh HOST tar x, ... > FILE',
      });
    }
    return false;
  }
  const stats = attempt(
    () => fs.statSync(file, { throwIfNoEntry: false }),
    (error) => targetError(error, 'write', file),
  );
  if (stats?.isDirectory()) {
    throw new BackupError({
      code: 'EXISTS',
      tried: 'write',
      subject: file,
      reason: 'it is a folder, and all goes into one file',
      remedy: 'Name a file in it',
    });
  }
  if (stats === undefined && !isFolder(path.dirname(file))) {
    throw new BackupError({
      code: 'NOT_FOUND',
      tried: 'write',
      subject: file,
      reason: 'its folder is not there',
      remedy: `Make ${path.dirname(file)}, or name another place`,
    });
  }
  return stats?.isFile() === true;
}

function isFolder(path: string): boolean {
  return fs.statSync(path, { throwIfNoEntry: false })?.isDirectory() === true;
}
