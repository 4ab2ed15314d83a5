import { hash } from 'node:crypto';
import { afterEach, describe, expect, test } from 'vitest';
import { MailGenerator, SeededRandom } from '../../src/cli/generated-mail.ts';
import { type GeneratedMailbox, type GeneratedUser, generateUser } from '../../src/cli/generated-user.ts';
import { CsyncClient } from '../../src/restore/csync-client.ts';
import { syncCrcs } from '../../src/restore/csync-crc.ts';
import { type CsyncUser, pushUser } from '../../src/restore/csync-push.ts';
import { summary } from '../support/wire-text.ts';
import { GREETING, ScriptedServer } from './scripted-server.ts';

const mail = new MailGenerator(3);
const messages = new Map<string, Buffer>();
let server: ScriptedServer | undefined;
let client: CsyncClient | undefined;

afterEach(async () => {
  client?.close();
  await server?.stop();
  expect(server?.failures ?? []).toEqual([]);
});

function fill(mailbox: GeneratedMailbox, count: number): void {
  for (let at = 0; at < count; at++) {
    const message = mail.text(1000);
    messages.set(message.guid, message.bytes);
    mailbox.append(message);
  }
}

function someUser(...counts: number[]): GeneratedUser {
  const folders = ['', 'Sent', 'Archive'].slice(0, counts.length);
  const user = generateUser(new SeededRandom(5), 'anne', folders, 1_700_000_000);
  for (const [at, count] of counts.entries()) fill(user.mailboxes[at]!, count);
  return user;
}

/** `* MAILBOX` of what a server holds that has the first `count` messages. */
function held(
  mailbox: GeneratedMailbox,
  count = mailbox.records.length,
  change: Record<string, string> = {},
): string {
  const records = mailbox.records.slice(0, count);
  const crcs = syncCrcs(records);
  const fields = {
    UNIQUEID: mailbox.uniqueid,
    MBOXNAME: mailbox.mboxname,
    LAST_UID: records.at(-1)?.uid ?? 0,
    HIGHESTMODSEQ: records.at(-1)?.modseq ?? 1,
    RECENTUID: 0,
    RECENTTIME: 0,
    UIDVALIDITY: mailbox.uidvalidity,
    PARTITION: mailbox.partition,
    ACL: `"${mailbox.acl}"`,
    OPTIONS: mailbox.options,
    SYNC_CRC: crcs.basic,
    SYNC_CRC_ANNOT: crcs.annot,
    ...change,
  };
  return `* MAILBOX %(${Object.entries(fields).flat().join(' ')})\r\n`;
}

/** Pushes to a server that gives these answers, in turn, to the commands that begin so; OK to all else. */
async function push(
  user: CsyncUser,
  answers: [start: string, answer: string][],
): Promise<{ seen: string[]; figures: unknown }> {
  const left = [...answers];
  const seen: string[] = [];
  server = await ScriptedServer.start(async (peer) => {
    peer.send(GREETING);
    for (let command = await peer.command(); command !== null; command = await peer.command()) {
      seen.push(summary(Buffer.from(command, 'latin1')));
      const at = left.findIndex(([start]) => command.startsWith(start));
      peer.send(at === -1 ? 'OK Success\r\n' : left.splice(at, 1)[0]![1]);
    }
  });
  client = await CsyncClient.open(server.endpoint);
  const figures = await pushUser(client, user, { content: ({ guid }) => messages.get(guid)! });
  expect(left).toEqual([]);
  return { seen, figures };
}

const verbs = (seen: string[]): string[] => seen.map((command) => /^(?:APPLY )?\S+/.exec(command)![0]);
const guidsOf = (command: string): string[] => command.match(/\b[0-9a-f]{40}\b/g) ?? [];

