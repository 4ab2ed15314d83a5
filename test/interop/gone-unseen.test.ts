/** A mailbox that the client is to send as a whole has gone on the mail server, which says so of none that it is not told of. */
import fs from 'node:fs';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { BackupServer } from '../support/backup-server.ts';
import { CsyncWire } from '../support/wire.ts';
import { SharedBackup } from './harness/backup.ts';
import { CyrusSite } from './harness/cyrus.ts';
import { expectSameMail } from './harness/expect.ts';
import { seedUser } from './harness/mail.ts';
import { RecordingProxy } from './harness/proxy.ts';

const USER = 'alice';

let cyrus: CyrusSite;
let backup: SharedBackup;
let server: BackupServer;
let proxy: RecordingProxy;

beforeAll(async () => {
  cyrus = await CyrusSite.start(['source']);
  backup = await SharedBackup.create(cyrus);
  server = await backup.site.start();
  proxy = await RecordingProxy.start(backup.site.port);
  await seedUser(cyrus, USER, { messages: 12 });
});

afterAll(async () => {
  await proxy?.close();
  await server?.kill();
  backup?.site.remove();
  await cyrus?.close();
});

const sync = (args: string[]) => {
  proxy.clear();
  return cyrus.sync(args, { port: proxy.port });
};
const verbs = (): string[] => proxy.applies.map((command) => command.replace(/ .*/, ''));

async function folders(): Promise<string[]> {
  const shown = await backup.cliOk(['show', 'mailboxes', '-u', USER, '--json']);
  const lines = shown.toString().trim().split('\n');
  const rows = lines.map((line) => JSON.parse(line) as { internalName: string; deletedAt: string | null });
  return rows.filter(({ deletedAt }) => deletedAt === null).map(({ internalName }) => internalName);
}

/** Nothing of what is in the backup can be read, and it knows that. */
async function lose(): Promise<void> {
  const file = backup.dataFiles().get(USER)!;
  const bytes = fs.readFileSync(file);
  bytes.fill(0, 100, bytes.length - 100);
  fs.writeFileSync(file, bytes);
  expect((await backup.site.cli(['verify', '-u', USER, '--wait'])).status).toBe(65);
}

test.each([['-u', USER], ['-A']])(
  'is gone here after the next run of sync_client %s but one',
  async (...args) => {
    const imap = await cyrus.imap(USER);
    const folder = `Gone ${args.length}`;
    await imap.command(`CREATE "${folder}"`);
    await imap.append(folder, Buffer.from(`Subject: of ${folder}\r\n\r\ntext\r\n`), []);
    await sync(args);
    expect(await folders()).toContain(`user.alice.${folder}`);
    await lose();
    await imap.command(`DELETE "${folder}"`);
    await imap.logout();
    const expired = await cyrus.tool('cyr_expire', cyrus.conf('source'), ['-E', '1', '-X', '0', '-D', '0']);
    expect(expired.status, expired.stderr).toBe(0);

    await sync(args);
    expect(verbs()).not.toContain('UNMAILBOX');
    expect(await folders()).toContain(`user.alice.${folder}`);
    await sync(args);
    expect(verbs()).toEqual(['UNMAILBOX']);
    expect(await folders()).not.toContain(`user.alice.${folder}`);
    await sync(args);
    expect(proxy.applies).toEqual([]);
    await expectSameMail(cyrus, backup.site.port, [USER]);
    expect(server.log.filter((line) => line.includes('to say whether it is gone'))).not.toEqual([]);
  },
);

test('what is there comes, though the first client went away behind its question', async () => {
  await lose();
  const wire = await (await CsyncWire.connect(backup.site.port)).login();
  expect(
    (await wire.command(`GET USER ${USER}`)).lines.filter((line) => line.startsWith('* MAILBOX')),
  ).toEqual([]);
  await wire.ok('EXIT');
  wire.destroy();
  await sync(['-u', USER]);
  expect(verbs()).not.toContain('MAILBOX');
  await sync(['-u', USER]);
  expect(new Set(verbs())).toEqual(new Set(['MESSAGE', 'MAILBOX']));
  await expectSameMail(cyrus, backup.site.port, [USER]);
  await sync(['-u', USER]);
  expect(proxy.applies).toEqual([]);
  await backup.cliOk(['verify', '-u', USER, '--wait']);
});
