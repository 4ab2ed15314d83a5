/** What a client named and had nothing to send for is asked for again some days later. */
import fs from 'node:fs';
import { gunzipSync } from 'node:zlib';
import Database from 'better-sqlite3';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { compactBackup } from '../../src/maintenance/compact/compact.ts';
import { reindexBackup } from '../../src/maintenance/reindex.ts';
import type { ReadQuery } from '../../src/pipeline/messages.ts';
import { loadDeflateEngine } from '../../src/platform/deflate.ts';
import { crcOf, guidOf, mailboxValue, StoreRig } from './support/store-rig.ts';

const DAY_MS = 86_400_000;
const START_MS = Date.UTC(2026, 0, 1);
const SOUND = 'sound\r\n';
const LOST = 'lost\r\n';
const ALL = [SOUND, LOST];
const engine = loadDeflateEngine('auto');

let rig: StoreRig;
let session = 0;
beforeEach(() => {
  vi.useFakeTimers({ toFake: ['Date'], now: START_MS });
  rig = new StoreRig();
});
afterEach(async () => {
  vi.useRealTimers();
  await rig.shard.handle({ op: 'stop' });
  rig.remove();
});

const onDay = (days: number): void => void vi.setSystemTime(START_MS + days * DAY_MS);

function push(contents: readonly string[], more: Record<string, string | number> = {}) {
  const fields = { SYNC_CRC: crcOf(contents), ...more };
  return rig.apply(session, 'anne', 'MAILBOX', mailboxValue('user.anne', contents, fields));
}

/** The client comes and asks what there is. @returns whether it is told of the INBOX */
async function isTold(...mboxnames: string[]): Promise<boolean> {
  const query: ReadQuery = mboxnames.length === 0 ? { what: 'USER' } : { what: 'MAILBOXES', mboxnames };
  return (await rig.read(++session, 'anne', query, true)).includes('MBOXNAME user.anne ');
}

/** As a client does that has nothing to send for LOST. */
async function pushWithout(): Promise<void> {
  expect((await push(ALL)).code).toBe('OK');
  await rig.release(session);
}

async function daysAskedOn(days: readonly number[], ...mboxnames: string[]): Promise<number[]> {
  const asked: number[] = [];
  for (const day of days) {
    onDay(day);
    if (await isTold(...mboxnames)) await rig.release(session);
    else {
      asked.push(day);
      await pushWithout();
    }
  }
  return asked;
}

const missing = async (): Promise<string[] | undefined> => {
  const guids = ALL.map((content) => guidOf(content));
  return (await rig.shard.handle({ op: 'reserve', session, userid: 'anne', guids })).guids;
};

/** Day 0: the client names LOST, is asked for all of the mailbox, and has it not. */
async function lose(): Promise<void> {
  session++;
  await rig.message(session, 'anne', SOUND);
  await rig.mailbox(session, 'anne', 'user.anne.Sent', [SOUND]);
  expect((await push(ALL)).code).toBe('IMAP_SYNC_CHECKSUM');
  await pushWithout();
}

const counted = (name: string): number | undefined => rig.figures.take().values[name];

