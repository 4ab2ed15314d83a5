import { spawnSync } from 'node:child_process';
import fs from 'node:fs';
import { expect, test } from 'vitest';
import { eachBackup, selectBackup } from '../../src/cli/select-backups.ts';
import { SmallStore } from '../support/small-store.ts';
import { LAUNCHER } from './run.ts';

test('who is not there may be somebody else, or deleted', () => {
  using store = new SmallStore();
  store.add('director.mueller');
  store.add('erik', { key: '%DELETED.erik.6B07BE68' });
  const found = (user: string) => () => selectBackup({ user, config: store.configFile });
  expect(found('Director')).toThrow(/has no such user\. Did you mean director\.mueller\? See/);
  expect(found('directormuller')).toThrow(/Did you mean director\.mueller\?/);
  expect(found('erik')).toThrow(/Did you mean %DELETED\.erik\.6B07BE68\?/);
  expect(found('zoe')).toThrow(/has no such user\. See csync-backup list/);
});

test('a store that is not there is no empty one', () => {
  using store = new SmallStore();
  fs.renameSync(store.config.configDirectory, `${store.config.configDirectory}.away`);
  expect(() => [...eachBackup({ all: true, config: store.configFile })]).toThrow(
    /cannot find the backups of \S+imapd\.conf: its configdirectory \S+conf does not exist\. Mount/,
  );
  const { status, stderr } = spawnSync(process.execPath, [LAUNCHER, 'verify', '-A'], {
    cwd: store.folder,
    encoding: 'utf8',
  });
  if (fs.existsSync('/etc/csync-backup.conf') || /etc\/imapd/.test(stderr)) return; // this machine has one
  expect([status, stderr]).toEqual([78, expect.stringContaining('no configuration is named or installed')]);
});

test('a folder is no data file', () => {
  using store = new SmallStore();
  const file = [store.folder];
  expect(() => [...eachBackup({ file })]).toThrow(/it is a folder\. Name a data file/);
  expect(() => selectBackup({ file: store.folder })).toThrow(expect.objectContaining({ code: 'USAGE' }));
});
