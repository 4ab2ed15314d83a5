import { describe, expect, test } from 'vitest';
import { RestoreItems } from '../../../src/cli/compat/restore-items.ts';
import { parseRestore } from '../../../src/cli/compat/restore-line.ts';
import { UsageError } from '../../../src/cli/compat/usage-error.ts';
import { loadConfig } from '../../../src/config/load.ts';
import { BackupSource } from '../../../src/restore/source.ts';
import { withBackup } from '../../../src/store/open-backup.ts';
import { guidOf } from '../../maintenance/backup-files.ts';
import { SmallStore } from '../../support/small-store.ts';

describe('the command line of restore', () => {
  test('options in any place, short and long', () => {
    const line = parseRestore(
      '-vAx host:143 -DLrz anne --dest-mailbox=user.b user/anne -vP p -w 3'.split(' '),
    );
    expect(line).toMatchObject({
      acl: 'x',
      server: 'host:143',
      mode: 'user',
      backup: 'anne',
      keepDeletedPrefix: true,
      localOnly: true,
      recursive: true,
      requireCompression: true,
      destMailbox: 'user.b',
      destPartition: 'p',
      objects: ['user/anne'],
      verbose: 2,
      wait: 3,
      expunged: 'both',
    });
    expect(parseRestore(['-a', 'h', '-f', '/x', '--override-acl'])).toMatchObject({
      acl: '',
      mode: 'file',
      backup: '/x',
      all: true,
    });
    // As the last word, as in Cyrus.
    expect(parseRestore(['h', '-u', 'anne', '-a', '-A'])).toMatchObject({ acl: '' });
  });

  test.each([
    '-a host',
    'host anne',
    '-a -F x host anne',
    '-a host anne user/anne',
    '-U -M x -a host anne',
    '-A x -U -a host anne',
    '-P p -U -a host anne',
    '-x -X -a host anne',
    '-u a -f b -a host',
    '-w -1 -a host anne',
    '-Q',
    '-a',
  ])('%s is wrong usage', (text) => {
    expect(() => parseRestore(text.split(' '))).toThrow(UsageError);
  });
});

/** What is said, and what goes where with how many messages. */
async function plan(text: string): Promise<{ said: string[]; items: string[]; missing: string[] }> {
  using store = new SmallStore();
  const path = store.add('anne');
  const line = parseRestore(['-v', 'host', 'anne', ...text.split(' ').filter((word) => word !== '')]);
  const said: string[] = [];
  return await withBackup(path, (backup) => {
    const config = loadConfig({ file: store.configFile });
    const found = new RestoreItems(new BackupSource(backup), line, config, (row) => said.push(row));
    const missing = line.objects.filter((object) => !found.addObject(object));
    if (line.all) found.addAll();
    const items = found.items.map(
      ({ mboxname, records, keepsIdentity, acl, expungedBecome }) =>
        `${mboxname} ${[...records()].length} ${keepsIdentity} ${acl ?? '-'} ${expungedBecome}`,
    );
    return { said, items, missing };
  });
}

describe('what restore makes of it', () => {
  test('all, deleted mailboxes under the names that they had', async () => {
    expect(await plan('-a')).toEqual({
      said: [
        'user.anne: not trying to keep uidvalidity',
        'user.anne.Sent: not trying to keep uidvalidity',
        'DELETED.user.anne.Old.6B04A1C0: not trying to keep uidvalidity',
        'user.anne.Old: removing deletedprefix (was DELETED.user.anne.Old.6B04A1C0)',
      ],
      items: [
        'user.anne 3 false - expunged',
        'user.anne.Sent 0 false - expunged',
        'user.anne.Old 0 false - expunged',
      ],
      missing: [],
    });
  });

  test('one by name, with what is below, and as they were', async () => {
    const { said, items } = await plan('-U -r user/anne -X');
    expect(items).toEqual(['user.anne 3 true - expunged', 'user.anne.Sent 0 true - expunged']);
    expect(said[0]).toBe(
      'user.anne: trying to keep uidvalidity(1500000000), uniqueid(id-user.anne), highestmodseq(10)',
    );
  });

  test('to another mailbox, with another ACL, on another partition; only expunged ones', async () => {
    const { said, items } = await plan('-x -M user.bob -A= -P p2 user.anne');
    expect(said.slice(0, 5)).toEqual([
      'user.anne: overriding mboxname with user.bob',
      'user.bob: overriding partition with p2 (was default)',
      "user.bob: overriding acl with '=' (was 'anne\tlrswipkxtecdan\t')",
      'user.bob: not trying to keep uidvalidity',
      `user.bob: excluding unexpunged message: ${guidOf('of anne')}`,
    ]);
    expect(items).toEqual(['user.bob 0 false =\t live']);
    expect((await plan('-M user/bob/Found --override-acl user/anne')).items).toEqual([
      'user.bob.Found 3 false bob\tlrswipkxtecdan\t expunged',
    ]);
  });

  test('a message, and what is not there', async () => {
    const { items, missing } = await plan(
      `${guidOf('two')} user/anne/Nothing ${'0'.repeat(40)} user/anne/Sent`,
    );
    expect(items).toEqual(['user.anne 1 false - live', 'user.anne.Sent 0 false - expunged']);
    expect(missing).toEqual(['user/anne/Nothing', '0'.repeat(40)]);
  });
});
