import path from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { MailGenerator, SeededRandom } from '../../src/cli/generated-mail.ts';
import { type GeneratedUser, generateUser } from '../../src/cli/generated-user.ts';
import { child, numberOf, textOf } from '../../src/csync/dlist.ts';
import { type ConnectOptions, CsyncClient } from '../../src/restore/csync-client.ts';
import { type PushFigures, pushUser } from '../../src/restore/csync-push.ts';
import { ACCOUNT, type BackupServer, BackupSite, ROOT } from '../support/backup-server.ts';
import { CERT } from './scripted-server.ts';

const TLS = path.join(ROOT, 'test', 'fixtures', 'tls');
const mail = new MailGenerator(11);
const random = new SeededRandom(11);
const messages = new Map<string, Buffer>();
const NOTHING: PushFigures = { messages: 0, messageBytes: 0, mailboxes: 0, applies: 0 };

let site: BackupSite;
let server: BackupServer;

beforeAll(async () => {
  site = await BackupSite.create({
    tls_server_cert: path.join(TLS, 'cert.pem'),
    tls_server_key: path.join(TLS, 'key.pem'),
  });
  server = await site.start();
});

afterAll(async () => {
  await server.kill();
  site.remove();
});

function newUser(userid: string, perFolder: number): GeneratedUser {
  const user = generateUser(random, userid, ['', 'Sent', 'Gr&APYA3w-e'], 1_700_000_000);
  for (const mailbox of user.mailboxes) for (let n = 0; n < perFolder; n++) append(user, mailbox.mboxname);
  return user;
}

function append(user: GeneratedUser, mboxname: string): string {
  const message = mail.mixed();
  messages.set(message.guid, message.bytes);
  user.mailboxes.find((mailbox) => mailbox.mboxname === mboxname)!.append(message);
  return message.guid;
}

async function withClient<T>(
  options: Partial<ConnectOptions>,
  work: (client: CsyncClient) => Promise<T>,
): Promise<T> {
  const client = await CsyncClient.connect({
    host: '127.0.0.1',
    port: site.port,
    account: ACCOUNT,
    ...options,
  });
  try {
    return await work(client);
  } finally {
    client.close();
  }
}

async function push(client: CsyncClient, user: GeneratedUser): Promise<PushFigures> {
  const figures = await pushUser(client, user, { content: ({ guid }) => messages.get(guid)! });
  await client.restart();
  return figures;
}

describe('our client and our server', () => {
  const secure = { tlsOptions: { ca: CERT, checkServerIdentity: () => undefined } };
  test.each<[string, Partial<ConnectOptions>]>([
    ['in clear with SCRAM', {}],
    ['compressed', { compressLevel: 1 }],
    ['by STARTTLS', { startTls: true, ...secure }],
    ['by STARTTLS and compressed', { startTls: true, compressLevel: 6, ...secure }],
  ])('first push, no change and an update, %s', async (name, options) => {
    const user = newUser(name.replaceAll(' ', '-').toLowerCase(), 4);
    await withClient(options, async (client) => {
      expect(client.compressed).toBe('compressLevel' in options);
      expect(await push(client, user)).toMatchObject({ messages: 12, mailboxes: 3 });
      expect(await push(client, user)).toEqual(NOTHING);
      const guid = append(user, user.mailboxes[1]!.mboxname);
      expect(await push(client, user)).toMatchObject({ messages: 1, mailboxes: 1, applies: 2 });
      expect(await client.reserve('default', [user.mailboxes[0]!.mboxname], [guid, '0'.repeat(40)])).toEqual([
        '0'.repeat(40),
      ]);
      await client.exit();
    });
  });

  test('FULLMAILBOX gives the records that were pushed', async () => {
    const user = newUser('full', 3);
    const { mboxname, records } = user.mailboxes[2]!;
    const lines = await withClient({}, async (client) => {
      await push(client, user);
      return await client.get('FULLMAILBOX', mboxname);
    });
    const given = child(lines[0]!.value, 'RECORD')!;
    expect(
      given.kind === 'list' &&
        given.items.map((record) => [numberOf(child(record, 'UID')), textOf(child(record, 'GUID'))]),
    ).toEqual(records.map(({ uid, guid }) => [BigInt(uid), guid]));
  });

  test('a push that the server does not survive is completed by the next one', async () => {
    const user = newUser('survivor', 6);
    const [first, second] = user.mailboxes;
    const fatal = second!.records[3]!.guid;
    await withClient({}, async (client) => {
      const content = ({ guid }: { guid: string }) =>
        guid === fatal ? halfThenKill(guid) : messages.get(guid)!;
      await expect(pushUser(client, user, { content })).rejects.toMatchObject({ code: 'UNAVAILABLE' });
    });
    server = await site.start();
    await withClient({}, async (client) => {
      const sent: string[] = [];
      const content = ({ guid }: { guid: string }) => {
        sent.push(guid);
        return messages.get(guid)!;
      };
      await pushUser(client, user, { content });
      await client.restart();
      // The first mailbox had its OK before the crash.
      for (const { guid } of first!.records) expect(sent).not.toContain(guid);
      expect(sent).toEqual(user.mailboxes.slice(1).flatMap(({ records }) => records.map(({ guid }) => guid)));
      expect(await push(client, user)).toEqual(NOTHING);
    });
  });
});

async function* halfThenKill(guid: string): AsyncGenerator<Uint8Array> {
  const bytes = messages.get(guid)!;
  yield bytes.subarray(0, bytes.length / 2);
  await server.kill();
  yield bytes.subarray(bytes.length / 2);
}
