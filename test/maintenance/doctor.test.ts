import fs from 'node:fs';
import path from 'node:path';
import { describe, expect, test } from 'vitest';
import { examineBackup } from '../../src/maintenance/doctor-backup.ts';
import type { DoctorCheck } from '../../src/maintenance/doctor-check.ts';
import { examineOwners } from '../../src/maintenance/doctor-owners.ts';
import { examineStore } from '../../src/maintenance/doctor-store.ts';
import { examineSystem } from '../../src/maintenance/doctor-system.ts';
import { useLockKind } from '../../src/platform/file-lock.ts';
import { makeKeys, updateCredentials } from '../../src/sasl/credential-file.ts';
import { DataFile, stagedPathOf } from '../../src/store/data-file.ts';
import { SmallStore } from '../support/small-store.ts';
import { mailboxLine } from './backup-files.ts';

/** `status group/check` of what is not ok. */
function complaints(checks: Iterable<DoctorCheck>): string[] {
  const found = [...checks].filter(({ status }) => status !== 'ok');
  for (const { remedy } of found) expect(remedy).toBeTruthy();
  return found.map(({ status, group, check }) => `${status} ${group}/${check}`);
}

/** What the machine that runs the tests may say of its own disks. */
const OF_THE_MACHINE = /partitions\/(space|inodes|filesystem)/;

function ofStore(store: SmallStore): string[] {
  return complaints(examineStore(store.config)).filter((line) => !OF_THE_MACHINE.test(line));
}

describe('doctor, the store', () => {
  test('has nothing to say of a sound one', () => {
    using store = new SmallStore();
    store.add('anne');
    store.add('bob', { partition: 'two' });
    expect(ofStore(store)).toEqual([]);
  });

  test('finds what the catalog names in vain, and what it does not name', () => {
    using store = new SmallStore();
    const anne = store.add('anne');
    store.add('bob', { key: null });
    fs.rmSync(anne);
    expect(ofStore(store).sort()).toEqual([
      'error catalog/FILE_MISSING',
      'error catalog/FILE_NOT_IN_CATALOG',
      'warn files/index',
    ]);
  });

  test('finds a damaged and a lost catalog, and goes on', () => {
    using store = new SmallStore();
    store.add('anne');
    fs.writeFileSync(store.config.backupDbPath, Buffer.alloc(500, 'x'));
    expect(ofStore(store)).toContain('error catalog/CATALOG_CORRUPT');
    fs.rmSync(store.config.backupDbPath);
    expect(ofStore(store)).toContain('warn catalog/file');
  });

  test('finds what belongs to somebody else than the server', () => {
    using store = new SmallStore();
    store.add('anne');
    const texts = [...examineOwners(store.config, process.getuid!() + 1)].map(({ text }) => text);
    expect(texts).toEqual([
      expect.stringMatching(/^\d files of the state do not belong to uid \d+, .* to uid \d+ for one$/),
      expect.stringMatching(/^[34] files on partition one .*anne_x1Y2z3|\/a to uid/),
    ]);
  });

  test('names what lies about', () => {
    using store = new SmallStore();
    const anne = store.add('anne');
    for (const suffix of ['.torn.1700000000', '.index.corrupt.1700000000', '.1700000000', '.new', '.lock'])
      fs.writeFileSync(`${anne}${suffix}`, 'x');
    fs.writeFileSync(path.join(path.dirname(anne), 'README'), 'x');
    expect(ofStore(store).sort()).toEqual([
      'warn files/corrupt',
      'warn files/lock',
      'warn files/previous',
      'warn files/torn',
      'warn files/unfinished',
      'warn files/unknown',
    ]);
  });

  test('a lock file that somebody has is none of that', () => {
    using store = new SmallStore();
    const file = DataFile.open(store.add('anne'));
    const staged = DataFile.create(path.join(path.dirname(file.path), 'anne_A1b2C3'));
    const old = new Date(Date.now() - 86_400_000);
    useLockKind('lockfile');
    try {
      file.lock();
      staged.lock();
      for (const name of fs.readdirSync(path.dirname(stagedPathOf(file.path))))
        fs.utimesSync(path.join(path.dirname(stagedPathOf(file.path)), name), old, old);
      expect(fs.existsSync(`${file.path}.lock`)).toBe(true);
      expect(ofStore(store)).toEqual([]);
    } finally {
      staged.close();
      file.close();
      useLockKind('auto');
    }
    expect(fs.existsSync(`${file.path}.lock`)).toBe(false);
  });

  test('a partition that is gone is an error of its own', () => {
    using store = new SmallStore();
    fs.rmSync(`${store.folder}/two`, { recursive: true });
    expect(ofStore(store)).toEqual(['error partitions/folder', 'warn catalog/file']);
  });

  test('a backup from the future makes the clock suspect', () => {
    using store = new SmallStore();
    const later = Math.floor(Date.now() / 1000) + 10_000;
    store.add('anne', { lines: [`${later} APPLY SUB %(USERID anne MBOXNAME user.anne)\r\n`] });
    expect(ofStore(store)).toEqual(['warn system/clock']);
  });
});

