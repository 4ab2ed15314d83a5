import fs from 'node:fs';
import path from 'node:path';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { type LineEnds, MboxQuoter, mboxHead } from '../../../src/restore/files/mbox-text.ts';
import { guidOf } from '../../maintenance/backup-files.ts';
import { LOST, MAILBOXES, MailStore } from './mail-store.ts';
import { readMbox } from './mbox-reader.ts';

const RECORD = {
  uid: 7,
  modseq: 1n,
  lastUpdated: 0,
  flags: ['\\Seen', 'work'],
  internaldate: 1_600_000_000,
  guid: 'ab'.repeat(20),
  size: undefined,
  annotations: [],
  expunged: undefined,
  isHere: true,
  more: new Map(),
};

/** Undefined: these line ends do not fit. */
function written(content: Buffer, ends: LineEnds, cuts: readonly number[]): Buffer | undefined {
  const parts: Buffer[] = [mboxHead(RECORD, content.length, ends, undefined)];
  const quoter = new MboxQuoter(ends, (bytes) => parts.push(Buffer.from(bytes)));
  let at = 0;
  for (const cut of [...cuts, content.length]
    .map((n) => n % (content.length + 1))
    .sort((a, b) => a - b)
    .concat(content.length)) {
    if (!quoter.push(content.subarray(at, cut))) return undefined;
    at = Math.max(at, cut);
  }
  quoter.end();
  return Buffer.concat(parts);
}

describe('mboxrd', () => {
  const piece = fc.constantFrom(
    'From ',
    'From',
    'Fr',
    '>',
    '>>',
    '\r\n',
    '\r\n',
    '\r\n',
    '\n',
    '\r',
    ' ',
    'x',
    'From: x',
    '\0',
    '\xff',
  );
  const content = fc.array(piece, { maxLength: 40 }).map((pieces) => Buffer.from(pieces.join(''), 'latin1'));

  test('gives back every byte of every message, wherever its pieces were cut', () => {
    fc.assert(
      fc.property(
        fc.array(fc.tuple(content, fc.array(fc.nat(200), { maxLength: 5 })), { maxLength: 5 }),
        (messages) => {
          const file = messages.map(([bytes, cuts]) => {
            const hasBareLf = /(^|[^\r])\n/.test(bytes.toString('latin1'));
            const crlf = written(bytes, 'crlf', cuts);
            expect(crlf === undefined).toBe(hasBareLf);
            return crlf ?? written(bytes, 'asis', cuts)!;
          });
          const read = readMbox(Buffer.concat(file));
          expect(read.map((message) => message.content.toString('latin1'))).toEqual(
            messages.map(([bytes]) => bytes.toString('latin1')),
          );
        },
      ),
      { numRuns: 1000 },
    );
  });

  test('long messages go through in pieces', () => {
    const long = Buffer.from(`Subject: x\r\n\r\n${'From the start\r\n>From\r\n'.repeat(50_000)}`);
    expect(readMbox(written(long, 'crlf', [65_536, 131_072, 500_001])!)[0]!.content.equals(long)).toBe(true);
  });
});

describe('restore --to mbox', () => {
  test('a file for each mailbox, with flags and UIDs, from which every byte comes back', () => {
    using store = new MailStore();
    expect(store.restore(`mbox:${store.out}`)).toMatchObject({ status: 0, stderr: '' });
    const cut = fs.readFileSync(path.join(store.out, 'mailbox-names.tsv'), 'utf8').split('\t')[0]!;
    const files = [
      'INBOX',
      'INBOX/Archive/2025',
      'INBOX/Entwürfe',
      'INBOX/v1.2',
      'INBOX/%2E.',
      cut,
      'INBOX/Empty',
    ];
    for (const [at, { records }] of MAILBOXES.entries()) {
      const bytes = fs.readFileSync(path.join(store.out, `${files[at]}.mbox`));
      expect(
        readMbox(bytes).map((message) => [message.fields['X-UID'], message.content.toString('latin1')]),
      ).toEqual(records.map(({ uid, content }) => [String(uid), content]));
    }
    const inbox = fs.readFileSync(path.join(store.out, 'INBOX.mbox'), 'latin1');
    expect(inbox.slice(0, inbox.indexOf('Subject'))).toBe(
      [
        'From MAILER-DAEMON Sun Sep 13 12:26:40 2020',
        'X-IMAPbase: 1500000000 0000001000 $Forwarded work',
        'X-UID: 2',
        'Status: RO',
        'X-Status: F',
        'X-Keywords: $Forwarded',
        `X-Csync-Backup: guid=${guidOf(MAILBOXES[0]!.records[0]!.content)} size=36 lines=crlf`,
        '',
      ].join('\n'),
    );
    expect(inbox).toContain('\n>From me\n>>From you\n\nFrom MAILER-DAEMON');
    expect(fs.globSync('**/*.part', { cwd: store.out })).toEqual([]);
  });

  test('killed before the files have their names, and run again; a file that is there is replaced', () => {
    using store = new MailStore();
    const args = ['restore', '-u', 'anne', '--to', `mbox:${store.out}`, '--in-place'];
    expect(store.run(args, 'restore-files-synced').signal).toBe('SIGKILL');
    expect(fs.globSync('**/*.mbox', { cwd: store.out })).toEqual([]);
    fs.writeFileSync(path.join(store.out, 'INBOX.mbox'), 'something else');
    expect(store.run(args).stderr).toMatch(/INBOX.mbox is there already: it is replaced/);
    expect(store.run([...args, '--yes']).status).toBe(0);
    expect(readMbox(fs.readFileSync(path.join(store.out, 'INBOX.mbox')))).toHaveLength(3);
  });

  test('a damaged message leaves nothing in the file', () => {
    using store = new MailStore([
      {
        name: 'Both',
        records: [
          { uid: 1, content: LOST },
          { uid: 2, content: 'Subject: good\r\n\r\n' },
        ],
      },
    ]);
    store.damage();
    const ran = store.restore(`mbox:${store.out}`);
    expect(ran).toMatchObject({
      status: 65,
      stderr: expect.stringContaining('lost: message 1 of user.anne.Both: '),
    });
    const read = readMbox(fs.readFileSync(path.join(store.out, 'INBOX/Both.mbox')));
    expect(read.map(({ fields }) => fields['X-UID'])).toEqual(['2']);
    expect(read[0]!.fields['X-IMAPbase']).toBe('1500000000 0000001000');
    expect(fs.statSync(path.join(store.out, 'INBOX/Lost.mbox')).size).toBe(0);
  });
});