describe('a mailbox with a message that the client has not', () => {
  beforeEach(lose);

  test('is asked for again after 1, 2, 4, 8 days and so on, as long as it is not there', async () => {
    const days = Array.from({ length: 400 }, (_, day) => day / 2);
    expect(await daysAskedOn(days)).toEqual([1, 2, 4, 8, 16, 32, 64, 128]);
    expect(counted('heals_requested_total')).toBe(9);
    // The record was counted, and the administrator was told, when it first came so.
    expect(counted('records_without_content_total')).toBe(1);
  });

  test('is complete when the client has it another day, and not asked for any more', async () => {
    expect(await daysAskedOn([0.5, 1, 2])).toEqual([1, 2]);
    onDay(5);
    expect(await isTold()).toBe(false);
    expect(await missing()).toEqual([guidOf(LOST)]);
    await rig.message(session, 'anne', LOST);
    await pushWithout();
    expect(await daysAskedOn([5, 6, 20, 400])).toEqual([]);
    expect(await missing()).toEqual([]);
    const full = await rig.read(session, 'anne', { what: 'FULLMAILBOX', mboxname: 'user.anne' });
    expect(full).toContain(`GUID ${guidOf(LOST)}`);
    await rig.release(session);
    expect(gunzipSync(fs.readFileSync(rig.dataPath('anne'))).toString()).toContain(LOST);
  });

  test('is asked for by who asks for it by name, and nobody else is told less', async () => {
    onDay(3);
    const query: ReadQuery = { what: 'MAILBOXES', mboxnames: ['user.anne.Sent'] };
    expect(await rig.read(++session, 'anne', query, true)).toContain('user.anne.Sent');
    // To look is not to ask.
    expect(await rig.read(session, 'anne', { what: 'USER' })).toContain('MBOXNAME user.anne ');
    await rig.release(session);
    expect(await isTold('user.anne', 'user.anne.Sent')).toBe(false);
    expect(await rig.read(session, 'anne', { what: 'USER' }, true)).toContain('user.anne.Sent');
  });

  test('is asked for after 8 days, 16 and so on where the client would send all of its messages', async () => {
    const days = Array.from({ length: 200 }, (_, day) => day);
    expect(await daysAskedOn(days, 'user.anne')).toEqual([8, 16, 32, 64, 128]);
  });

  test('is asked for by a MAILBOX of a client that does not ask', async () => {
    onDay(10);
    session++;
    const since = { HIGHESTMODSEQ: 4, SINCE_MODSEQ: 3, SINCE_CRC: crcOf(ALL) };
    const change = mailboxValue('user.anne', ALL, { SYNC_CRC: crcOf(ALL), ...since });
    const send = () => rig.apply(session, 'anne', 'MAILBOX', change.replace(/RECORD .*/, 'RECORD ())'));
    expect((await send()).code).toBe('OK');
    expect((await send()).code).toBe('IMAP_SYNC_CHECKSUM');
    await rig.message(session, 'anne', LOST);
    expect((await push(ALL, { HIGHESTMODSEQ: 4 })).code).toBe('OK');
    expect(await missing()).toEqual([]);
    expect(counted('heals_requested_total')).toBe(2);
  });

  test('is not asked for while messages wait for their MAILBOX', async () => {
    onDay(3);
    session++;
    await rig.message(session, 'anne', 'of somebody else\r\n');
    expect(await rig.read(session, 'anne', { what: 'USER' }, true)).toContain('MBOXNAME user.anne ');
    await rig.release(session);
    expect(gunzipSync(fs.readFileSync(rig.dataPath('anne'))).toString()).not.toContain('somebody else');
    expect(await isTold()).toBe(false);
  });

  test('is not asked for when nothing is missing any more', async () => {
    onDay(3);
    session++;
    await rig.message(session, 'anne', LOST);
    await rig.mailbox(session, 'anne', 'user.anne.Copy', [LOST]);
    await rig.release(session);
    const size = fs.statSync(rig.dataPath('anne')).size;
    expect(await isTold()).toBe(true);
    await rig.release(session);
    expect(fs.statSync(rig.dataPath('anne')).size).toBe(size);
  });

  test('begins anew when something else is missing', async () => {
    expect(await daysAskedOn([100, 200])).toEqual([100, 200]);
    onDay(210);
    const more = [...ALL, 'lost later\r\n'];
    session++;
    expect((await push(more)).code).toBe('IMAP_SYNC_CHECKSUM');
    expect((await push(more)).code).toBe('OK');
    await rig.release(session);
    ALL.push('lost later\r\n');
    try {
      expect(await daysAskedOn([210.5, 211, 211.5, 212, 213, 214])).toEqual([211, 212, 214]);
      expect(counted('records_without_content_total')).toBe(2);
    } finally {
      ALL.pop();
    }
  });

  test('is left alone when its record is expunged, or the mailbox is gone', async () => {
    onDay(3);
    session++;
    const uniqueid = /UNIQUEID (\S+)/.exec(mailboxValue('user.anne', []))![1];
    await rig.apply(session, 'anne', 'EXPUNGE', `%(MBOXNAME user.anne UNIQUEID ${uniqueid} UID (2))`);
    await rig.release(session);
    expect(await isTold()).toBe(true);
  });

  test.each([
    ['killed before its index was committed', async () => {}, [8.25, 16.75]],
    [
      'reindexed',
      (dataPath: string) => reindexBackup({ dataPath, engine, keepPrevious: false }),
      [8.25, 16.75],
    ],
    [
      'compacted',
      (dataPath: string) =>
        compactBackup({ dataPath, config: rig.config, force: true, now: START_MS + 1e12 }),
      [8.25, 16.75],
    ],
    // As something may be lost that only the index knew.
    [
      'left without an index',
      async (dataPath: string) => fs.rmSync(`${dataPath}.index`),
      [4.25, 5.25, 6.25, 8.25, 12.25, 20.25],
    ],
  ])('is asked for after the backup was %s', async (how, work, expected) => {
    expect(await daysAskedOn([1, 2])).toEqual([1, 2]);
    onDay(4);
    expect(await isTold()).toBe(false);
    expect((await push(ALL)).code).toBe('OK');
    if (how.startsWith('killed')) {
      const paths = [rig.dataPath('anne'), `${rig.dataPath('anne')}.index`];
      const copies = paths.map((file) => fs.readFileSync(file)); // the chunk has no trailer yet
      await rig.shard.handle({ op: 'stop' });
      for (const [i, file] of paths.entries()) fs.writeFileSync(file, copies[i]!);
    } else await rig.shard.handle({ op: 'stop' });
    await work(rig.dataPath('anne'));
    rig.start();
    const days = Array.from({ length: 40 }, (_, i) => 4.25 + i / 2);
    expect(await daysAskedOn(days)).toEqual(expected);
  });

  test('is found in an index of an earlier version', async () => {
    await rig.shard.handle({ op: 'stop' });
    const db = new Database(`${rig.dataPath('anne')}.index`);
    db.exec(
      "UPDATE cb_state SET value = 3 WHERE name = 'version'; DELETE FROM cb_state WHERE name = 'lacking'",
    );
    db.close();
    rig.start();
    expect(await daysAskedOn([0.5, 1, 1.5])).toEqual([1]);
  });
});

