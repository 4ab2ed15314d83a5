import { closeSync, constants, fdatasyncSync, fstatSync, ftruncateSync, openSync, readSync } from 'node:fs';
import { writeAllSync } from '../../platform/durable.ts';

/** What the twoskip code needs of a file; tests record and replay it to play crashes. */
export interface TwoskipFile {
  /** For messages. */
  readonly path: string;
  size(): number;
  /** Up to `length` bytes; fewer at the end of the file. */
  read(position: number, length: number): Buffer;
  write(position: number, bytes: Uint8Array): void;
  truncate(size: number): void;
  /** Everything written or truncated before is on disk on return. */
  sync(): void;
}

/** An open file of the filesystem. */
export class DiskFile implements TwoskipFile {
  readonly path: string;
  readonly fd: number;

  constructor(path: string, flags: number = constants.O_RDWR, mode = 0o600) {
    this.path = path;
    this.fd = openSync(path, flags, mode);
  }

  size(): number {
    return fstatSync(this.fd).size;
  }

  read(position: number, length: number): Buffer {
    const bytes = Buffer.allocUnsafe(length);
    let filled = 0;
    while (filled < length) {
      const count = readSync(this.fd, bytes, filled, length - filled, position + filled);
      if (count === 0) break;
      filled += count;
    }
    return bytes.subarray(0, filled);
  }

  write(position: number, bytes: Uint8Array): void {
    writeAllSync(this.fd, [bytes], position);
  }

  truncate(size: number): void {
    ftruncateSync(this.fd, size);
  }

  sync(): void {
    fdatasyncSync(this.fd);
  }

  close(): void {
    closeSync(this.fd);
  }
}
