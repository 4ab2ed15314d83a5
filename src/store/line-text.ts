/**
 * The text of a command that is not written yet, or has to be written again further down: in memory when it
 * came as one small piece, else spooled to a file of the session.
 */
import fs from 'node:fs';
import path from 'node:path';
import { printString } from '../csync/encoder.ts';
import type { StagedMessage } from '../pipeline/messages.ts';
import { hasErrno } from '../platform/errors.ts';
import { ioError } from '../platform/io-error.ts';
import type { OpenChunk } from './open-chunk.ts';

/** Bytes moved at a time. */
const BLOCK_BYTES = 256 * 1024;

export type LineText = { bytes: Uint8Array } | { path: string; offset: number; length: number };

/** Calls `consume` with the text in order, in blocks that are valid only during the call. */
export function eachBlock(text: LineText, consume: (block: Uint8Array) => void): void {
  if ('bytes' in text) {
    consume(text.bytes);
    return;
  }
  const fd = fs.openSync(text.path, 'r');
  try {
    const block = Buffer.allocUnsafe(Math.min(BLOCK_BYTES, text.length));
    for (let done = 0; done < text.length; ) {
      const length = Math.min(block.length, text.length - done);
      const got = fs.readSync(fd, block, 0, length, text.offset + done);
      if (got === 0) throw new Error(`${text.path} ends before byte ${text.offset + text.length}`);
      consume(block.subarray(0, got));
      done += got;
    }
  } finally {
    fs.closeSync(fd);
  }
}

/**
 * Writes staged messages as one MESSAGE line and makes them pending; they were asked for by this user, so
 * they count as reserved.
 */
export function appendStagedMessages(chunk: OpenChunk, messages: readonly StagedMessage[]): void {
  if (messages.length === 0) return;
  const line = chunk.beginLine();
  chunk.appendText(Buffer.from('MESSAGE (', 'latin1'));
  let separator = '';
  for (const message of messages) {
    const { partition, guid, size } = message;
    chunk.appendText(Buffer.from(`${separator}%{${printString(partition)} ${guid} ${size}}\r\n`, 'latin1'));
    separator = ' ';
    const offset = chunk.contentLength - line.textOffset;
    eachBlock({ path: message.path, offset: message.offset, length: size }, (block) => {
      chunk.appendText(Buffer.from(block));
    });
    chunk.pending.add({ chunkId: chunk.id, ...line }, [{ guid, partition, size, offset }], () => true);
  }
  chunk.appendText(Buffer.from(')\r\n', 'latin1'));
}

/** Copies everything pending out of the chunk. */
export function exportPending(chunk: OpenChunk, spool: SpoolFile): StagedMessage[] {
  return chunk.pending.all().map(({ guid, partition, contentOffset, size }) => {
    const offset = spool.end;
    for (const block of chunk.read(contentOffset, size)) spool.append(block);
    return { guid, partition, path: spool.path, offset, size };
  });
}

/** Below /tmp somebody may have cleared the folder away since the start, which nobody shall have to restart the server for. */
function openInFolder(file: string): number {
  try {
    return fs.openSync(file, 'a+', 0o600);
  } catch (error) {
    if (!hasErrno(error, 'ENOENT')) throw error;
    fs.mkdirSync(path.dirname(file), { recursive: true, mode: 0o700 });
    return fs.openSync(file, 'a+', 0o600);
  }
}

/** A file of one session's, to which bytes can be appended; not synced, removed with the session. */
export class SpoolFile {
  readonly path: string;
  readonly #fd: number;
  #end: number;

  constructor(file: string) {
    this.path = file;
    try {
      this.#fd = openInFolder(file);
    } catch (error) {
      throw ioError(error, 'open the staging file', file);
    }
    this.#end = fs.fstatSync(this.#fd).size;
  }

  /**
   * Appends all of it or nothing; returns the offset at which the bytes begin.
   *
   * @throws BackupError NO_SPACE, IO_ERROR
   */
  append(bytes: Uint8Array): number {
    const start = this.#end;
    try {
      for (let done = 0; done < bytes.length; ) {
        done += fs.writeSync(this.#fd, bytes, done, bytes.length - done);
      }
    } catch (error) {
      fs.ftruncateSync(this.#fd, start); // others need the room
      throw ioError(error, 'write the staging file', this.path);
    }
    this.#end += bytes.length;
    return start;
  }

  get end(): number {
    return this.#end;
  }

  close(): void {
    fs.closeSync(this.#fd);
  }
}
