/** A lost server brought back while the restore is killed again and again. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { LAUNCHER } from '../cli/run.ts';
import { SharedBackup } from './harness/backup.ts';
import { CyrusSite } from './harness/cyrus.ts';
import { ADMIN } from './harness/cyrus-conf.ts';
import { type FullView, fullView } from './harness/full-view.ts';
import { change, seedShared, seedUser } from './harness/mail.ts';

const USERS = ['alice', 'bob', 'carol', 'dora', 'erik', 'fay'];
const KILLS = 8;

describe('restore --all-users', () => {
  let cyrus: CyrusSite;
  let backup: SharedBackup;
  const before = new Map<string, FullView>();

  beforeAll(async () => {
    cyrus = await CyrusSite.start(['source', 'target']);
    backup = await SharedBackup.create(cyrus);
    const server = await backup.site.start();
    for (const user of USERS) {
      await seedUser(cyrus, user, { messages: 150 });
      for (const what of ['new', 'flags', 'expunge', 'copy', 'create', 'rename'] as const) {
        await change(cyrus, user, what);
      }
    }
    await seedShared(cyrus, ['alice', 'bob']);
    await cyrus.sync(['-A'], { port: backup.site.port });
    for (const user of USERS) before.set(user, await fullView(cyrus, user, 'source'));
    expect(await server.stop()).toBe(0);
  }, 120_000);

  afterAll(async () => {
    await cyrus?.close();
    backup?.site.remove();
  });

  test('killed at random and run again it brings back everybody, as they were, and nothing twice', async () => {
    const { site } = backup;
    const args = ['restore', '--all-users', '--in-place', '--identity', '--parallel', '3', '--recent', '1d'];
    args.push('--to', `csync://${ADMIN.user}@127.0.0.1:${cyrus.ports('target').csync}`);
    args.push('--resume', path.join(site.dir, 'resume'));
    let killed = 0;
    for (let i = 0; i < KILLS; i++) {
      const child = spawn(process.execPath, [LAUNCHER, ...args, '-C', site.configFile], { stdio: 'ignore' });
      const exited = once(child, 'exit') as Promise<[status: number | null, signal: string | null]>;
      // At all stages: before the first command, and deep in somebody's mail.
      await Promise.race([sleep(150 + Math.random() * 600), exited]);
      child.kill('SIGKILL');
      const [status, signal] = await exited;
      if (signal === 'SIGKILL') killed++;
      else expect(status).toBe(0);
    }
    expect(killed).toBeGreaterThan(0);
    const done = await site.cli([...args, '--json']);
    expect({ status: done.status, stderr: done.stderr }).toMatchObject({ status: 0, stderr: '' });
    const lines = done.stdout.toString().trim().split('\n');
    // The shared mailboxes count as a user.
    expect(JSON.parse(lines.at(-1)!)).toMatchObject({
      type: 'summary',
      users: USERS.length + 1,
      complete: USERS.length + 1,
      failed: 0,
      damaged: 0,
      refused: 0,
    });
    for (const user of USERS) expect(await fullView(cyrus, user, 'target')).toEqual(before.get(user));

    const again = await site.cli([...args, '--json']);
    expect(JSON.parse(again.stdout.toString().trim())).toMatchObject({ type: 'summary', messages: 0 });
  }, 120_000);
});
