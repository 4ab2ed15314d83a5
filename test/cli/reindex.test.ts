import fs from 'node:fs';
import path from 'node:path';
import { expect, test } from 'vitest';
import { BackupStore } from './backup-store.ts';
import { run } from './run.ts';

test('reindex makes indexes anew, reports each and sums up', async () => {
  using store = new BackupStore();
  store.enter();
  fs.rmSync(`${store.carol}.index`);
  const said = await run(['reindex', '-A', '--json', '-C', store.configFile]);
  expect(said.stderr).toBe('');
  expect(said.status).toBe(0);
  const [carol, erik, summary] = said.stdout
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line));
  expect(carol).toMatchObject({
    type: 'backup',
    userid: 'carol',
    path: store.carol,
    chunks: 8,
    damagedChunks: 0,
  });
  expect(erik).toMatchObject({ userid: 'erik', dryRun: false });
  expect(summary).toEqual({ type: 'summary', backups: 2, done: 2, failed: 0, damaged: 0 });
  const verified = await run(['verify', '-A', '-C', store.configFile]);
  expect(verified.stdout).toContain('2 ok, 0 faulty');
});

test('a damaged backup is status 65, and one that is not there does not keep the others from their turn', async () => {
  using store = new BackupStore();
  store.enter();
  store.put('nobody', path.join(store.folder, 'part/n/nobody_abcdef'));
  const bytes = fs.readFileSync(store.erik);
  bytes.fill(0xaa, 30, 200);
  fs.writeFileSync(store.erik, bytes);
  const dry = await run(['reindex', '-A', '--dry-run', '-C', store.configFile]);
  expect(dry.status).toBe(65);
  expect(dry.stdout).toMatch(/^reindex erik: would index \d+ chunks, 1 chunks damaged/m);
  expect(fs.existsSync(`${store.carol}.index`)).toBe(true);
  const said = await run(['reindex', '-A', '-C', store.configFile]);
  expect(said.status).toBe(65);
  expect(said.stdout).toMatch(/^3 backups: 2 done, 1 damaged, 1 failed$/m);
  expect(said.stderr).toContain('NOT_FOUND');
});
