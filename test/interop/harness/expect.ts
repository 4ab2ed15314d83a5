import { expect } from 'vitest';
import { ACCOUNT } from '../../support/backup-server.ts';
import { readDataFile, storedMessages } from '../../support/data-file.ts';
import { CsyncWire } from '../../support/wire.ts';
import type { SharedBackup } from './backup.ts';
import { backupView, fullMailbox, mailboxNames, sourceView } from './compare.ts';
import type { CyrusSite } from './cyrus.ts';

/** Asserts that a csync server holds just what the mail server shows of these users. */
export async function expectSameMail(cyrus: CyrusSite, port: number, users: string[]): Promise<void> {
  const wire = await (await CsyncWire.connect(port)).login(ACCOUNT.user, ACCOUNT.password);
  try {
    for (const user of users) {
      expect(sorted(await backupView(wire, user)), user).toEqual(sorted(await sourceView(cyrus, user)));
    }
    await wire.ok('EXIT');
    await wire.closed();
  } finally {
    wire.destroy();
  }
}

/**
 * Asserts that each data file holds messages that the user's own mailboxes name, and no others. The server
 * must have ended or given the files up.
 */
export async function expectOwnMailOnly(backup: SharedBackup, port: number, users: string[]): Promise<void> {
  const wire = await (await CsyncWire.connect(port)).login(ACCOUNT.user, ACCOUNT.password);
  const files = new Map((await backup.listed()).map(({ userid, path }) => [userid, path]));
  for (const user of users) {
    const named = new Set<string>();
    for (const name of await mailboxNames(wire, user)) {
      for (const record of await fullMailbox(wire, name)) named.add(String(record.get('GUID')));
    }
    await wire.ok('RESTART');
    const stored = storedMessages(readDataFile(files.get(user)!)).map((m) => m.guid);
    expect(
      stored.filter((guid) => !named.has(guid)),
      `messages in ${user}'s file that are not ${user}'s`,
    ).toEqual([]);
    expect(new Set(stored), `${user}'s messages`).toEqual(named);
    expect(stored.length, `${user}'s messages are there once`).toBe(named.size);
  }
  await wire.ok('EXIT');
  wire.destroy();
}

function sorted<T>(map: Map<string, T>): [string, T][] {
  return [...map].sort(([a], [b]) => (a < b ? -1 : 1));
}
