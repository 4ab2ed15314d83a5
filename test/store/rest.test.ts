import fs from 'node:fs';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { verifyBackup } from '../../src/maintenance/verify.ts';
import { tryLock, unlock } from '../../src/platform/file-lock.ts';
import { guidOf, mailboxValue, messageValue, StoreRig } from './support/store-rig.ts';

let rig: StoreRig;

beforeEach(() => {
  rig = new StoreRig();
});

afterEach(async () => {
  await rig.shard.handle({ op: 'stop' });
  rig.remove();
});

const rest = (o: { ofUser?: string; ofSession?: number; forget?: boolean } = {}) =>
  rig.shard.handle({ op: 'rest', ...o });

async function expectAtRest(userid: string): Promise<void> {
  const report = await verifyBackup({ dataPath: rig.dataPath(userid) });
  expect([report.faults, report.notices]).toEqual([0, 0]);
}

test('backups are finished and unlocked, their sessions go on', async () => {
  for (const userid of ['anne', 'bob']) await rig.mailbox(1, userid, `user.${userid}`, []);
  const reply = await rest();
  expect(reply).toMatchObject({
    code: 'OK',
    rested: [
      { userid: 'anne', session: 1, staged: [] },
      { userid: 'bob', session: 1, staged: [] },
    ],
  });
  for (const userid of ['anne', 'bob']) await expectAtRest(userid);
  expect(await rig.mailbox(1, 'anne', 'user.anne.Sent', [])).toMatchObject({ code: 'OK' });
  await rig.release(1);
  expect(await rig.read(2, 'anne', { what: 'USER' })).toContain('user.anne.Sent');
});

test('only those of one user, or of one session', async () => {
  await rig.mailbox(1, 'anne', 'user.anne', []);
  await rig.mailbox(2, 'bob', 'user.bob', []);
  expect((await rest({ ofUser: 'bob' })).rested).toMatchObject([{ userid: 'bob' }]);
  expect((await rest({ ofSession: 2 })).rested).toEqual([]);
  expect((await rest({ ofSession: 1 })).rested).toMatchObject([{ userid: 'anne' }]);
  expect((await rest()).rested).toEqual([]);
});

test('what waits for its MAILBOX goes to a staging file, and can be supplied', async () => {
  await rig.mailbox(1, 'anne', 'user.anne', []);
  await rig.message(1, 'anne', 'waits\r\n');
  const { rested } = await rest();
  expect(rested).toMatchObject([{ staged: [{ guid: guidOf('waits\r\n'), size: 7, partition: 'default' }] }]);
  await expectAtRest('anne');
  const staged = rested![0]!.staged;
  expect(fs.readFileSync(staged[0]!.path, 'utf8')).toContain('waits\r\n');
  const text = `MAILBOX ${mailboxValue('user.anne', ['waits\r\n'])}\r\n`;
  const request = { session: 1, userid: 'anne', command: 77 } as const;
  const bytes = Uint8Array.from(Buffer.from(text));
  const piece = { kind: 'bytes', bytes } as const;
  expect(
    await rig.shard.handle({ op: 'piece', ...request, verb: 'MAILBOX', piece, last: true }),
  ).toMatchObject({ code: 'NEED' });
  expect(await rig.shard.handle({ op: 'supply', ...request, staged, lost: [], unsent: 0 })).toMatchObject({
    code: 'OK',
  });
  await rig.release(1);
  expect(fs.existsSync(staged[0]!.path)).toBe(false);
});

test('a backup that has nothing but what waits is not made', async () => {
  await rig.message(1, 'anne', 'waits\r\n');
  expect((await rest()).rested).toMatchObject([{ userid: 'anne', staged: [{ size: 7 }] }]);
  expect(rig.catalog.get('anne')).toBeUndefined();
  expect(fs.readdirSync(`${rig.folder}/part/.staging`)).toEqual([]);
});

test('messages that the user reserved stay in the file', async () => {
  await rig.mailbox(1, 'anne', 'user.anne', []);
  const guids = [guidOf('reserved\r\n')];
  await rig.shard.handle({ op: 'reserve', session: 1, userid: 'anne', guids });
  await rig.message(1, 'anne', 'reserved\r\n');
  expect((await rest()).rested).toMatchObject([{ staged: [] }]);
  expect(await rig.mailbox(1, 'anne', 'user.anne', ['reserved\r\n'])).toMatchObject({ code: 'OK' });
});

test('a half received command keeps its backup from resting', async () => {
  const { value, refs } = messageValue(['x'.repeat(100_000)]);
  await rig.mailbox(1, 'anne', 'user.anne', []);
  const text = Buffer.from(`MESSAGE ${value}\r\n`, 'latin1');
  const piece = { kind: 'bytes', bytes: Uint8Array.from(text.subarray(0, 50_000)) } as const;
  const request = { op: 'piece', session: 1, userid: 'anne', command: 5, verb: 'MESSAGE' } as const;
  await rig.shard.handle({ ...request, piece, last: false });
  expect((await rest()).rested).toMatchObject([{ userid: 'anne', problem: expect.stringContaining('half') }]);
  const more = { kind: 'bytes', bytes: Uint8Array.from(text.subarray(50_000)) } as const;
  const done = await rig.shard.handle({ ...request, piece: more, last: true, messages: refs });
  expect(done).toMatchObject({ code: 'OK' });
});

test('files are closed for somebody who is going to work on them', async () => {
  await rig.mailbox(1, 'anne', 'user.anne', []);
  await rest({ ofUser: 'anne', forget: true });
  const open = (fd: string) => {
    try {
      return fs.readlinkSync(`/proc/self/fd/${fd}`);
    } catch {
      return '';
    }
  };
  const file = rig.dataPath('anne');
  expect(
    fs
      .readdirSync('/proc/self/fd')
      .map(open)
      .filter((name) => name.startsWith(file)),
  ).toEqual([]);
  const fd = fs.openSync(file, 'r+');
  expect(tryLock(fd, 'exclusive')).toBe(true);
  unlock(fd);
  fs.closeSync(fd);
  expect(await rig.mailbox(1, 'anne', 'user.anne.Sent', [])).toMatchObject({ code: 'OK' });
});
