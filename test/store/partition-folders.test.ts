/** A partition that is a mount point has a folder of its filesystem's own, into which only root may look. */
import fs from 'node:fs';
import path from 'node:path';
import { expect, test } from 'vitest';
import { examineStore } from '../../src/maintenance/doctor-store.ts';
import { reconstructCatalog } from '../../src/maintenance/reconstruct.ts';
import { verifyCatalog } from '../../src/maintenance/verify-catalog.ts';
import { STAGING_FOLDER } from '../../src/store/data-file.ts';
import { dataFoldersOn } from '../../src/store/partition-folders.ts';
import { prepareStore } from '../../src/store/prepare.ts';
import { SmallStore } from '../support/small-store.ts';

const SERVER = 65534;

/** As a user to whom the store belongs, but not what is said to be root's. */
async function asServer<T>(store: SmallStore, roots: string, work: () => T | Promise<T>): Promise<T> {
  const isRoot = process.getuid!() === 0;
  if (isRoot) {
    fs.chownSync(store.folder, SERVER, SERVER);
    for (const name of fs.readdirSync(store.folder, { recursive: true, encoding: 'utf8' }))
      fs.chownSync(path.join(store.folder, name), SERVER, SERVER);
    fs.chownSync(roots, 0, 0);
    process.seteuid!(SERVER);
  } else fs.chmodSync(roots, 0);
  try {
    return await work();
  } finally {
    if (isRoot) process.seteuid!(0);
    else fs.chmodSync(roots, 0o700);
  }
}

function withLostAndFound(): { store: SmallStore; roots: string } {
  const store = new SmallStore();
  const roots = path.join(store.folder, 'one', 'lost+found');
  fs.mkdirSync(roots, { mode: 0o700 });
  return { store, roots };
}

test('a server without backups starts on it', async () => {
  const { store, roots } = withLostAndFound();
  using _ = store;
  await asServer(store, roots, () => prepareStore(store.config));
});

test('and clears up behind one that was killed as it made a backup', async () => {
  const { store, roots } = withLostAndFound();
  using _ = store;
  store.add('anne');
  const staged = path.join(store.folder, 'one', STAGING_FOLDER, 'bob_x1Y2z3');
  fs.mkdirSync(path.dirname(staged), { mode: 0o700 });
  fs.writeFileSync(staged, 'half');
  const { removed } = await asServer(store, roots, () => prepareStore(store.config));
  expect([removed, fs.existsSync(staged)]).toEqual([1, false]);
});

test('what goes through the partition leaves it out', async () => {
  const { store, roots } = withLostAndFound();
  using _ = store;
  const anne = store.add('anne');
  const { config } = store;
  await asServer(store, roots, async () => {
    expect(dataFoldersOn(path.join(store.folder, 'one'))).toEqual(['a']);
    expect([...verifyCatalog([['anne', anne]], config)]).toEqual([]);
    const wrong = [...examineStore(config)].filter(
      ({ status, group }) => status === 'error' && group !== 'partitions',
    );
    expect(wrong).toEqual([]);
    expect((await reconstructCatalog({ config, onItem: () => {} })).counts).toMatchObject({
      kept: 1,
      unreadable: 0,
    });
  });
});

test('but not a folder of data files that may not be read', async () => {
  const { store } = withLostAndFound();
  using _ = store;
  const anne = store.add('anne');
  const { config } = store;
  await asServer(store, path.dirname(anne), async () => {
    await expect(reconstructCatalog({ config, onItem: () => {} })).rejects.toMatchObject({
      code: 'PERMISSION_DENIED',
    });
  });
});
