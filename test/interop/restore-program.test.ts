import path from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type Finished, ROOT, run } from '../support/backup-server.ts';
import { SharedBackup } from './harness/backup.ts';
import { CyrusSite } from './harness/cyrus.ts';
import { type FullView, fullView } from './harness/full-view.ts';
import { change, FOLDERS, seedUser } from './harness/mail.ts';

describe('restore with Cyrus’s command line', () => {
  let cyrus: CyrusSite;
  let backup: SharedBackup;
  let server: string;
  const before = new Map<string, FullView>();

  beforeAll(async () => {
    cyrus = await CyrusSite.start(['source', 'target']);
    backup = await SharedBackup.create(cyrus);
    const ours = await backup.site.start();
    for (const user of ['alice', 'bob']) {
      await seedUser(cyrus, user, { messages: 20 });
      for (const what of ['new', 'flags', 'expunge', 'delete'] as const) await change(cyrus, user, what);
      before.set(user, await fullView(cyrus, user, 'source'));
    }
    await cyrus.sync(['-A'], { port: backup.site.port });
    expect(await ours.stop()).toBe(0);
    server = `127.0.0.1:${cyrus.ports('target').csync}`;
  }, 60_000);

  afterAll(async () => {
    await cyrus?.close();
    backup?.site.remove();
  });

  const restore = (...args: string[]): Promise<Finished> =>
    run(process.execPath, [
      path.join(ROOT, 'src/cli/compat/restore.cjs'),
      ...['-C', backup.site.configFile],
      ...args,
    ]);

  /** What both say, without what cannot be the same. */
  const said = ({ status, stderr }: Finished): { status: number | null; stderr: string } => ({
    status,
    stderr,
  });

  test('says what Debian’s says, and ends as it does', async () => {
    const uniqueid = /^[0-9a-z]{24}/m.exec(
      await backup.toolOk('cyr_backup', ['-u', 'alice', 'list', 'mailboxes']),
    )![0];
    const guid = (await backup.toolOk('cyr_backup', ['-u', 'alice', 'list', 'messages'])).slice(0, 40);
    const lines = [
      '-n -v -a SERVER alice',
      '-n -v -U -a SERVER -u alice',
      '-n -v -D -X -r SERVER alice user/alice',
      '-n -v -x -M user.bob -A lrs -P p2 SERVER -m user/alice user/alice',
      '-n -v -x -a -A= SERVER alice',
      `-nv SERVER alice ${uniqueid} ${guid}`,
      '-n SERVER alice user/alice/Sent',
    ];
    for (const line of lines) {
      const args = line.split(' ').map((word) => (word === 'SERVER' ? server : word));
      const theirs = await backup.tool('restore', args);
      expect(said(await restore(...args)), line).toEqual(said(theirs));
      expect(theirs.status).toBe(0);
    }
    for (const line of [
      '-a SERVER',
      '-a -F x SERVER alice',
      '-U -M x -a SERVER alice',
      '-Q',
      'SERVER alice',
    ]) {
      const args = line.split(' ').map((word) => (word === 'SERVER' ? server : word));
      expect((await backup.tool('restore', args)).status).toBe(64);
      expect((await restore(...args)).status, line).toBe(64);
    }
    for (const line of ['-n SERVER alice user/alice/Nothing', '-a SERVER nobody', '-a 127.0.0.1:1 alice']) {
      const args = line.split(' ').map((word) => (word === 'SERVER' ? server : word));
      expect((await backup.tool('restore', args)).status).toBe(75);
      expect((await restore(...args)).status, line).toBe(75);
    }
  });

  test('-U brings a user back as they were, by sync_server or imapd', async () => {
    expect(await restore('-U', '-a', server, 'alice')).toMatchObject({ status: 0, stderr: '' });
    const { messages, folders } = await fullView(cyrus, 'alice', 'target');
    // As Cyrus does, deleted mailboxes come back under the names that they had.
    const { Drafts: drafts, ...rest } = messages;
    expect(drafts!.length).toBeGreaterThan(0);
    expect(rest).toEqual(before.get('alice')!.messages);
    const { Drafts: _, ...others } = folders;
    const { folders: was } = before.get('alice')!;
    for (const name of Object.keys(was)) expect(others[name]).toEqual(was[name]);
    const imap = `127.0.0.1:${cyrus.ports('target').imap}`;
    expect(await restore('-v', '-U', '-D', '-a', imap, 'bob')).toMatchObject({ status: 0 });
    expect((await fullView(cyrus, 'bob', 'target')).messages).toEqual(before.get('bob')!.messages);
  });

  test('the same mail as Debian’s, into folders that are there', async () => {
    const admin = await cyrus.imap(undefined, 'target');
    for (const name of ['their', 'our']) {
      await admin.command(`CREATE "user/${name}"`);
      await admin.command(`CREATE "user/${name}/Box"`);
    }
    const into = (name: string): string[] => ['-X', '-M', `user.${name}.Box`, server, 'alice', 'user/alice'];
    expect((await backup.tool('restore', into('their'))).status).toBe(0);
    expect(await restore(...into('our'))).toMatchObject({ status: 0, stderr: '' });
    const theirs = (await fullView(cyrus, 'their', 'target')).messages.Box;
    expect(theirs!.length).toBeGreaterThan(5);
    expect((await fullView(cyrus, 'our', 'target')).messages.Box).toEqual(theirs);
    await admin.logout();
  });

  test('what is expunged comes back by -x, and a list of objects by -F', async () => {
    const gone = await restore('-x', '-A', '', '-M', 'user/our/Gone', server, 'alice', 'user/alice');
    expect(gone).toMatchObject({ status: 0, stderr: '' });
    const view = await fullView(cyrus, 'our', 'target');
    expect(view.messages.Gone!.length).toBeGreaterThan(0);
    const ids = before.get('alice')!.messages.INBOX!.map((line) => line.slice(-40));
    for (const line of view.messages.Gone!) expect(ids).not.toContain(line.slice(-40));
    const listed = await run(
      process.execPath,
      [
        path.join(ROOT, 'src/cli/compat/restore.cjs'),
        '-C',
        backup.site.configFile,
        '-F',
        '-',
        '--override-acl',
        '-M',
        'user.our.List',
        server,
        'alice',
      ],
      { input: `# two\nuser/alice/${FOLDERS[0]}\n\n${ids[0]}\nuser/alice/Nothing\n` },
    );
    expect(listed).toMatchObject({
      status: 75,
      stderr: 'alice: user/alice/Nothing: Mailbox does not exist\n',
    });
    const list = (await fullView(cyrus, 'our', 'target')).messages.List!.map((line) => line.slice(-40));
    expect(list).toContain(ids[0]);
  });
});
