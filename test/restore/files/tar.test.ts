import { spawnSync } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { TarTarget } from '../../../src/restore/files/tar.ts';
import { BLOCK_BYTES, encodeEntry, padding } from '../../../src/restore/files/tar-header.ts';
import { LAUNCHER } from '../../cli/run.ts';
import { guidOf } from '../../maintenance/backup-files.ts';
import { INTERNALDATE, MAILBOXES, MailStore } from './mail-store.ts';

interface ReadEntry {
  path: string;
  type: string;
  mtime: number;
  records: Record<string, string>;
  content: Buffer;
}

/** Reads an archive as POSIX describes it. */
function readTar(bytes: Buffer): ReadEntry[] {
  const entries: ReadEntry[] = [];
  let records: Record<string, string> = {};
  for (let at = 0; bytes[at] !== 0; ) {
    const header = bytes.subarray(at, at + BLOCK_BYTES);
    const text = (from: number, length: number): string =>
      header
        .subarray(from, from + length)
        .toString('utf8')
        .replace(/\0.*$/s, '');
    const sum = header.reduce((total, byte, i) => total + (i >= 148 && i < 156 ? 0x20 : byte), 0);
    expect(Number.parseInt(text(148, 8), 8)).toBe(sum);
    expect(text(257, 6)).toBe('ustar');
    const size = Number(records.size ?? Number.parseInt(text(124, 12), 8));
    const content = bytes.subarray(at + BLOCK_BYTES, at + BLOCK_BYTES + size);
    at += BLOCK_BYTES + Math.ceil(size / BLOCK_BYTES) * BLOCK_BYTES;
    if (text(156, 1) === 'x') {
      records = readRecords(content);
      continue;
    }
    const mtime = Number(records.mtime ?? Number.parseInt(text(136, 12), 8));
    entries.push({ path: records.path ?? text(0, 100), type: text(156, 1), mtime, records, content });
    records = {};
  }
  return entries;
}

function readRecords(bytes: Buffer): Record<string, string> {
  const records: Record<string, string> = {};
  for (let at = 0; at < bytes.length; ) {
    const length = Number.parseInt(bytes.subarray(at, at + 20).toString('latin1'), 10);
    const record = bytes.subarray(at, at + length);
    expect(record.at(-1)).toBe(0x0a);
    const [space, equals] = [record.indexOf(0x20), record.indexOf(0x3d)];
    records[record.subarray(space + 1, equals).toString('utf8')] = record
      .subarray(equals + 1, -1)
      .toString('utf8');
    at += length;
  }
  return records;
}

const XATTR = 'SCHILY.xattr.user.csync-backup.';

test('headers keep names, sizes, times and attributes', () => {
  const name = fc
    .string({ unit: 'grapheme', minLength: 1, maxLength: 150 })
    .map((text) => text.replaceAll(/[\p{Cc}/]/gu, '_'))
    .filter((text) => text.isWellFormed() && text !== '');
  fc.assert(
    fc.property(
      name,
      fc.integer({ min: -(2 ** 40), max: 2 ** 40 }),
      fc.nat(2000),
      fc.string({ unit: 'grapheme-ascii' }),
      (path, mtime, size, value) => {
        const content = Buffer.alloc(size, 'x');
        const header = encodeEntry({ path, type: 'file', size, mtime, attributes: { flags: value } });
        expect(header.length % BLOCK_BYTES).toBe(0);
        const [entry] = readTar(Buffer.concat([header, content, padding(size), Buffer.alloc(1024)]));
        expect(entry).toMatchObject({ path, mtime, type: '0', records: { [`${XATTR}flags`]: value } });
        expect(entry!.content.equals(content)).toBe(true);
      },
    ),
  );
  const large = encodeEntry({ path: 'x', type: 'file', size: 9 * 2 ** 30, mtime: 0, attributes: {} });
  expect(readRecords(large.subarray(BLOCK_BYTES, BLOCK_BYTES + 19)).size).toBe(String(9 * 2 ** 30));
  expect(() => encodeEntry({ path: 'x', type: 'file', size: 2 ** 60, mtime: 0, attributes: {} })).toThrow(
    /no number/,
  );
});

