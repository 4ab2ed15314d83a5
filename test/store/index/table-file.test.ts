import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import Database from 'better-sqlite3';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { TableFile, type TableValue } from '../../../src/store/index/table-file.ts';

describe('tables straight from the file', () => {
  let folder: string;
  beforeAll(() => {
    folder = fs.mkdtempSync(path.join(os.tmpdir(), 'table-file-'));
  });
  afterAll(() => fs.rmSync(folder, { recursive: true }));

  const file = (name: string): string => path.join(folder, name);

  function make(name: string, pageBytes: number, fill: (db: Database.Database) => void): string {
    const db = new Database(file(name));
    db.pragma(`page_size = ${pageBytes}`);
    db.pragma('user_version = 3');
    db.exec('CREATE TABLE other(x); CREATE TABLE t(id INTEGER PRIMARY KEY ASC, a INTEGER, b TEXT, c)');
    db.exec('CREATE INDEX t_a ON t(a)');
    fill(db);
    db.close();
    return file(name);
  }

  function rowsOf(table: TableFile, columns = 4): [number, TableValue[]][] | undefined {
    const rows: [number, TableValue[]][] = [];
    return table.rows('t', columns, (id, values) => rows.push([id, [...values]])) ? rows : undefined;
  }

  const value = fc.oneof(
    fc.constant(null),
    fc.integer({ min: -(2 ** 45), max: 2 ** 45 }),
    fc.integer({ min: -300, max: 300 }),
    fc.double({ noNaN: true, noDefaultInfinity: true, min: 0.5, max: 9.5 }),
    fc.string({ maxLength: 40, unit: fc.constantFrom(...'abcxyz 019') }),
    fc.nat(2500).map((length) => 'long '.repeat(length / 5)),
  );

  test('are what SQLite reads, whatever was inserted and deleted', () => {
    let serial = 0;
    fc.assert(
      fc.property(
        fc.constantFrom(512, 1024, 4096, 65_536),
        fc.array(fc.tuple(value, value, value), { maxLength: 200 }),
        fc.nat(7),
        (pageBytes, rows, every) => {
          const name = `random-${serial++}`;
          const made = make(name, pageBytes, (db) => {
            const insert = db.prepare('INSERT INTO t(a, b, c) VALUES (?, ?, ?)');
            db.transaction(() => {
              for (const row of rows) insert.run(...row);
            })();
            if (every > 0) db.prepare('DELETE FROM t WHERE id % ? = 0').run(every);
          });
          const db = new Database(made);
          const expected = (
            db.prepare('SELECT id, NULL, a, b, c FROM t ORDER BY id').raw().all() as unknown[][]
          ).map(([id, ...values]) => [id, values]);
          db.close();
          expect(rowsOf(TableFile.read(made)!)).toEqual(expected);
          fs.rmSync(made);
        },
      ),
      { numRuns: 60 },
    );
  });

  test('rows that go on in overflow pages are read too', () => {
    const text = 'x'.repeat(3000);
    for (const pageBytes of [512, 1024, 4096]) {
      const made = make(`overflow-${pageBytes}`, pageBytes, (db) => {
        db.prepare('INSERT INTO t(a, b, c) VALUES (1, ?, 2), (3, ?, ?)').run(text, 'short', text);
        // The schema overflows as well, in pages as small as those of a compacted index.
        db.exec(
          `CREATE TABLE wide_${pageBytes}(${Array.from({ length: 90 }, (_, i) => `column${i}`).join(', ')})`,
        );
      });
      const table = TableFile.read(made)!;
      expect(rowsOf(table)).toEqual([
        [1, [null, 1, text, 2]],
        [2, [null, 3, 'short', text]],
      ]);
      expect(table.has(`wide_${pageBytes}`)).toBe(true);
    }
  });

  test('a table that is not there is told from an empty one', () => {
    const table = TableFile.read(make('empty', 1024, () => {}))!;
    expect(rowsOf(table)).toEqual([]);
    expect(table.rows('nowhere', 1, () => {})).toBe(false);
    expect([table.has('t'), table.has('nowhere')]).toEqual([true, false]);
  });

  test('what is not of the plain kind is left to SQLite', () => {
    expect(TableFile.read(file('missing'))).toBeUndefined();
    fs.writeFileSync(file('short'), 'SQLite format 3\0');
    expect(TableFile.read(file('short'))).toBeUndefined();
    const wal = make('wal', 1024, (db) => db.pragma('journal_mode = WAL'));
    expect(TableFile.read(wal)).toBeUndefined();
    const utf16 = new Database(file('utf16'));
    utf16.exec("PRAGMA encoding = 'UTF-16le'; PRAGMA user_version = 3; CREATE TABLE t(a)");
    utf16.close();
    expect(TableFile.read(file('utf16'))).toBeUndefined();
    const version = make('version', 1024, (db) => db.pragma('user_version = 9'));
    expect(TableFile.read(version)).toBeUndefined();
    const large = make('large', 4096, (db) => db.exec('INSERT INTO other VALUES (zeroblob(3000000))'));
    expect(TableFile.read(large)).toBeUndefined();
  });

  test('a file that is being changed is left to SQLite', () => {
    const made = make('changing', 1024, (db) => db.exec('INSERT INTO t(a) VALUES (1)'));
    expect(TableFile.read(made)).toBeDefined();
    const writer = new Database(made);
    writer.exec('BEGIN; UPDATE t SET a = 2');
    expect(TableFile.read(made)).toBeUndefined();
    writer.exec('ROLLBACK');
    writer.close();
    expect(rowsOf(TableFile.read(made)!)).toEqual([[1, [null, 1, null, null]]]);
  });

  test('a tree with a circle is left to SQLite', () => {
    const made = make('circle', 512, (db) => {
      const insert = db.prepare('INSERT INTO t(a, b) VALUES (?, ?)');
      db.transaction(() => {
        for (let i = 0; i < 2000; i++) insert.run(i, `row ${i}`);
      })();
    });
    const db = new Database(made);
    const root = db.prepare("SELECT rootpage FROM sqlite_master WHERE name = 't'").pluck().get() as number;
    db.close();
    const bytes = fs.readFileSync(made);
    const page = (root - 1) * 512;
    expect(bytes[page]).toBe(5); // an interior page
    // Each of its children is the page itself.
    for (let i = 0; i < bytes.readUInt16BE(page + 3); i++)
      bytes.writeUInt32BE(root, page + bytes.readUInt16BE(page + 12 + 2 * i));
    fs.writeFileSync(made, bytes);
    expect(rowsOf(TableFile.read(made)!)).toBeUndefined();
  });

  test('damage never does more than hand over to SQLite', () => {
    const made = make('whole', 512, (db) => {
      const insert = db.prepare('INSERT INTO t(a, b) VALUES (?, ?)');
      for (let i = 0; i < 100; i++) insert.run(i, `row ${i}`);
    });
    const bytes = fs.readFileSync(made);
    fc.assert(
      fc.property(fc.nat(bytes.length - 1), fc.nat(255), fc.nat(bytes.length), (at, byte, length) => {
        const damaged = Buffer.from(bytes.subarray(0, length));
        if (at < length) damaged[at] = byte;
        fs.writeFileSync(file('damaged'), damaged);
        const table = TableFile.read(file('damaged'));
        if (table !== undefined) rowsOf(table);
      }),
      { numRuns: 300 },
    );
  });
});
