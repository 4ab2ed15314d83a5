import fs from 'node:fs';
import path from 'node:path';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { atom, type Dlist, list } from '../../../src/csync/dlist.ts';
import { byteText, dlistJson, isoTime } from '../../../src/restore/files/json-values.ts';
import { guidOf } from '../../maintenance/backup-files.ts';
import { LOST, MAILBOXES, MailStore } from './mail-store.ts';

// biome-ignore lint/suspicious/noExplicitAny: what JSON.parse gives
type Line = any;

function read(file: string): Line[] {
  return fs
    .readFileSync(file, 'utf8')
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line));
}

test('bytes come back whether they are UTF-8 or not', () => {
  const bytes = fc.uint8Array().map((array) => Buffer.from(array).toString('latin1'));
  const text = fc.string({ unit: 'grapheme' }).map((unicode) => Buffer.from(unicode).toString('latin1'));
  fc.assert(
    fc.property(fc.oneof(bytes, text), (value) => {
      const json = JSON.parse(JSON.stringify(byteText(value)));
      const back = typeof json === 'string' ? Buffer.from(json) : Buffer.from(json.base64, 'base64');
      expect(back.toString('latin1')).toBe(value);
    }),
  );
  expect(byteText('caf\xe9')).toEqual({ base64: 'Y2Fm6Q==' });
  const value: Dlist = {
    kind: 'kvlist',
    entries: [
      ['A', list([atom('x'), { kind: 'nil' }])],
      ['A', atom('2')],
    ],
  };
  expect(dlistJson(value)).toEqual({
    kvlist: [
      ['A', ['x', null]],
      ['A', '2'],
    ],
  });
  expect(isoTime(1e300)).toBe('@1e+300');
});

const SETTINGS = [
  '1700000001 APPLY SUB %(USERID anne MBOXNAME "user.anne.Entw&APw-rfe")\r\n',
  '1700000001 APPLY SEEN %(USERID anne UNIQUEID id-shared LASTREAD 1700000000 LASTUID 7 LASTCHANGE 1700000000 SEENUIDS 1:7)\r\n',
  '1700000001 APPLY SIEVE %(USERID anne FILENAME main.script LAST_UPDATE 1700000000 CONTENT {6}\r\nkeep;\n)\r\n',
  '1700000001 APPLY ACTIVATE_SIEVE %(USERID anne FILENAME main.bc)\r\n',
  '1700000001 APPLY QUOTA %(ROOT user.anne STORAGE 1000 MESSAGE 50 MODSEQ 81)\r\n',
  '1700000001 APPLY ANNOTATION %(MBOXNAME "" ENTRY /motd USERID "" VALUE hello)\r\n',
];