describe('doctor, the system', () => {
  test('takes a retention of minutes for a slip of the pen', () => {
    using store = new SmallStore('backup_retention: 30m');
    expect(complaints(examineSystem(store.config))).toContain('warn configuration/backup_retention');
  });

  const ofSystem = (store: SmallStore): string[] =>
    complaints(examineSystem(store.config)).filter(
      (line) => !/system\/(descriptors|compression|locks)/.test(line),
    );

  test('nobody can log in, and nobody may push', () => {
    using store = new SmallStore();
    expect(ofSystem(store)).toEqual([
      expect.stringContaining('error credentials/'),
      'error credentials/admins',
      'warn tls/certificate',
    ]);
  });

  test('credentials and admins that do not fit together', async () => {
    using store = new SmallStore('admins: backup other');
    const keys = await makeKeys('secret');
    updateCredentials(store.config.passwdFile, ({ users }) =>
      users.set('backup', keys).set('stranger', keys),
    );
    expect(ofSystem(store)).toEqual([
      'warn credentials/admins',
      'warn credentials/admins',
      'warn tls/certificate',
    ]);
  });

  test('a certificate that is no certificate', () => {
    using store = new SmallStore('tls_server_cert: /dev/null\ntls_server_key: /dev/null');
    expect(ofSystem(store)).toContain('error tls/certificate');
  });
});

describe('doctor, one backup', () => {
  test('is at rest', () => {
    using store = new SmallStore();
    const checks = [...examineBackup(store.add('anne'))];
    expect(complaints(checks)).toEqual([]);
    expect(checks.find(({ check }) => check === 'lock')!.text).toBe('nobody has it locked');
  });

  test('has lines that lie ahead of the clock', () => {
    using store = new SmallStore();
    const time = Math.floor(Date.now() / 1000) + 86_400;
    const checks = [
      ...examineBackup(store.add('anne', { lines: [mailboxLine('user.anne.New', [], { time })] })),
    ];
    expect(complaints(checks)).toEqual(['warn backup/updated']);
    expect(checks.find(({ check }) => check === 'updated')!.text).toContain('lies ahead of the clock');
  });

  test('says who has it locked', () => {
    using store = new SmallStore();
    const dataPath = store.add('anne');
    const file = DataFile.open(dataPath);
    expect(file.lock()).toBe(true);
    const lock = [...examineBackup(dataPath)].find(({ check }) => check === 'lock')!;
    file.close();
    expect(lock.text).toContain('has it locked');
    expect(lock.text).not.toContain('nobody');
  });

  test('is gone, cut, or without its index', () => {
    using store = new SmallStore();
    const dataPath = store.add('anne');
    fs.truncateSync(dataPath, fs.statSync(dataPath).size - 100);
    expect(complaints(examineBackup(dataPath))).toEqual(['error backup/index']);
    fs.rmSync(`${dataPath}.index`);
    expect(complaints(examineBackup(dataPath))).toEqual(['warn backup/index']);
    fs.rmSync(dataPath);
    expect(complaints(examineBackup(dataPath))).toEqual(['error backup/file']);
  });
});
