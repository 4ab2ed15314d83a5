import { spawn } from 'node:child_process';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { Catalog } from '../../src/store/catalog.ts';
import { BackupSite } from '../support/backup-server.ts';
import { BackupStore } from './backup-store.ts';
import { LAUNCHER, run } from './run.ts';

describe('lock', () => {
  let store: BackupStore;
  beforeAll(() => {
    store = new BackupStore().enter();
  });
  afterAll(() => store[Symbol.dispose]());

  test('holds the backup until the end of standard input', async () => {
    const holder = spawn(process.execPath, [
      LAUNCHER,
      'lock',
      '-u',
      'carol',
      '-C',
      store.configFile,
      '--json',
    ]);
    const said = await new Promise<string>((resolve) =>
      holder.stdout.once('data', (text) => resolve(String(text))),
    );
    expect(JSON.parse(said)).toEqual({
      type: 'locked',
      path: store.carol,
      indexPath: `${store.carol}.index`,
    });
    const refused = await run(['lock', '-f', store.carol]);
    expect(refused).toMatchObject({ status: 75, stdout: '' });
    expect(refused.stderr).toContain('LOCKED');
    const waiting = run(['lock', '-f', store.carol, '--wait', '-x', 'echo got it']);
    holder.stdin.end();
    expect(await waiting).toMatchObject({ status: 0, stdout: 'got it\n' });
  });

  test('runs a command and ends as it ends; the lock is gone then', async () => {
    const command = 'echo "$ctl_backups_lock_data_fname"; exit 7';
    const done = await run(['lock', '-u', 'erik', '-x', command, '-C', store.configFile]);
    expect(done).toEqual({ status: 7, stdout: `${store.erik}\n`, stderr: '' });
    expect((await run(['lock', '-f', store.erik, '-x', 'true'])).status).toBe(0);
  });

  test('the command goes on under the lock when the terminal says stop', async () => {
    const args = ['lock', '-f', store.erik, '-x', 'kill -INT $PPID; sleep 0.3; echo done'];
    expect(await run(args)).toMatchObject({ status: 0, stdout: 'done\n' });
  });

  test('creates a backup, once', async () => {
    const args = ['lock', '--create', '-u', 'Zoë@example.com', '-C', store.configFile];
    expect(await run(args)).toMatchObject({ status: 0, stderr: '' });
    const catalog = new Catalog(store.databasePath);
    const file = catalog.get(Buffer.from('Zoë@example.com').toString('latin1'));
    catalog.close();
    expect(file).toMatch(/\/part\/z\/Zoë@example\.com_[a-zA-Z0-9]{6}$/);
    const [again, verified] = await Promise.all([run(args), run(['verify', '-f', file!])]);
    expect(again.status).toBe(64);
    expect(again.stderr).toContain('EXISTS');
    expect(verified.status).toBe(0);
  });

  test('a backup created by lock is the one that the user’s client fills', async () => {
    const site = await BackupSite.create();
    expect((await site.cli(['lock', '--create', '-u', 'anne', '-x', 'true'])).status).toBe(0);
    const server = await site.start();
    const wire = await server.connect();
    await wire.ok('APPLY SUB %(USERID anne MBOXNAME user.anne.Sent)');
    await wire.ok('RESTART');
    expect(await server.stop()).toBe(0);
    const rows = (await site.cli(['list', '--json'])).stdout.toString().trim().split('\n');
    expect(rows).toHaveLength(1);
    expect(JSON.parse(rows[0]!)).toMatchObject({ userid: 'anne', updatedAt: expect.any(String) });
    expect((await site.cli(['verify', '-A'])).status).toBe(0);
    site.remove();
  });
});