describe('restore --to json', () => {
  test('everything that the backup knows', () => {
    using store = new MailStore(MAILBOXES, SETTINGS);
    const file = path.join(store.folder, 'anne.json');
    expect(store.restore(`json:${file}`)).toMatchObject({ status: 0, stderr: '' });
    const lines = read(file);
    expect(lines[0]).toMatchObject({ type: 'backup', format: 1, userid: 'anne', at: null, content: true });
    expect(lines.at(-1)).toEqual({ type: 'end', mailboxes: 8, messages: 9, damaged: 0 });
    expect(lines.slice(1, 6)).toEqual([
      { type: 'subscription', name: 'user/anne/Entwürfe', mboxname: 'user.anne.Entw&APw-rfe' },
      {
        type: 'seen',
        uniqueid: 'id-shared',
        lastRead: '2023-11-14T22:13:20.000Z',
        lastUid: 7,
        lastChange: '2023-11-14T22:13:20.000Z',
        seenUids: '1:7',
      },
      {
        type: 'script',
        filename: 'main.script',
        guid: guidOf('keep;\n'),
        lastUpdate: '2023-11-14T22:13:20.000Z',
        active: true,
        content: Buffer.from('keep;\n').toString('base64'),
      },
      { type: 'quota', root: 'user.anne', limits: { STORAGE: 1000, MESSAGE: 50 }, modseq: '81' },
      { type: 'annotation', entry: '/motd', userid: '', modseq: '0', value: 'hello' },
    ]);
    expect(lines[6]).toEqual({
      type: 'mailbox',
      name: 'user/anne',
      uniqueid: 'id-user.anne',
      mboxname: 'user.anne',
      mboxtype: null,
      uidvalidity: 1_500_000_000,
      lastUid: expect.any(Number),
      highestModseq: '10',
      recentUid: 0,
      recentTime: '1970-01-01T00:00:00.000Z',
      lastAppendDate: '2020-09-13T12:26:40.000Z',
      pop3LastLogin: '1970-01-01T00:00:00.000Z',
      pop3ShowAfter: null,
      partition: 'default',
      acl: 'anne\tlrswipkxtecdan\t',
      options: 'P',
      quotaroot: null,
      xconvModseq: null,
      deletedAt: null,
      annotations: [{ entry: '/vendor/x', userid: 'anne', modseq: '0', value: 'a (b' }],
      more: {},
    });
    const { uid, content, flags } = MAILBOXES[0]!.records[0]!;
    expect(lines[7]).toEqual({
      type: 'message',
      mailbox: 'id-user.anne',
      uid,
      modseq: '3',
      lastUpdated: '2023-11-14T22:13:20.000Z',
      flags: flags!.split(' '),
      internalDate: '2020-09-13T12:26:40.000Z',
      guid: guidOf(content),
      sizeBytes: content.length,
      annotations: [{ entry: '/x', userid: '', modseq: '0', value: ')\r\n(\r' }],
      expungedAt: null,
      more: {},
      content: Buffer.from(content as string, 'latin1').toString('base64'),
    });
    const messages = lines.filter(({ type }) => type === 'message');
    expect(messages).toHaveLength(9);
    for (const { content: base64, guid } of messages)
      expect(guidOf(Buffer.from(base64, 'base64'))).toBe(guid);
  });

  test('without content, on standard output, with the report elsewhere', () => {
    using store = new MailStore(MAILBOXES, SETTINGS);
    const ran = store.restore('json:-', '--no-content', '--no-settings', '--json');
    expect(ran.status).toBe(0);
    expect(JSON.parse(ran.stderr)).toMatchObject({ type: 'summary', messages: 9 });
    const lines = ran.stdout
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line));
    expect(new Set(lines.map(({ type }) => type))).toEqual(new Set(['backup', 'mailbox', 'message', 'end']));
    for (const line of lines) if (line.type === 'message') expect(line).not.toHaveProperty('content');
  });

  test('a message that is damaged is there by its record, and says so', () => {
    using store = new MailStore();
    store.damage();
    const file = path.join(store.folder, 'anne.json');
    expect(store.restore(`json:${file}`)).toMatchObject({ status: 65 });
    const lost = read(file).find(({ guid }) => guid === guidOf(LOST));
    expect(lost).toMatchObject({
      uid: 1,
      content: null,
      missing: { code: 'CHUNK_CORRUPT', reason: expect.any(String) },
    });
    expect(read(file).at(-1)).toMatchObject({ type: 'end', damaged: 1 });
  });

  test('a message that is too long for a line comes in parts', () => {
    const long = `Subject: long\r\n\r\n${'0123456789abcdef'.repeat(800_000)}`;
    using store = new MailStore([{ name: '', records: [{ uid: 1, content: long }] }]);
    const file = path.join(store.folder, 'anne.json');
    expect(store.restore(`json:${file}`, 'INBOX')).toMatchObject({ status: 0 });
    const lines = read(file);
    const at = lines.findIndex(({ type }) => type === 'message');
    expect(lines[at]).toMatchObject({ contentParts: 2, sizeBytes: long.length });
    const parts = lines.slice(at + 1, at + 3);
    expect(parts.map(({ type, part, parts: of }) => [type, part, of])).toEqual(
      [1, 2].map((part) => ['content', part, 2]),
    );
    const content = Buffer.concat(parts.map(({ data }) => Buffer.from(data, 'base64')));
    expect(guidOf(content)).toBe(lines[at].guid);
  });
});