test('a mailbox that differed a second time in a day is asked for when the day is over, though nothing changes in it', async () => {
  session++;
  await rig.message(session, 'anne', SOUND);
  await rig.mailbox(session, 'anne', 'user.anne.Sent', [SOUND]);
  const send = async (crc: number, modseq: number): Promise<void> => {
    expect((await push([SOUND], { SYNC_CRC: crc, HIGHESTMODSEQ: modseq })).code).toBe('OK');
    await rig.release(session++);
  };
  await send(crcOf([SOUND]), 2);
  await send(77, 3);
  expect(await isTold()).toBe(false);
  await send(crcOf([SOUND]), 3);
  await send(78, 4);
  onDay(0.9);
  expect(await isTold()).toBe(true);
  await rig.release(session);
  onDay(1.1);
  expect(await isTold()).toBe(false);
  // All of it has come: it has another message by now.
  await rig.message(session, 'anne', LOST);
  expect((await push([LOST], { HIGHESTMODSEQ: 4 })).code).toBe('OK');
  await rig.release(session);
  onDay(9);
  expect(await isTold()).toBe(true);
});

test('a whole mailbox needs what the session has elsewhere, though it was accepted without before', async () => {
  await lose();
  onDay(3);
  expect(await isTold()).toBe(false);
  const bytes = mailboxValue('user.anne', ALL, { SYNC_CRC: crcOf(ALL) });
  const reply = await rig.shard.handle({
    ...{ op: 'piece', session, userid: 'anne', command: 999, verb: 'MAILBOX', last: true },
    piece: { kind: 'bytes', bytes: Uint8Array.from(Buffer.from(`MAILBOX ${bytes}\r\n`, 'latin1')) },
  });
  expect(reply).toMatchObject({ code: 'NEED', guids: [guidOf(LOST)] });
  const spool = `${rig.folder}/staging/elsewhere`;
  fs.writeFileSync(spool, LOST);
  const staged = [{ guid: guidOf(LOST), partition: 'default', path: spool, offset: 0, size: LOST.length }];
  const supplied = await rig.shard.handle({
    op: 'supply',
    session,
    userid: 'anne',
    command: 999,
    staged,
    lost: [],
    unsent: 0,
  });
  expect(supplied.code).toBe('OK');
  expect(await missing()).toEqual([]);
});
