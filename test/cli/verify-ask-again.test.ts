import { afterEach, beforeEach, expect, test } from 'vitest';
import { crcOf, guidOf, mailboxValue, StoreRig } from '../store/support/store-rig.ts';
import { run } from './run.ts';

const ALL = ['sound\r\n', 'lost\r\n'];

let rig: StoreRig;
let session = 0;
beforeEach(() => {
  rig = new StoreRig();
});
afterEach(async () => {
  await rig.shard.handle({ op: 'stop' });
  rig.remove();
});

const push = () =>
  rig.apply(session, 'anne', 'MAILBOX', mailboxValue('user.anne', ALL, { SYNC_CRC: crcOf(ALL) }));

/** A client comes and goes. @returns whether it is told of the INBOX */
async function isTold(): Promise<boolean> {
  const answer = await rig.read(++session, 'anne', { what: 'USER' }, true);
  await rig.release(session);
  return answer.includes('MBOXNAME user.anne ');
}

test('verify --ask-again has what the mail server could not send asked for with the next sync', async () => {
  await rig.message(++session, 'anne', ALL[0]!);
  expect((await push()).code).toBe('IMAP_SYNC_CHECKSUM');
  expect((await push()).code).toBe('OK');
  await rig.release(session);
  const verify = (...more: string[]) =>
    run(['verify', '-u', 'anne', '-C', `${rig.folder}/imapd.conf`, ...more]);

  const plain = await verify();
  expect(plain.stdout).toMatch(
    /^anne: notice CONTENT_MISSING: .*UID 2 in user\.anne are not .*\nverify anne: ok/,
  );
  expect(await isTold()).toBe(true);
  expect((await verify('--ask-again', '--dry-run')).status).toBe(0);
  expect(await isTold()).toBe(true);
  const asked = await verify('--ask-again');
  expect(asked.stdout).toContain('; noted: 0 messages lost, 1 mailbox to be sent again\n');
  expect(asked.status).toBe(0);
  expect(await isTold()).toBe(false);

  await rig.message(++session, 'anne', ALL[1]!);
  expect((await push()).code).toBe('OK');
  const guids = ALL.map((content) => guidOf(content));
  expect((await rig.shard.handle({ op: 'reserve', session, userid: 'anne', guids })).guids).toEqual([]);
  await rig.release(session);
  expect((await verify('--ask-again')).stdout).toMatch(/^verify anne: ok\n/);
});
