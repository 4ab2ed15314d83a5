/**
 * Loops of fixed work that is not ours: a benchmark is compared with them, in the same moments and by the same clock.
 * Their work must never change, or no baseline fits any more; add another one instead.
 */
import { hash } from 'node:crypto';
import { closeSync, fdatasyncSync, ftruncateSync, mkdtempSync, openSync, rmSync, writeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { deflateRawSync } from 'node:zlib';
import Database from 'better-sqlite3';
import { MailGenerator } from '../../src/cli/generated-mail.ts';

export type CalibrationName =
  | 'memcpy'
  | 'sha1'
  | 'zlib'
  | 'fdatasync'
  | 'fdatasync1m'
  | 'javascript'
  | 'objects'
  | 'sqlite';

export interface Calibration {
  run(): unknown;
  close?(): void;
}

const MAKE: Record<CalibrationName, () => Calibration> = {
  memcpy,
  sha1,
  zlib,
  fdatasync: () => fdatasync(32 << 10),
  fdatasync1m: () => fdatasync(1 << 20),
  javascript,
  objects,
  sqlite,
};

export function makeCalibration(name: CalibrationName): Calibration {
  return MAKE[name]();
}

/** 16 MiB, more than most second-level caches hold. */
function memcpy(): Calibration {
  const from = Buffer.alloc(16 << 20, 1);
  const to = Buffer.alloc(16 << 20, 2);
  return { run: () => from.copy(to) };
}

/** 2 MiB by OpenSSL. */
function sha1(): Calibration {
  const bytes = Buffer.alloc(2 << 20, 3);
  return { run: () => hash('sha1', bytes) };
}

/** 96 KiB of mail at level 6: half of it text, half of it base64. */
function zlib(): Calibration {
  const mail = new MailGenerator(5);
  const text = mail.text(48 << 10).bytes;
  const pieces: Buffer[] = [text];
  for (let length = 0; length < 48 << 10; length += pieces.at(-1)!.length) pieces.push(mail.mixed().bytes);
  const bytes = Buffer.concat(pieces).subarray(0, 96 << 10);
  return { run: () => deflateRawSync(bytes, { level: 6 }) };
}

/** A piece at the end of a file, and a wait until the disk has it. */
function fdatasync(pieceBytes: number): Calibration {
  const folder = mkdtempSync(path.join(tmpdir(), 'csync-bench-calibration-'));
  const fd = openSync(path.join(folder, 'file'), 'wx');
  const bytes = Buffer.alloc(pieceBytes, 7);
  let end = 0;
  return {
    run() {
      if (end >= 64 << 20) ftruncateSync(fd, (end = 0));
      end += writeSync(fd, bytes, 0, bytes.length, end);
      fdatasyncSync(fd);
    },
    close() {
      closeSync(fd);
      rmSync(folder, { recursive: true });
    },
  };
}

/** A walk over the bytes of 40 kB of words and numbers: what a parser does, with objects and short strings made of them. */
function javascript(): Calibration {
  const words = Array.from({ length: 4000 }, (_, at) => `KEY${at % 37} ${at * 7919}`).join(' ');
  const bytes = Buffer.from(words, 'latin1');
  return {
    run() {
      const seen = new Map<string, { count: number; sum: number }>();
      for (let pass = 0; pass < 5; pass++) {
        let [start, number, isNumber, key] = [0, 0, true, ''];
        for (let at = 0; at <= bytes.length; at++) {
          const byte = at === bytes.length ? 0x20 : (bytes[at] as number);
          if (byte !== 0x20) {
            if (byte >= 0x30 && byte <= 0x39) number = (number * 10 + byte - 0x30) | 0;
            else isNumber = false;
            continue;
          }
          if (isNumber) {
            const entry = seen.get(key);
            if (entry === undefined) seen.set(key, { count: 1, sum: number });
            else [entry.count, entry.sum] = [entry.count + 1, entry.sum + number];
          } else {
            key = bytes.toString('latin1', start, at);
          }
          [start, number, isNumber] = [at + 1, 0, true];
        }
      }
      return seen.size;
    },
  };
}

/** 15,000 small objects made and thrown away: what it costs to allocate, and to collect garbage. */
function objects(): Calibration {
  const make = () =>
    Array.from({ length: 5000 }, (_, at) => ({ at, name: `n${at}`, parts: [Buffer.from([at & 255])] }));
  return { run: () => make().length };
}

/** A thousand rows into a table with an index in memory, read and removed again, in a transaction. */
function sqlite(): Calibration {
  const db = new Database(':memory:');
  db.exec(
    'CREATE TABLE t (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, at INTEGER, size INTEGER, flags TEXT)',
  );
  const insert = db.prepare('INSERT INTO t (name, at, size, flags) VALUES (?, ?, ?, ?)');
  const read = db.prepare('SELECT * FROM t WHERE name = ?');
  const clear = db.prepare('DELETE FROM t');
  const names = Array.from({ length: 1000 }, (_, at) => hash('sha1', String(at)));
  const run = db.transaction(() => {
    for (const [at, name] of names.entries()) insert.run(name, at, 1000 + at, '\\Seen');
    for (const name of names) read.get(name);
    clear.run();
  });
  return { run, close: () => void db.close() };
}
