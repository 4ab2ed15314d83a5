/** A mailbox that is to come as a whole, and does not: the client may have it no more. */
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { createLogger } from '../../src/platform/log.ts';
import type { Backup } from '../../src/store/backup.ts';
import { BackupIndex } from '../../src/store/index/backup-index.ts';
import { mailboxByName } from '../../src/store/index/queries.ts';
import { LeftOut } from '../../src/store/left-out.ts';
import { guidOf, mailboxValue, StoreRig } from './support/store-rig.ts';

const DAY_MS = 86_400_000;
const SOUND = 'sound\r\n';
const LOST = 'lost\r\n';

let rig: StoreRig;
let session = 0;
beforeEach(async () => {
  rig = new StoreRig();
  session++;
  await rig.message(session, 'anne', SOUND);
  for (const name of ['user.anne', 'user.anne.Old']) await rig.mailbox(session, 'anne', name, [SOUND]);
});
afterEach(async () => {
  vi.useRealTimers();
  await rig.shard.handle({ op: 'stop' });
  rig.remove();
});

/** Names of the mailboxes that a client is told of which asks for all of the user's. */
async function told(): Promise<string[]> {
  const text = await rig.read(session, 'anne', { what: 'USER' }, true);
  return [...text.matchAll(/MBOXNAME (\S+)/g)].map(([, name]) => name!);
}

/** In a sync of its own. */
async function toldInSync(): Promise<string[]> {
  await rig.release(session++);
  return await told();
}

function push(name: string, contents: readonly string[], more: Record<string, number> = {}) {
  return rig.apply(session, 'anne', 'MAILBOX', mailboxValue(name, contents, more));
}

/** One of its messages is not here. */
async function ask(name: string): Promise<void> {
  expect((await push(name, [SOUND, LOST])).code).toBe('IMAP_SYNC_CHECKSUM');
}

describe('a mailbox that is asked for', () => {
  beforeEach(() => ask('user.anne.Old'));

  test('and is gone on the mail server is here gone, too, after the next sync but one', async () => {
    expect(await toldInSync()).toEqual(['user.anne']);
    expect(await toldInSync()).toEqual(['user.anne', 'user.anne.Old']);
    // As sync_client does about what it has not.
    expect((await rig.apply(session, 'anne', 'UNMAILBOX', 'user.anne.Old')).code).toBe('OK');
    for (let n = 0; n < 3; n++) expect(await toldInSync()).toEqual(['user.anne']);
    await rig.release(session);
    const index = BackupIndex.open(`${rig.dataPath('anne')}.index`, { readonly: true });
    expect(mailboxByName(index, 'user.anne.Old')).toBeUndefined();
    index.close();
  });

  test('and does not come, though it is there, is asked for with each second sync', async () => {
    for (let n = 0; n < 3; n++) {
      expect(await toldInSync()).toEqual(['user.anne']);
      expect(await toldInSync()).toEqual(['user.anne', 'user.anne.Old']);
    }
    // What is said of it then is refused, until all of it comes.
    for (const since of [{ SINCE_MODSEQ: 2 }, {}] as Record<string, number>[])
      expect((await push('user.anne.Old', [SOUND, LOST], since)).code).toBe('IMAP_SYNC_CHECKSUM');
    const byName = { what: 'MAILBOXES' as const, mboxnames: ['user.anne.Old'] };
    expect(await rig.read(session, 'anne', byName, true)).toBe('');
    await rig.message(session, 'anne', LOST);
    expect((await push('user.anne.Old', [SOUND, LOST])).code).toBe('OK');
    expect(await toldInSync()).toEqual(['user.anne', 'user.anne.Old']);
  });

  test('is told of, or not, to a client that asks twice in a sync, as after a rename', async () => {
    expect(await toldInSync()).toEqual(['user.anne']);
    expect(await told()).toEqual(['user.anne']);
    expect(await toldInSync()).toEqual(['user.anne', 'user.anne.Old']);
    await ask('user.anne');
    expect(await told()).toEqual(['user.anne.Old']);
  });

  test('and has come is asked for at once when something else of it is lost', async () => {
    expect(await toldInSync()).toEqual(['user.anne']);
    expect((await push('user.anne.Old', [SOUND])).code).toBe('OK');
    await rig.release(session++);
    await ask('user.anne.Old');
    expect(await toldInSync()).toEqual(['user.anne']);
  });

  test('is left out once more by a server that was started anew', async () => {
    expect(await toldInSync()).toEqual(['user.anne']);
    await rig.release(session);
    await rig.shard.handle({ op: 'stop' });
    rig.start();
    expect(await toldInSync()).toEqual(['user.anne']);
    expect(await toldInSync()).toEqual(['user.anne', 'user.anne.Old']);
  });
});

test('of several that lack what the mail server could not read a sync is asked for one', async () => {
  // As in place of a message that it cannot read sync_client sends NIL, and nothing for the second mailbox.
  const start = Date.now();
  vi.useFakeTimers({ toFake: ['Date'], now: start });
  for (const name of ['user.anne', 'user.anne.Old']) {
    await ask(name);
    expect((await push(name, [SOUND, LOST])).code).toBe('OK');
  }
  await rig.mailbox(session, 'anne', 'user.anne.Sent', [SOUND]);
  vi.setSystemTime(start + DAY_MS);
  expect(await toldInSync()).toEqual(['user.anne.Old', 'user.anne.Sent']);
  expect((await push('user.anne', [SOUND, LOST])).code).toBe('OK');
  vi.setSystemTime(start + 2 * DAY_MS);
  // That of which it was told yesterday, though all that is to come is due.
  expect(await toldInSync()).toEqual(['user.anne', 'user.anne.Sent']);
  await rig.message(session, 'anne', LOST);
  expect((await push('user.anne.Old', [SOUND, LOST])).code).toBe('OK');
  const guids = [guidOf(LOST)];
  expect((await rig.shard.handle({ op: 'reserve', session, userid: 'anne', guids })).guids).toEqual([]);
  expect((await toldInSync()).slice(-2)).toEqual(['user.anne.Old', 'user.anne.Sent']);
});

test('who of many did not come is remembered up to a limit', async () => {
  await ask('user.anne.Old');
  await rig.release(session);
  const index = BackupIndex.open(`${rig.dataPath('anne')}.index`, { readonly: true });
  const leftOut = new LeftOut(createLogger('silent'), 2);
  const syncOf = (userid: string): number => {
    const backup = { userid, index } as unknown as Backup;
    const { size } = leftOut.toldOf(backup);
    leftOut.settle(backup);
    return size;
  };
  expect(['a', 'b', 'c'].map(syncOf)).toEqual([0, 0, 0]);
  expect(['c', 'a'].map(syncOf)).toEqual([1, 0]);
  index.close();
});