describe('pushUser', () => {
  test('sends a new user in the order of sync_client, without RESERVE', async () => {
    const user = {
      ...someUser(3, 0, 2),
      sieve: [{ filename: 'main.script', lastUpdate: 7, content: 'keep;\r\n' }],
      activeSieve: 'main.bc',
      seen: [{ uniqueid: 'x', lastread: 1, lastuid: 2, lastchange: 3, seenuids: '1:2' }],
    };
    const { seen, figures } = await push(user, []);
    expect(verbs(seen)).toEqual([
      'GET',
      'APPLY MESSAGE',
      'APPLY MAILBOX',
      'APPLY MAILBOX',
      'APPLY MESSAGE',
      'APPLY MAILBOX',
      'APPLY QUOTA',
      'APPLY SUB',
      'APPLY SUB',
      'APPLY SUB',
      'APPLY SIEVE',
      'APPLY ACTIVATE_SIEVE',
      'APPLY SEEN',
    ]);
    expect(seen[0]).toBe('GET USER anne');
    expect(guidsOf(seen[1]!)).toEqual(user.mailboxes[0]!.records.map(({ guid }) => guid));
    expect(seen[2]).not.toContain('SINCE_');
    expect(seen[10]).toBe('APPLY SIEVE %(USERID anne FILENAME main.script LAST_UPDATE 7 CONTENT {7+})');
    expect(seen[12]).toBe(
      'APPLY SEEN %(USERID anne UNIQUEID x LASTREAD 1 LASTUID 2 LASTCHANGE 3 SEENUIDS 1:2)',
    );
    const sizes = user.mailboxes.flatMap(({ records }) => records.map(({ size }) => size));
    const messageBytes = sizes.reduce((sum, size) => sum + size, 0);
    expect(figures).toEqual({ messages: 5, messageBytes, mailboxes: 3, applies: 12 });
  });

  test('sends nothing to a server that has it all', async () => {
    const user = {
      ...someUser(2, 1),
      sieve: [{ filename: 'a.script', lastUpdate: 7, content: 'keep;' }],
      activeSieve: 'a.bc',
    };
    const { seen, figures } = await push(user, [
      [
        'GET USER',
        user.mailboxes.map((mailbox) => held(mailbox)).join('') +
          '* LSUB (user.anne user.anne.Sent)\r\n' +
          '* SIEVE %(FILENAME a.script LAST_UPDATE 7 GUID ' +
          `${hash('sha1', 'keep;')} ISACTIVE 0)\r\n` +
          '* SIEVE %(FILENAME a.bc LAST_UPDATE 0 GUID 0000000000000000000000000000000000000000 ISACTIVE 1)\r\n' +
          '* QUOTA %(ROOT user.anne LIMIT 10000000 STORAGE 10000000 MODSEQ 5)\r\nOK\r\n',
      ],
    ]);
    expect(seen).toEqual(['GET USER anne']);
    expect(figures).toEqual({ messages: 0, messageBytes: 0, mailboxes: 0, applies: 0 });
  });

  test('reserves what is new in known mailboxes and sends what is missing, with SINCE of what the server said', async () => {
    const user = { ...someUser(4, 3), subscriptions: [], quotas: [] };
    const [inbox, sent] = user.mailboxes as [GeneratedMailbox, GeneratedMailbox];
    const missing = inbox.records[3]!.guid;
    const { seen } = await push(user, [
      ['GET USER', `${held(inbox, 2)}${held(sent)}OK\r\n`],
      ['APPLY RESERVE', `* MISSING (${missing})\r\nOK\r\n`],
    ]);
    expect(verbs(seen)).toEqual(['GET', 'APPLY RESERVE', 'APPLY MESSAGE', 'APPLY MAILBOX']);
    expect(seen[1]).toBe(
      `APPLY RESERVE %(PARTITION default MBOXNAME (user.anne) GUID (${inbox.records[2]!.guid} ${missing}))`,
    );
    expect(guidsOf(seen[2]!)).toEqual([missing]);
    const { basic, annot } = syncCrcs(inbox.records.slice(0, 2));
    expect(seen[3]).toContain(`SINCE_MODSEQ 3 SINCE_CRC ${basic} SINCE_CRC_ANNOT ${annot} RECORD (%(UID 3 `);
    expect(guidsOf(seen[3]!)).toEqual(inbox.records.slice(2).map(({ guid }) => guid));
  });

  test('sends a message that stands in two mailboxes once, and an expunged one not at all', async () => {
    const user = someUser(2, 0);
    const [inbox, sent] = user.mailboxes as [GeneratedMailbox, GeneratedMailbox];
    sent.records.push({ ...inbox.records[0]!, uid: 1 }, { ...inbox.records[1]!, uid: 2 });
    fill(sent, 1);
    inbox.records[1] = { ...inbox.records[1]!, flags: ['\\Expunged'] };
    sent.records[1] = { ...sent.records[1]!, flags: ['\\Expunged'] };
    const { seen } = await push(user, []);
    const sentMessages = seen.filter((command) => command.startsWith('APPLY MESSAGE')).map(guidsOf);
    expect(sentMessages).toEqual([[inbox.records[0]!.guid], [sent.records[2]!.guid]]);
  });

  test('makes blocks of 1024 messages', async () => {
    const user = someUser(0);
    const tiny = mail.text(0);
    for (let at = 0; at < 1025; at++) {
      const guid = at.toString(16).padStart(40, '0');
      messages.set(guid, tiny.bytes);
      user.mailboxes[0]!.append({ ...tiny, guid });
    }
    const { seen } = await push(user, []);
    const counts = seen
      .filter((command) => command.startsWith('APPLY MESSAGE'))
      .map((command) => guidsOf(command).length);
    expect(counts).toEqual([1024, 1]);
  });

  test('renames, removes and unsubscribes what the server has otherwise', async () => {
    const user = { ...someUser(1), quotas: [] };
    const [inbox] = user.mailboxes as [GeneratedMailbox];
    const { seen } = await push(user, [
      [
        'GET USER',
        `${held(inbox, 1, { MBOXNAME: 'user.ann' })}${held(inbox, 1, { UNIQUEID: 'gone', MBOXNAME: '"user.anne.Old mail"' })}` +
          '* LSUB (user.anne user.anne.Old)\r\n* SIEVE %(FILENAME b.script LAST_UPDATE 7 GUID 0 ISACTIVE 0)\r\nOK\r\n',
      ],
    ]);
    expect(seen).toEqual([
      'GET USER anne',
      'APPLY UNMAILBOX "user.anne.Old mail"',
      'APPLY RENAME %(OLDMBOXNAME user.ann NEWMBOXNAME user.anne PARTITION default UIDVALIDITY 1700000000)',
      expect.stringMatching(/^APPLY MAILBOX .*SINCE_MODSEQ 2 .* RECORD \(\)\)$/),
      'APPLY UNSUB %(USERID anne MBOXNAME user.anne.Old)',
      'APPLY UNSIEVE %(USERID anne FILENAME b.script)',
    ]);
  });

  test('after IMAP_SYNC_CHECKSUM sends again what the server then says that it lacks', async () => {
    const user = { ...someUser(3), subscriptions: [], quotas: [] };
    const [inbox] = user.mailboxes as [GeneratedMailbox];
    const { seen } = await push(user, [
      ['GET USER', `${held(inbox, 2)}OK\r\n`],
      ['APPLY MAILBOX', 'NO IMAP_SYNC_CHECKSUM differs\r\n'],
      ['GET MAILBOXES', 'OK\r\n'],
    ]);
    expect(verbs(seen)).toEqual([
      'GET',
      'APPLY RESERVE',
      'APPLY MAILBOX',
      'GET',
      'APPLY MESSAGE',
      'APPLY MAILBOX',
    ]);
    const all = inbox.records.map(({ guid }) => guid);
    expect(guidsOf(seen[4]!)).toEqual(all);
    expect(guidsOf(seen[5]!)).toEqual(all);
    expect(seen[5]).not.toContain('SINCE_');
  });

  test('gives up when the server stays of another opinion', async () => {
    const user = someUser(1);
    const checksum: [string, string] = ['APPLY MAILBOX', 'NO IMAP_SYNC_CHECKSUM differs\r\n'];
    await expect(push(user, [checksum, checksum])).rejects.toMatchObject({
      reply: { code: 'IMAP_SYNC_CHECKSUM' },
    });
  });
});
