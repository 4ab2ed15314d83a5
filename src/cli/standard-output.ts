import fs from 'node:fs';
import { hasErrno } from '../platform/errors.ts';

/** Writes pieces to standard output no faster than its reader takes them. The pieces may be reused afterwards. */
export async function writeToStandardOutput(pieces: Iterable<Uint8Array>): Promise<void> {
  for (const piece of pieces) {
    const copy = Buffer.from(piece);
    if (!process.stdout.write(copy))
      await new Promise<void>((resolve) => process.stdout.once('drain', resolve));
  }
}

const FLUSH_BYTES = 64 * 1024;
/** Of one UTF-16 unit. */
const MAX_UTF8_BYTES = 3;
const RETRY_MS = 2;

/**
 * Lines to standard output, many in one write. It is synchronous, whatever standard output is, so nothing piles up
 * in memory. flush() before anything else is written there or to standard error, and at the end.
 */
export class LineWriter {
  readonly #buffer: Buffer = Buffer.allocUnsafe(2 * FLUSH_BYTES * MAX_UTF8_BYTES);
  #text = '';

  /** Adds a line, without its line end. */
  write(line: string): void {
    this.add(`${line}\n`);
  }

  /** Adds text as it is. */
  add(text: string): void {
    this.#text += text;
    if (this.#text.length >= FLUSH_BYTES) this.flush();
  }

  /** Adds bytes that need not be UTF-8. */
  bytes(bytes: Uint8Array): void {
    this.flush();
    writeAll(bytes);
  }

  flush(): void {
    if (this.#text === '') return;
    const text = this.#text;
    this.#text = '';
    // A buffer for each would pile up until the next garbage collection.
    if (text.length * MAX_UTF8_BYTES > this.#buffer.length) writeAll(Buffer.from(text, 'utf8'));
    else writeAll(this.#buffer.subarray(0, this.#buffer.write(text, 'utf8')));
  }
}

function writeAll(bytes: Uint8Array): void {
  for (let at = 0; at < bytes.length; ) at += writeSome(bytes.subarray(at));
}

/** @returns how many bytes were written; 0 after a short wait if the reader is slow. */
function writeSome(bytes: Uint8Array): number {
  try {
    return fs.writeSync(1, bytes);
  } catch (error) {
    if (!hasErrno(error, 'EAGAIN')) {
      // As main() does where the stream says it.
      process.stdout.emit('error', error);
      throw error;
    }
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, RETRY_MS);
    return 0;
  }
}