describe('restore --to tar', () => {
  test('to standard output: the archive and nothing else, with all that the records say', () => {
    using store = new MailStore();
    const args = [LAUNCHER, 'restore', '-u', 'anne', '--to', 'tar:-', '--in-place', '-C', store.configFile];
    const ran = spawnSync(process.execPath, args);
    expect(ran.stderr.toString()).toMatch(/^restored to tar:-: 9 messages \(\d+ bytes\) in 8 mailboxes\n$/);
    expect(ran.status).toBe(0);
    expect(ran.stdout.length % 10_240).toBe(0);
    const entries = readTar(ran.stdout);
    const files = entries.filter(({ path, type }) => type === '0' && path.startsWith('INBOX'));
    const records = MAILBOXES.flatMap((mailbox) => mailbox.records);
    expect(files.slice(0, -1).map(({ content }) => content.toString('latin1'))).toEqual(
      records.map(({ content }) => content),
    );
    expect(files.slice(0, 3).map(({ path }) => path)).toEqual(
      [2, 5, 9].map((uid) => `INBOX/00000000${uid}.eml`),
    );
    for (const { mtime } of files) expect(mtime).toBe(INTERNALDATE);
    expect(files[0]!.records).toMatchObject({
      [`${XATTR}uid`]: '2',
      [`${XATTR}guid`]: guidOf(records[0]!.content),
      [`${XATTR}flags`]: '\\Seen \\Flagged $Forwarded',
      [`${XATTR}modseq`]: '3',
    });
    expect(entries.find(({ path }) => path === 'INBOX/Entwürfe/')).toMatchObject({
      type: '5',
      records: { [`${XATTR}mboxname`]: 'user.anne.Entw&APw-rfe', [`${XATTR}uidvalidity`]: '1500000000' },
    });
    expect(entries.find(({ path }) => path === 'INBOX/Empty/')).toBeDefined();
    expect(entries.at(-1)!.path).toBe('mailbox-names.tsv');
  });

  test('what tar itself unpacks is what the target eml writes', ({ skip }) => {
    skip(spawnSync('tar', ['--version']).status !== 0, 'there is no tar here');
    using store = new MailStore();
    const file = path.join(store.folder, 'anne.tar');
    expect(store.restore(`tar:${file}`)).toMatchObject({ status: 0, stderr: '' });
    expect(store.restore(`eml:${store.out}`)).toMatchObject({ status: 0, stderr: '' });
    const unpacked = path.join(store.folder, 'unpacked');
    fs.mkdirSync(unpacked);
    // In a locale that knows no umlauts, too.
    const ran = spawnSync('tar', ['xf', file, '-C', unpacked], {
      encoding: 'utf8',
      env: { ...process.env, LC_ALL: 'C' },
    });
    expect(ran).toMatchObject({ status: 0, stderr: '' });
    const tree = (dir: string): string[] =>
      fs
        .readdirSync(dir, { recursive: true, encoding: 'utf8' })
        .sort()
        .map((name) => {
          const stats = fs.statSync(path.join(dir, name));
          if (stats.isDirectory()) return name;
          const time = name.endsWith('.eml') ? stats.mtimeMs : '';
          return `${name} ${stats.mode} ${time} ${fs.readFileSync(path.join(dir, name), 'latin1')}`;
        });
    expect(tree(unpacked)).toEqual(tree(store.out));
  });

  test('a damaged message is not in it, and the archive is sound', () => {
    using store = new MailStore();
    store.damage();
    const file = path.join(store.folder, 'anne.tar');
    const ran = store.restore(`tar:${file}`);
    expect(ran).toMatchObject({
      status: 65,
      stderr: expect.stringMatching(/csync-backup: lost: message 1 of user.anne.Lost: /),
    });
    const paths = readTar(fs.readFileSync(file)).map((entry) => entry.path);
    expect(paths).toContain('INBOX/Lost/');
    expect(paths.filter((name) => name.startsWith('INBOX/Lost/'))).toHaveLength(1);
  });

  test('places that will not do', async () => {
    using store = new MailStore();
    await expect(new TarTarget(store.folder).conflicts()).rejects.toThrow(
      /it is a folder.*Name a file in it/,
    );
    await expect(new TarTarget(`${store.folder}/not/here.tar`).conflicts()).rejects.toThrow(
      /its folder is not there/,
    );
    await expect(new TarTarget(`${store.dataPath}/here.tar`).conflicts()).rejects.toThrow(
      /its folder is not there/,
    );
  });

  test('a file has its name only when it is complete, and says what is in the way', () => {
    using store = new MailStore();
    const file = path.join(store.folder, 'anne.tar');
    const args = ['restore', '-u', 'anne', '--to', `tar:${file}`, '--in-place'];
    expect(store.run(args, 'restore-files-synced').signal).toBe('SIGKILL');
    expect(fs.existsSync(file)).toBe(false);
    expect(store.run(args).status).toBe(0);
    expect(fs.existsSync(`${file}.part`)).toBe(false);
    expect(store.run(args).stderr).toMatch(/anne.tar is there already: it is replaced\n.*EXISTS/);
    const full = store.restore('tar:/dev/full');
    expect(full).toMatchObject({
      status: 75,
      stderr: expect.stringMatching(/NO_SPACE: .*Free space there, or name another place/),
    });
  });
});
