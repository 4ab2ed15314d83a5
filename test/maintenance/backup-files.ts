/** Backups made of given lines, indexed as recovery indexes them. */
import { createHash } from 'node:crypto';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { constants, deflateRawSync } from 'node:zlib';
import Database from 'better-sqlite3';
import { LineParser } from '../../src/csync/line-parser.ts';
import { type VerifyReport, verifyBackup } from '../../src/maintenance/verify.ts';
import { crc32 } from '../../src/platform/crc32.ts';
import { loadDeflateEngine } from '../../src/platform/deflate.ts';
import { ResumableSha1 } from '../../src/platform/sha1.ts';
import { LineReplay } from '../../src/store/apply-line.ts';
import { hashRange } from '../../src/store/chunk/hash-range.ts';
import { readContent } from '../../src/store/chunk/reader.ts';
import { scanMembers } from '../../src/store/chunk/scan.ts';
import { ChunkWriter } from '../../src/store/chunk/writer.ts';
import { BackupIndex } from '../../src/store/index/backup-index.ts';

const engine = loadDeflateEngine('auto');
const PIECE_BYTES = 200_000;

export function guidOf(content: string | Uint8Array): string {
  return createHash('sha1').update(content).digest('hex');
}

export function messageLine(contents: readonly (string | Uint8Array)[], time = 1_700_000_000): Buffer {
  const parts: Buffer[] = [Buffer.from(`${time} APPLY MESSAGE (`)];
  for (const content of contents) {
    const bytes = Buffer.from(content as string, 'latin1');
    const space = parts.length > 1 ? ' ' : '';
    parts.push(Buffer.from(`${space}%{default ${guidOf(bytes)} ${bytes.length}}\r\n`), bytes);
  }
  return Buffer.concat([...parts, Buffer.from(')\r\n')]);
}

export interface RecordText {
  uid: number;
  content: string | Uint8Array;
  modseq?: number;
  flags?: string;
  internaldate?: number;
}

export function mailboxLine(
  mboxname: string,
  records: readonly RecordText[],
  o: { time?: number; uniqueid?: string; modseq?: number; lastUid?: number; command?: string } = {},
): string {
  const {
    time = 1_700_000_000,
    uniqueid = `id-${mboxname}`,
    modseq = 10,
    lastUid = 1000,
    command = 'APPLY',
  } = o;
  const list = records.map(
    ({ uid, content, modseq: own = uid + 1, flags = '', internaldate = 1_600_000_000 }) =>
      `%(UID ${uid} MODSEQ ${own} LAST_UPDATED 1700000000 FLAGS (${flags}) INTERNALDATE ${internaldate} SIZE ${content.length} ` +
      `GUID ${guidOf(content)} ANNOTATIONS (%(ENTRY /x USERID NIL VALUE {5}\r\n)\r\n(\r)))`,
  );
  return (
    `${time} ${command} MAILBOX %(UNIQUEID ${uniqueid} MBOXNAME "${mboxname}" SYNC_CRC 77 SYNC_CRC_ANNOT 12345678 ` +
    `LAST_UID ${lastUid} HIGHESTMODSEQ ${modseq} RECENTUID 0 RECENTTIME 0 LAST_APPENDDATE 1600000000 ` +
    'POP3_LAST_LOGIN 0 UIDVALIDITY 1500000000 PARTITION default ACL "anne\tlrswipkxtecdan\t" OPTIONS P ' +
    `ANNOTATIONS (%(ENTRY /vendor/x USERID anne VALUE "a (b")) RECORD (${list.join(' ')}))\r\n`
  );
}

/** A data file with its index, in a folder that goes when it is disposed of. */
export class SampleBackup implements Disposable {
  readonly folder: string = fs.mkdtempSync(path.join(os.tmpdir(), 'verify-'));
  readonly dataPath: string = path.join(this.folder, 'anne_x1Y2z3');
  readonly indexPath: string = `${this.dataPath}.index`;

  /** Chunks of lines; each is one member with one segment for each PIECE_BYTES. */
  constructor(chunks: readonly (readonly (string | Uint8Array)[])[] = []) {
    const fd = fs.openSync(this.dataPath, 'wx+', 0o600);
    for (const lines of chunks) appendChunk(fd, lines).writeTrailer();
    fs.closeSync(fd);
    this.reindex();
  }

