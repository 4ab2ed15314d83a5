/** What the mail server cannot give, and what it sends beside that. */
import { readdirSync, rmSync } from 'node:fs';
import path from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { BackupServer } from '../support/backup-server.ts';
import { SharedBackup } from './harness/backup.ts';
import { type MailboxView, sourceView } from './harness/compare.ts';
import { CyrusSite } from './harness/cyrus.ts';
import { change, seedUser } from './harness/mail.ts';
import { RecordingProxy } from './harness/proxy.ts';

let cyrus: CyrusSite;
let backup: SharedBackup;
let server: BackupServer;
let proxy: RecordingProxy;

beforeAll(async () => {
  cyrus = await CyrusSite.start(['source']);
  backup = await SharedBackup.create(cyrus);
  server = await backup.site.start();
  proxy = await RecordingProxy.start(backup.site.port);
});

afterAll(async () => {
  await proxy?.close();
  await server?.kill();
  backup?.site.remove();
  await cyrus?.close();
});

/** Removes the last file of the user's INBOX behind Cyrus's back; returns which messages stay. */
async function loseFile(user: string): Promise<{ lost: string; sound: string[] }> {
  const inbox: MailboxView = (await sourceView(cyrus, user)).get(`user.${user}`)!;
  const found = await cyrus.tool('mbpath', cyrus.conf('source'), [`user/${user}`]);
  const folder = found.stdout.toString().trim();
  const last = Math.max(...readdirSync(folder).map((file) => Number(/^(\d+)\.$/.exec(file)?.[1] ?? 0)));
  rmSync(path.join(folder, `${last}.`));
  const lost = inbox.find(({ uid }) => uid === last)!.guid;
  return { lost, sound: inbox.map(({ guid }) => guid).filter((guid) => guid !== lost) };
}

async function expectHere(user: string, { lost, sound }: { lost: string; sound: string[] }): Promise<void> {
  expect(sound.length).toBeGreaterThan(3);
  for (const guid of sound) await backup.cliOk(['dump', 'message', guid, '-u', user]);
  const dumped = await backup.site.cli(['dump', 'message', lost, '-u', user]);
  expect([dumped.status, dumped.stdout.length]).toEqual([65, 0]);
}

test('a message that the mail server has lost holds up none of those beside it', async () => {
  await seedUser(cyrus, 'alice', { messages: 12 });
  const messages = await loseFile('alice');
  proxy.clear();
  await cyrus.sync(['-u', 'alice'], { port: proxy.port });
  // The client says that it cannot read it, so it is not asked for all of the mailbox.
  expect(proxy.commands.filter(({ kind }) => kind.startsWith('NO'))).toEqual([]);
  expect(proxy.applies.filter((command) => /^MAILBOX .*MBOXNAME user\.alice /.test(command))).toHaveLength(1);
  expect(proxy.applies.filter((command) => command.startsWith('MESSAGE'))).toHaveLength(5);
  await expectHere('alice', messages);
  proxy.clear();
  await cyrus.sync(['-u', 'alice'], { port: proxy.port });
  expect(proxy.applies).toEqual([]);
});

test('nor in a mailbox that grows', async () => {
  await seedUser(cyrus, 'bob', { messages: 12 });
  await cyrus.sync(['-u', 'bob'], { port: proxy.port });
  for (let n = 0; n < 3; n++) await change(cyrus, 'bob', 'new');
  const messages = await loseFile('bob');
  await cyrus.sync(['-u', 'bob'], { port: proxy.port });
  await expectHere('bob', messages);
});
