import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { newSearchCommand } from '../../src/cli/restore/search.ts';
import { guidOf, mailboxLine, messageLine } from '../maintenance/backup-files.ts';
import { SmallStore } from '../support/small-store.ts';

const INVOICE =
  'From: =?utf-8?Q?B=C3=BCro?= <office@example.org>\r\nTo: anne@example.org\r\nSubject: Your\r\n invoice \x1b[31m\r\nDate: Mon, 23 Nov 2026 10:00:00 +0000\r\n\r\nPay me.\r\n';
const LUNCH = 'From: bob@example.org\r\nSubject: Lunch\r\nMessage-ID: <1@bob>\r\n\r\nAt noon?\r\n';
const OLD = 'From: bob@example.org\r\nSubject: Old invoice\r\n\r\n';

describe('csync-backup search', () => {
  let store: SmallStore;
  beforeAll(() => {
    store = new SmallStore();
    store.add('anne', {
      lines: [
        messageLine([INVOICE, LUNCH, OLD]),
        mailboxLine(
          'user.anne.Gr&APw-n',
          [
            { uid: 4, content: INVOICE, flags: '\\Seen $Work', internaldate: 1_795_000_000 },
            { uid: 5, content: LUNCH, internaldate: 1_795_100_000 },
            { uid: 6, content: OLD, flags: '\\Expunged', internaldate: 1_795_200_000 },
          ],
          { uniqueid: 'u-gruen', modseq: 20 },
        ),
      ],
    });
    store.add('bob');
  });
  afterAll(() => store[Symbol.dispose]());

  test('a line for people, with what the mail says made harmless', () => {
    const ran = store.run(['search', 'anne', '--subject', 'INVOICE', '--flag', 'seen']);
    expect(ran).toMatchObject({ status: 0, stderr: '' });
    expect(ran.stdout).toBe(
      `2026-11-18T11:06:40.000Z\tuser/anne/Grün\t4\tBüro <office@example.org>\tYour invoice  [31m\t${INVOICE.length}\tu-gruen:4\n`,
    );
  });

  test('objects with stable keys', () => {
    const ran = store.run(['search', '-u', 'anne', '--json', '--subject', 'invoice', '--deleted']);
    const lines = ran.stdout
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line));
    expect(lines).toEqual([
      {
        type: 'message',
        userid: 'anne',
        mailbox: 'user/anne/Gr&APw-n',
        uniqueid: 'u-gruen',
        uid: 4,
        guid: guidOf(INVOICE),
        internalDate: '2026-11-18T11:06:40.000Z',
        sizeBytes: INVOICE.length,
        flags: ['\\Seen', '$Work'],
        deleted: false,
        expungedAt: null,
        mailboxDeletedAt: null,
        from: 'Büro <office@example.org>',
        to: 'anne@example.org',
        cc: null,
        subject: 'Your invoice \x1b[31m',
        messageId: null,
        sentAt: '2026-11-23T10:00:00.000Z',
      },
      expect.objectContaining({
        uid: 6,
        deleted: true,
        expungedAt: expect.stringMatching(/^20/),
        subject: 'Old invoice',
      }),
      { type: 'summary', userid: 'anne', found: 2, damaged: 0, absent: 0 },
    ]);
  });

  test('conditions together, in one mailbox, by its name in any form', () => {
    const uids = (...args: string[]): string[] =>
      store
        .run(['search', 'anne', ...args])
        .stdout.split('\n')
        .flatMap((line) => line.split('\t')[2] ?? []);
    expect(uids('--in', 'Grün', '--text', 'noon', '--message-id', '<1@bob>', '--header', 'From=bob')).toEqual(
      ['5'],
    );
    expect(uids('--in', 'Grün', '--deleted', '--since', '2026-11-19', '--smaller', '10K')).toEqual([
      '5',
      '6 deleted',
    ]);
    expect(uids('--without-flag', '$work', '--larger', '40')).toEqual(['5']);
  });

  test('as the backup was at a moment', () => {
    const at = ['--at', '2023-11-14T22:13:20Z'];
    const found = (...args: string[]) => store.run(['search', 'anne', '--subject', 'lunch', ...args]);
    expect(found(...at)).toMatchObject({ status: 0, stdout: expect.stringContaining('\tu-gruen:5\n') });
    expect(found('--at', '2023-11-14T22:13:19Z')).toMatchObject({
      status: 65,
      stderr: expect.stringContaining('Give 2023-11-14T22:13:20Z'),
    });
  });

  test('what a person gets wrong is answered with what to type instead', async () => {
    const wrong = async (...args: string[]): Promise<string> => {
      const command = newSearchCommand()
        .exitOverride()
        .configureOutput({ writeErr: () => {} });
      try {
        await command.parseAsync([...args, '-C', store.configFile], { from: 'user' });
      } catch (error) {
        return error instanceof Error ? error.message : String(error);
      }
      return 'nothing is wrong';
    };
    expect(await wrong('carla')).toMatch(/carla.* See csync-backup list/);
    expect(await wrong()).toMatch(/none is named.*Give .*-u USERID/);
    expect(await wrong('anne', '-u', 'anne')).toMatch(/two are named/);
    expect(await wrong('anne', '--since', '2026-02-30')).toMatch(
      /2026-02-30.*no such day.* Give one of 2026-11-20/,
    );
    expect(await wrong('anne', '--since', 'last week')).toMatch(
      /no time that is understood. Give one of 2026-11-20/,
    );
    expect(await wrong('anne', '--since', '3026-01-01')).toMatch(/still to come.*Check the year/);
    expect(await wrong('anne', '--larger', 'big')).toMatch(/no size. Give one such as 5000, 200K or 10M/);
    expect(await wrong('anne', '--larger', '5', '--smaller', '6')).toMatch(/no size is both/);
    expect(await wrong('anne', '--since', '2026-11-20', '--before', '2026-11-20')).toMatch(
      /nothing lies between the two.*Give --since the earlier/,
    );
    expect(await wrong('anne', '--in', 'Drafts')).toMatch(/Drafts.* See csync-backup show mailboxes/);
    expect(await wrong('anne', '--in', 'u-gruen:4')).toMatch(/that is a message/);
    expect(await wrong('anne', '--subject', '')).toMatch(/--subject "": it is empty.*leave the option out/);
    expect(await wrong('anne', '--flag', 'seen', '--without-flag', '\\Seen')).toMatch(/no message is both/);
    expect(await wrong('anne', '--header', 'a b=c')).toMatch(/such as List-Id=announce/);
  });

  test('nothing found is said, and no error', () => {
    expect(store.run(['search', 'bob', '--from', 'nobody'])).toMatchObject({
      status: 0,
      stdout: '',
      stderr: 'csync-backup: nothing found; --deleted looks at what was deleted too\n',
    });
  });
});
