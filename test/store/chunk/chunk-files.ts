/** Data files for the tests of src/store/chunk: made by our writer, and as zlib makes them for Cyrus's backupd. */
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import zlib from 'node:zlib';
import { crc32 } from '../../../src/platform/crc32.ts';
import { loadDeflateEngine } from '../../../src/platform/deflate.ts';
import { ResumableSha1 } from '../../../src/platform/sha1.ts';
import { CHUNK_START_TEXT } from '../../../src/store/chunk/member.ts';
import { type ScannedMember, scanMembers } from '../../../src/store/chunk/scan.ts';
import { ChunkWriter } from '../../../src/store/chunk/writer.ts';

export const BOOT_TAG = Uint8Array.from([1, 2, 3, 4, 5, 6, 7, 8]);
export const engine = loadDeflateEngine('auto');
export const zlibEngine = loadDeflateEngine('zlib');

/** A temporary file with these bytes, open for reading and writing; removed and closed when disposed of. */
export class TemporaryFile implements Disposable {
  readonly path: string;
  readonly fd: number;

  constructor(bytes: Uint8Array = new Uint8Array(0), folder: string = os.tmpdir()) {
    this.path = path.join(fs.mkdtempSync(path.join(folder, 'chunk-')), 'data');
    this.fd = fs.openSync(this.path, 'wx+', 0o600);
    this.replace(bytes);
  }

  replace(bytes: Uint8Array): void {
    fs.ftruncateSync(this.fd, 0);
    fs.writeSync(this.fd, bytes, 0, bytes.length, 0);
  }

  bytes(): Buffer {
    return fs.readFileSync(this.path);
  }

  scan(from = 0, known?: ReadonlySet<number>): ScannedMember[] {
    return [...scanMembers(this.fd, from, undefined, known === undefined ? {} : { known })];
  }

  [Symbol.dispose](): void {
    fs.closeSync(this.fd);
    fs.rmSync(path.dirname(this.path), { recursive: true });
  }
}

/** A writer at the end of the file. */
export function writerAt(fd: number, deflateEngine = engine): ChunkWriter {
  const bytes = fs.fstatSync(fd).size;
  const fileSha1 = ResumableSha1.create();
  const before = Buffer.alloc(bytes);
  fs.readSync(fd, before, 0, bytes, 0);
  fileSha1.update(before);
  return new ChunkWriter({ fd, fileEnd: bytes, fileSha1, engine: deflateEngine, bootTag: BOOT_TAG });
}

/** Hands `raw` over as the deflate pool does. */
export function appendDeflated(writer: ChunkWriter, raw: Uint8Array, deflateEngine = engine): void {
  const out = new Uint8Array(raw.length + 70_000);
  const length = deflateEngine.deflateSegment(raw, out);
  writer.appendSegment(out.subarray(0, length), raw, crc32(raw));
}

export interface CyrusMember {
  bytes: Buffer;
  content: Buffer;
  /** Length of `bytes` and of `content` after each line was flushed (without the trailer). */
  flushes: { bytes: number; content: number }[];
}

/** A member as backupd writes it by gzwrite() and gzflush(Z_FULL_FLUSH), line by line. */
export async function cyrusMember(lines: readonly (string | Buffer)[], flush = true): Promise<CyrusMember> {
  const deflate = zlib.createDeflateRaw();
  const parts: Buffer[] = [Buffer.from([0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3])];
  const content: Buffer[] = [];
  const flushes: CyrusMember['flushes'] = [];
  const length = (buffers: Buffer[]): number => buffers.reduce((sum, buffer) => sum + buffer.length, 0);
  deflate.on('data', (bytes: Buffer) => parts.push(bytes));
  for (const line of [CHUNK_START_TEXT, ...lines]) {
    content.push(Buffer.from(line as string, 'latin1'));
    deflate.write(content.at(-1));
    if (!flush) continue;
    await new Promise<void>((resolve) => deflate.flush(zlib.constants.Z_FULL_FLUSH, () => resolve()));
    flushes.push({ bytes: length(parts), content: length(content) });
  }
  deflate.end();
  await new Promise((resolve) => deflate.on('end', resolve));
  const whole = Buffer.concat(content);
  const footer = Buffer.alloc(8);
  footer.writeUInt32LE(crc32(whole), 0);
  footer.writeUInt32LE(whole.length, 4);
  return { bytes: Buffer.concat([...parts, footer]), content: whole, flushes };
}

/** A line of a data file that names the mailbox `name`. */
export function line(name: string, time = 1_700_000_000): string {
  return `${time} APPLY SUB %(USERID anne MBOXNAME ${name})\r\n`;
}

/** A MESSAGE line with one message. The GUID is not that of the bytes. */
export function messageLine(message: Uint8Array, time = 1_700_000_000): Buffer {
  const guid = 'ab'.repeat(20);
  const head = `${time} APPLY MESSAGE (%{default ${guid} ${message.length}}\r\n`;
  return Buffer.concat([Buffer.from(head, 'latin1'), message, Buffer.from(')\r\n')]);
}
