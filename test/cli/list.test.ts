import fs from 'node:fs';
import { expect, test } from 'vitest';
import { BackupStore } from './backup-store.ts';
import { run } from './run.ts';

test('list prints a line for each backup, separated by tabs', async () => {
  using store = new BackupStore().enter();
  const { status, stdout, stderr } = await run(['list', '-C', store.configFile]);
  expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
  expect(stdout.split('\n')).toEqual([
    `carol\t${store.carol}\t440585\t81920\t2026-11-23T01:02:38.000Z`,
    `erik\t${store.erik}\t128693\t81920\t2026-11-23T01:01:24.000Z`,
    '',
  ]);
});

test('list --json prints an object a line, only for the users that are named', async () => {
  using store = new BackupStore().enter();
  store.put(Buffer.from('zoë').toString('latin1'), store.erik);
  const { status, stdout } = await run(['list', '--json', '-u', 'zoë', 'carol', '-C', store.configFile]);
  expect(status).toBe(0);
  const size = fs.statSync(store.carol).size;
  expect(
    stdout
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line)),
  ).toMatchObject([
    { userid: 'zoë', path: store.erik },
    {
      userid: 'carol',
      path: store.carol,
      sizeBytes: size,
      indexSizeBytes: 81920,
      updatedAt: '2026-11-23T01:02:38.000Z',
    },
  ]);
});

test('list of a store without backups is empty and creates nothing', async () => {
  using store = new BackupStore();
  for (const file of [store.carol, store.erik]) fs.rmSync(file);
  expect(await run(['list', '-C', store.configFile])).toEqual({ status: 0, stdout: '', stderr: '' });
  expect(fs.existsSync(store.databasePath)).toBe(false);
});

test('list says what is missing', async () => {
  using store = new BackupStore().enter();
  fs.rmSync(store.carol);
  fs.writeFileSync(`${store.erik}.index`, 'no index');
  const { status, stdout, stderr } = await run(['list', '--json', '-C', store.configFile]);
  expect(status).toBe(65);
  const [carol, erik] = stdout
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line));
  expect(carol).toMatchObject({
    sizeBytes: null,
    updatedAt: null,
    problem: `NOT_FOUND: ${store.carol} does not exist`,
  });
  expect(erik).toMatchObject({
    sizeBytes: 128_693,
    updatedAt: null,
    problem: expect.stringMatching(/^INDEX_STALE: /),
  });
  expect(stderr).toContain(`csync-backup: carol: NOT_FOUND: ${store.carol} does not exist\n`);
});

test('list of a user who has no backup', async () => {
  using store = new BackupStore().enter();
  const { status, stdout, stderr } = await run(['list', '-u', 'nobody', '-C', store.configFile]);
  expect({ status, stdout }).toEqual({ status: 65, stdout: '' });
  expect(stderr).toContain('NOT_FOUND: cannot find the backup of nobody');
});
