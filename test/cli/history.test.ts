import { createHash } from 'node:crypto';
import { globSync } from 'node:fs';
import { afterAll, describe, expect, test } from 'vitest';
import { mailboxLine, messageLine } from '../maintenance/backup-files.ts';
import { SmallStore } from '../support/small-store.ts';

const T = 1_700_000_000; // 2023-11-14T22:13:20Z
const DAY = 86_400;
const guid = (content: string): string => createHash('sha1').update(content).digest('hex');

/** Anne's backup: a message is expunged and one comes on the next day, a folder is renamed the day after. */
function storeOfAnne(): SmallStore {
  const store = new SmallStore();
  store.add('anne', {
    lines: [
      messageLine(['later'], T + DAY),
      mailboxLine('user.anne', [{ uid: 4, content: 'later' }], { time: T + DAY }),
      `${T + DAY} APPLY EXPUNGE %(MBOXNAME user.anne UNIQUEID id-user.anne UID (2))\r\n`,
      `${T + DAY} APPLY SUB %(USERID anne MBOXNAME user.anne)\r\n`,
      `${T + 2 * DAY} APPLY RENAME %(OLDMBOXNAME user.anne.Sent NEWMBOXNAME user.anne.Out PARTITION default UIDVALIDITY 1500000000)\r\n`,
      mailboxLine('user.anne', [{ uid: 1, content: 'of anne', flags: '\\Seen $Work' }], {
        time: T + 3 * DAY,
      }),
    ],
  });
  return store;
}

const store = storeOfAnne();
afterAll(() => store[Symbol.dispose]());

describe('csync-backup history', () => {
  test('shows one change a line, in the order in which the backup was told', () => {
    const ran = store.run(['history', 'anne', '--since', '2023-11-15']);
    expect(ran).toMatchObject({ status: 0, stderr: '' });
    expect(ran.stdout.split('\n')).toEqual([
      `2023-11-15T22:13:20Z\tmessage added\tuser/anne\tuid 4\t${guid('later')}\t5 bytes\t-`,
      `2023-11-15T22:13:20Z\tmessage expunged\tuser/anne\tuid 2\t${guid('two')}\t3 bytes\t-`,
      '2023-11-15T22:13:20Z\tsubscription added\tuser/anne',
      '2023-11-16T22:13:20Z\tmailbox renamed\tuser/anne/Out\tid-user.anne.Sent\tuser/anne/Sent -> user/anne/Out',
      `2023-11-17T22:13:20Z\tmessage flags\tuser/anne\tuid 1\t${guid('of anne')}\t7 bytes\t- -> \\Seen $Work`,
      '',
    ]);
    const all = store.run(['history', 'anne', '--before', '2023-11-15T00:00:00Z', '--json']).stdout;
    const objects = all
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line) as Record<string, unknown>);
    expect(objects).toHaveLength(6); // three mailboxes, three messages
    expect(objects[1]).toEqual({
      time: '2023-11-14T22:13:20Z',
      type: 'message',
      change: 'added',
      mailbox: 'user/anne',
      uniqueid: 'id-user.anne',
      uid: 1,
      guid: guid('of anne'),
      sizeBytes: 7,
      flags: [],
    });
  });

  test('of a mailbox, also under the name that it had', () => {
    for (const name of ['Out', 'id-user.anne.Sent']) {
      const { stdout } = store.run(['history', 'anne', name]);
      expect(stdout.split('\n').map((line) => line.split('\t')[1])).toEqual([
        'mailbox created',
        'mailbox renamed',
        undefined,
      ]);
    }
    const [file] = store.files().filter((name) => !name.endsWith('.index'));
    expect(store.run(['history', '-f', `${store.folder}/${file}`, 'Out']).stdout).toContain('renamed');
  });

  test.each([
    [['anne', 'Drafts'], 65, /cannot find Drafts: no mailbox of .* is or was called so/],
    [['nobody'], 65, /cannot find the backup of nobody/],
    [['anne', '--since', 'noon'], 64, /cannot take --since "noon"/],
    [['anne', '--since', '2023-11-16', '--before', '2023-11-15'], 64, /Give --since the earlier time/],
    [[], 64, /Give one of -u USERID/],
    [['-u', 'anne', 'Sent', 'Drafts'], 64, /named twice/],
  ])('%j is answered with what to give instead', (args, status, message) => {
    const ran = store.run(['history', ...args]);
    expect(ran).toMatchObject({ status, stdout: '' });
    expect(ran.stderr).toMatch(message);
  });

  test('says where it begins after a compaction', () => {
    using compacted = storeOfAnne();
    expect(compacted.run(['compact', '-u', 'anne', '--force']).status).toBe(0);
    const ran = compacted.run(['history', 'anne']);
    expect(ran).toMatchObject({ status: 0, stdout: '' });
    expect(ran.stderr).toContain('the history begins at 2023-11-17T22:13:20Z: what is older was compacted');
    const early = compacted.run(['diff', 'anne', '--from', '2023-11-15T00:00:00Z']);
    expect(early).toMatchObject({ status: 65, stdout: '' });
    expect(early.stderr).toContain('Give 2023-11-17T22:13:20Z or a later time');
  });
});

