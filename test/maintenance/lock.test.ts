import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { loadConfig } from '../../src/config/load.ts';
import { holdBackup, holdNewFile, holdNewUser } from '../../src/maintenance/lock.ts';
import { Catalog } from '../../src/store/catalog.ts';
import { DataFile } from '../../src/store/data-file.ts';
import { lockPartitions, prepareFreezeLocks } from '../../src/store/freeze-lock.ts';

describe('holding a backup', () => {
  let folder: string;
  let partition: string;
  beforeEach(() => {
    folder = fs.mkdtempSync(path.join(os.tmpdir(), 'lock-'));
    partition = path.join(folder, 'part');
    fs.mkdirSync(path.join(partition, 'a'), { recursive: true });
    fs.mkdirSync(path.join(folder, 'conf'));
    const lines = `configdirectory: ${folder}/conf\nbackuppartition-default: ${partition}\n`;
    fs.writeFileSync(path.join(folder, 'imapd.conf'), lines);
    prepareFreezeLocks([partition]);
  });
  afterEach(() => fs.rmSync(folder, { recursive: true }));

  const config = () => loadConfig({ file: path.join(folder, 'imapd.conf') });

  test('is refused during a freeze, in every way, and leaves nothing behind', async () => {
    const file = path.join(partition, 'a', 'anne_abcdef');
    holdNewFile(file, false).then(({ release }) => release());
    await new Promise((resolve) => setImmediate(resolve));
    const thaw = await lockPartitions([partition], 1000);
    const locked = expect.objectContaining({ code: 'LOCKED' });
    await expect(holdBackup(file, false)).rejects.toEqual(locked);
    await expect(holdNewFile(`${file}2`, false)).rejects.toEqual(locked);
    await expect(holdNewUser('bob', config(), false)).rejects.toEqual(locked);
    const waiting = holdBackup(file, true);
    thaw();
    (await waiting).release();
    const names = fs.readdirSync(partition, { recursive: true, withFileTypes: true });
    expect(
      names
        .filter((entry) => entry.isFile())
        .map(({ name }) => name)
        .toSorted(),
    ).toEqual(['.freeze', 'anne_abcdef', 'anne_abcdef.index']);
  });

  test('a freeze waits for its end', async () => {
    const held = await holdNewUser('bob', config(), false);
    await expect(lockPartitions([partition], 50)).rejects.toMatchObject({ code: 'TIMED_OUT' });
    held.release();
    (await lockPartitions([partition], 1000))();
  });

  test('a backup that another program makes at the same moment is not put out of the catalog', async () => {
    const { backupDbPath } = config();
    const catalog = new Catalog(backupDbPath);
    const file = DataFile.create(path.join(partition, 'b', 'bob_aaaaaa'));
    catalog.put('bob', '/elsewhere/bob_bbbbbb');
    expect(() => file.publish('bob', catalog, 'add')).toThrow(expect.objectContaining({ code: 'EXISTS' }));
    file.close();
    expect(catalog.get('bob')).toBe('/elsewhere/bob_bbbbbb');
    await expect(holdNewUser('bob', config(), false)).rejects.toMatchObject({ code: 'EXISTS' });
    catalog.close();
  });
});
