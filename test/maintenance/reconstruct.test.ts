import fs from 'node:fs';
import { describe, expect, test } from 'vitest';
import { type ReconstructItem, reconstructCatalog } from '../../src/maintenance/reconstruct.ts';
import { identify } from '../../src/maintenance/reconstruct-identify.ts';
import { SmallStore } from '../support/small-store.ts';
import { SampleBackup } from './backup-files.ts';

const LATER = 1_700_000_500;

async function reconstruct(store: SmallStore, o: { apply?: boolean; prune?: boolean } = {}) {
  const items: ReconstructItem[] = [];
  const report = await reconstructCatalog({ config: store.config, ...o, onItem: (item) => items.push(item) });
  return { report, items, said: items.map(({ what, key }) => `${what} ${key}`) };
}

describe('reconstruct', () => {
  test('a lost catalog comes back, whose files are is read from them', async () => {
    using store = new SmallStore();
    store.add('anne');
    store.add('bob', { partition: 'two' });
    // The file of a user who was renamed has the old name.
    store.add('olga', {
      key: 'helga',
      lines: [
        `${LATER} APPLY RENAME %(OLDMBOXNAME user.olga NEWMBOXNAME user.helga PARTITION default UIDVALIDITY 1)\r\n`,
      ],
    });
    const before = store.entries();
    fs.rmSync(store.config.backupDbPath);
    const dry = await reconstruct(store);
    expect(dry.report).toMatchObject({ catalog: 'missing', files: 3, entries: 3, applied: false });
    expect(fs.existsSync(store.config.backupDbPath)).toBe(false);
    await reconstruct(store, { apply: true });
    expect(store.entries()).toEqual(before);
    store.catalog.check();
  });

  test('the same from the lines of the data file, where there is no index', () => {
    using store = new SmallStore();
    const olga = store.add('olga', {
      lines: [
        `${LATER} APPLY RENAME %(OLDMBOXNAME user.olga NEWMBOXNAME user.helga PARTITION default UIDVALIDITY 1)\r\n`,
        `${LATER} APPLY RESERVE %(NOTE FORMER VALUE %(KEY "%DELETED.helga.6553F100"))\r\n`,
        `${LATER + 1} APPLY RESERVE %(NOTE UNUSER VALUE helga)\r\n`,
      ],
    });
    const byIndex = identify(olga, store.config);
    fs.rmSync(`${olga}.index`);
    const byLines = identify(olga, store.config);
    expect(byLines).toEqual({ ...byIndex, by: 'lines' });
    expect(byLines).toMatchObject({
      userid: 'helga',
      lastTime: LATER + 1,
      unuserAt: LATER + 1,
      formerKeys: ['%DELETED.helga.6553F100'],
    });
    fs.writeFileSync(olga, '');
    expect(identify(olga, store.config)).toMatchObject({ userid: 'olga', by: 'name' });
  });

  test('an entry that leads to the same file by another path is no second file', async () => {
    using store = new SmallStore();
    const anne = store.add('anne');
    const gone = store.add('gone', { key: '%DELETED.gone.6553F100' });
    const link = `${store.folder}/link`;
    fs.symlinkSync(`${store.folder}/one`, link);
    const { catalog } = store;
    for (const [key, file] of [
      ['anne', anne],
      ['%DELETED.gone.6553F100', gone],
    ] as const)
      catalog.put(key, file.replace('/one/', '/link/'));
    catalog.close();
    const { said, items } = await reconstruct(store, { apply: true, prune: true });
    expect(said.sort()).toEqual(['replaced %DELETED.gone.6553F100', 'replaced anne']);
    expect(items.find(({ key }) => key === 'anne')).toMatchObject({
      path: anne,
      other: anne.replace('/one/', '/link/'),
    });
    expect(store.entries()).toEqual({ anne, '%DELETED.gone.6553F100': gone });
  });

  test('nor is what a copy on a partition of the configuration was made from; one that has gone on since stays', async () => {
    using store = new SmallStore();
    const anne = store.add('anne');
    const bob = store.add('bob');
    const gone = store.add('carl', { key: '%DELETED.carl.6553F100' });
    const old = `${store.folder}/old`;
    fs.cpSync(`${store.folder}/one`, old, { recursive: true, preserveTimestamps: true });
    const original = (file: string) => file.replace('/one/', '/old/');
    store.catalog.put('anne', original(anne));
    store.catalog.put('bob', original(bob));
    store.catalog.put('%DELETED.carl.6553F100', original(gone));
    const line = `${LATER} APPLY SUB %(USERID bob MBOXNAME user.bob)\r\n`;
    using later = new SampleBackup([[line]]);
    fs.appendFileSync(original(bob), later.bytes());
    const { said, report } = await reconstruct(store, { apply: true });
    expect(said.sort()).toEqual([
      'duplicate bob',
      'kept bob',
      'replaced %DELETED.carl.6553F100',
      'replaced anne',
    ]);
    expect(report.entries).toBe(3);
    expect(store.entries()).toEqual({ anne, bob: original(bob), '%DELETED.carl.6553F100': gone });
  });

  test('a store that is at another place now is the same one, with who was deleted and who was renamed in it', async () => {
    using store = new SmallStore();
    store.add('anne');
    store.add('gone', { key: '%DELETED.gone.6553F100' });
    store.add('bob', { partition: 'two', key: 'robert' });
    const before = store.entries();
    const { catalog } = store;
    for (const [key, file] of Object.entries(before))
      catalog.put(key, file.replace(store.folder, '/srv/before'));
    catalog.close();
    const { said } = await reconstruct(store, { apply: true });
    expect(said.sort()).toEqual(['replaced %DELETED.gone.6553F100', 'replaced anne', 'replaced robert']);
    expect(store.entries()).toEqual(before);
  });

  test('of two files for one user the newer is entered, the other reported and left alone', async () => {
    using store = new SmallStore();
    const older = store.add('anne');
    const newer = store.add('anne', {
      key: null,
      partition: 'two',
      lines: [`${LATER} APPLY SUB %(USERID anne MBOXNAME user.anne)\r\n`],
    });
    const { items, report } = await reconstruct(store, { apply: true });
    expect(items).toEqual([
      { what: 'replaced', key: 'anne', path: newer, other: older, by: 'index' },
      { what: 'duplicate', key: 'anne', path: older, other: newer },
    ]);
    expect(store.entries()).toEqual({ anne: newer });
    expect(fs.existsSync(older)).toBe(true);
    expect(report.keptAs).toMatch(/backups\.db\.\d+$/);
    // Equal ones: what a move that was killed has left does not take the place of the backup.
    using moved = new SmallStore();
    moved.add('anne', { key: null });
    const there = moved.add('anne', { partition: 'two' });
    await reconstruct(moved, { apply: true });
    expect(moved.entries()).toEqual({ anne: there });
  });

  test('the backup of a former owner gets the key that the new one names', async () => {
    using store = new SmallStore();
    const key = `%DELETED.anne.${LATER.toString(16).toUpperCase()}`;
    store.add('anne', { key, lines: [`${LATER} APPLY RESERVE %(NOTE UNUSER VALUE anne)\r\n`] });
    store.add('anne', {
      partition: 'two',
      lines: [`${LATER + 9} APPLY RESERVE %(NOTE FORMER VALUE %(KEY "${key}"))\r\n`],
    });
    const before = store.entries();
    fs.rmSync(store.config.backupDbPath);
    await reconstruct(store, { apply: true });
    expect(store.entries()).toEqual(before);
  });

  test('entries whose files are gone stay until they are to be pruned; deleted ones and others keep their keys', async () => {
    using store = new SmallStore();
    store.add('anne', { key: '%DELETED.anne.6553F100' });
    store.add('bob', { key: 'rob' });
    const gone = store.add('carl');
    fs.rmSync(gone);
    const before = store.entries();
    const { said } = await reconstruct(store, { apply: true });
    expect(said).toEqual(['kept %DELETED.anne.6553F100', 'missing carl', 'mismatch rob']);
    expect(store.entries()).toEqual(before);
    const pruned = await reconstruct(store, { apply: true, prune: true });
    expect(pruned.said).toContain('pruned carl');
    expect(Object.keys(store.entries())).toEqual(['%DELETED.anne.6553F100', 'rob']);
  });

  test('of a damaged catalog what can be read is kept, and the rest found', async () => {
    using store = new SmallStore();
    for (const name of ['anne', 'bob', 'carl']) store.add(name);
    const before = store.entries();
    const bytes = fs.readFileSync(store.config.backupDbPath);
    bytes.fill(0xaa, bytes.length - 200);
    fs.writeFileSync(store.config.backupDbPath, bytes);
    const { report } = await reconstruct(store, { apply: true });
    expect(report.catalog).toBe('damaged');
    expect(store.entries()).toEqual(before);
    store.catalog.check();
    expect(fs.readFileSync(report.keptAs!)).toEqual(bytes);
  });

  test('a catalog that somebody changes meanwhile is not replaced', async () => {
    using store = new SmallStore();
    store.add('anne');
    const changing = reconstructCatalog({
      config: store.config,
      apply: true,
      onItem: () => store.catalog.put('new', '/new'),
    });
    await expect(changing).rejects.toMatchObject({ code: 'LOCKED' });
    expect(Object.keys(store.entries())).toEqual(['anne', 'new']);
    fs.rmSync(store.config.backupDbPath);
    const making = reconstructCatalog({
      config: store.config,
      apply: true,
      onItem: () => store.catalog.put('new', '/new'),
    });
    await expect(making).rejects.toMatchObject({ code: 'LOCKED' });
    expect(Object.keys(store.entries())).toEqual(['new']);
  });
});