describe('csync-backup diff', () => {
  test('shows what is different between two moments', () => {
    const ran = store.run(['diff', 'anne', '--from', '2023-11-14T23:00:00Z', '--to', '2023-11-16T23:00:00Z']);
    expect(ran).toMatchObject({ status: 0, stderr: '' });
    expect(ran.stdout.split('\n')).toEqual([
      `message expunged\tuser/anne\tuid 2\t${guid('two')}\t3 bytes\t-`,
      `message added\tuser/anne\tuid 4\t${guid('later')}\t5 bytes\t-`,
      'mailbox renamed\tuser/anne/Out\tid-user.anne.Sent\tuser/anne/Sent -> user/anne/Out',
      'subscription added\tuser/anne',
      '',
    ]);
    const flags = store.run(['diff', 'anne', '--from', '2023-11-16T23:00:00Z', '--json']);
    expect(JSON.parse(flags.stdout)).toMatchObject({
      type: 'message',
      change: 'flags',
      uid: 1,
      flagsBefore: [],
      flags: ['\\Seen', '$Work'],
    });
    expect(store.run(['diff', 'anne', '--from', '2023-11-18T00:00:00Z'])).toMatchObject({
      status: 0,
      stdout: '',
    });
  });

  test.each([
    [['--from', '-1d', '--to', '-2d'], /--from is later than --to/],
    [['--from', '2999-01-01'], /in the future/],
    [[], /--from/],
  ])('%j is refused', (args, message) => {
    const ran = store.run(['diff', 'anne', ...args]);
    expect(ran.status).toBe(64);
    expect(ran.stderr).toMatch(message);
  });
});

describe('csync-backup restore --before-change', () => {
  test('gives back what was there before the last change of a message', () => {
    const args = [
      'restore',
      '-u',
      'anne',
      '--in-place',
      '--to',
      `eml:${store.folder}/out`,
      '--before-change',
    ];
    const ran = store.run([...args, guid('two')]);
    expect(ran.status).toBe(0);
    expect(ran.stderr).toMatch(
      /before the change at 2023-11-15T22:13:20Z: message expunged, user\/anne, uid 2/,
    );
    expect(globSync('**/*.eml', { cwd: `${store.folder}/out` })).toHaveLength(4);
    const none = store.run([...args, guid('never')]);
    expect(none.status).toBe(65);
    expect(none.stderr).toMatch(/nothing has changed it in the history .* csync-backup history shows/);
    const all = store.run([
      'restore',
      '-A',
      '--to',
      `eml:${store.folder}/{user}`,
      '--before-change',
      'INBOX',
    ]);
    expect(all.status).toBe(64);
  });
});