  /** A copy of files that lie elsewhere. */
  static copyOf(dataPath: string): SampleBackup {
    const copy = new SampleBackup();
    fs.copyFileSync(dataPath, copy.dataPath);
    fs.copyFileSync(`${dataPath}.index`, copy.indexPath);
    return copy;
  }

  reindex(): void {
    fs.rmSync(this.indexPath, { force: true });
    const fd = fs.openSync(this.dataPath, 'r');
    const index = BackupIndex.open(this.indexPath, { create: true });
    index.begin();
    let committedEnd = 0;
    let lastTime = 0;
    for (const member of scanMembers(fd)) {
      const { offset, firstTime: tsStart, lastTime: tsEnd, fileSha1, contentLength: length } = member;
      const id = index.startChunk({ offset, tsStart, fileSha1 });
      for (const start of member.starts) index.addSegmentStart(id, start.contentOffset, start.fileOffset);
      // Not replayMember(): messages that were damaged later had been entered when they came.
      const parser = new LineParser(new LineReplay(index, id));
      for (const block of readContent(fd, member, 0, length)) parser.push(block);
      parser.end();
      index.endChunk(id, { tsEnd, length, dataSha1: member.contentSha1 });
      committedEnd = member.end;
      lastTime = tsEnd;
    }
    const fileSha1State = hashRange(fd, 0, committedEnd, ResumableSha1.create()).save();
    const trailer = this.bytes().subarray(committedEnd - 10, committedEnd);
    index.setState({ committedEnd, lastTime, fileSha1State, trailer });
    index.commit();
    index.close();
    fs.closeSync(fd);
  }

  bytes(): Buffer {
    return fs.readFileSync(this.dataPath);
  }

  write(bytes: Uint8Array): void {
    fs.writeFileSync(this.dataPath, bytes);
  }

  /** Appends a chunk that the index does not know. */
  append(lines: readonly (string | Uint8Array)[], finish: boolean): void {
    const fd = fs.openSync(this.dataPath, 'r+');
    const writer = appendChunk(fd, lines);
    if (finish) writer.writeTrailer();
    fs.closeSync(fd);
  }

  /** Changes the index behind everybody's back. */
  sql(...statements: string[]): void {
    const db = new Database(this.indexPath);
    db.pragma('foreign_keys = OFF');
    for (const statement of statements) db.exec(statement);
    db.close();
  }

  verify(): Promise<VerifyReport> {
    return verifyBackup({ dataPath: this.dataPath });
  }

  [Symbol.dispose](): void {
    fs.rmSync(this.folder, { recursive: true });
  }
}

/** Chunks of lines whose bytes stand in the data file as they are, so that one of them can be changed. */
export function uncompressed(...chunks: readonly (readonly (string | Uint8Array)[])[]): SampleBackup {
  const backup = new SampleBackup();
  const fd = fs.openSync(backup.dataPath, 'r+');
  for (const lines of chunks) {
    const fileEnd = fs.fstatSync(fd).size;
    const fileSha1 = hashRange(fd, 0, fileEnd, ResumableSha1.create());
    const writer = new ChunkWriter({ fd, fileEnd, fileSha1, engine, bootTag: new Uint8Array(8) });
    for (const line of lines) {
      const raw = Buffer.from(line as string, 'latin1');
      const deflated = deflateRawSync(raw, { level: 0, finishFlush: constants.Z_FULL_FLUSH });
      writer.appendSegment(deflated, raw, crc32(raw));
    }
    writer.finish();
    writer.writeTrailer();
  }
  fs.closeSync(fd);
  backup.reindex();
  return backup;
}

function appendChunk(fd: number, lines: readonly (string | Uint8Array)[]): ChunkWriter {
  const fileEnd = fs.fstatSync(fd).size;
  const fileSha1 = hashRange(fd, 0, fileEnd, ResumableSha1.create());
  const bootTag = new Uint8Array(8);
  const writer = new ChunkWriter({ fd, fileEnd, fileSha1, engine, bootTag });
  for (const line of lines) {
    const bytes = Buffer.from(line as string, 'latin1');
    for (let at = 0; at < bytes.length; at += PIECE_BYTES) {
      const raw = bytes.subarray(at, at + PIECE_BYTES);
      const out = new Uint8Array(raw.length + 70_000);
      writer.appendSegment(out.subarray(0, engine.deflateSegment(raw, out)), raw, crc32(raw));
    }
  }
  writer.finish();
  return writer;
}
