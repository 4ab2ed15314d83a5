/** What is known of a checksum that does not fit outlives the index and the data file. */
import fs from 'node:fs';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { compactBackup } from '../../src/maintenance/compact/compact.ts';
import { reindexBackup } from '../../src/maintenance/reindex.ts';
import { loadDeflateEngine } from '../../src/platform/deflate.ts';
import { crcOf, mailboxValue, StoreRig } from '../store/support/store-rig.ts';

let rig: StoreRig;
beforeEach(() => {
  rig = new StoreRig();
});
afterEach(async () => {
  await rig.shard.handle({ op: 'stop' });
  rig.remove();
});

const engine = loadDeflateEngine('auto');
const MAIL = ['one\r\n', 'two\r\n'];
/** Everything is before the retention. */
const later = (): number => Date.now() + 1_000_000_000_000;

const made: [how: string, work: (dataPath: string) => Promise<unknown>][] = [
  ['reindexed', (dataPath) => reindexBackup({ dataPath, engine, keepPrevious: false })],
  ['compacted', (dataPath) => compactBackup({ dataPath, config: rig.config, force: true, now: later() })],
];

/** A MAILBOX without news, or with all of it; returns the notes and figures that it brought. */
async function send(
  modseq: number,
  crc: number,
  isWhole = false,
): Promise<{ asked: number; differs: number }> {
  const before = { ...rig.figures.take().values };
  const more = { SYNC_CRC: crc, HIGHESTMODSEQ: modseq };
  const text = mailboxValue('user.anne', MAIL, more);
  const reply = await rig.apply(
    1,
    'anne',
    'MAILBOX',
    isWhole ? text : text.replace(/RECORD .*/, 'RECORD ())'),
  );
  expect(reply.code).toBe('OK');
  await rig.release(1);
  const after = rig.figures.take().values;
  const risen = (name: string): number => (after[name] ?? 0) - (before[name] ?? 0);
  return { asked: risen('heals_requested_total'), differs: risen('checksum_mismatches_total') };
}

async function remake(work: (dataPath: string) => Promise<unknown>): Promise<void> {
  await rig.shard.handle({ op: 'stop' });
  await work(rig.dataPath('anne'));
  rig.start();
}

beforeEach(async () => {
  await rig.message(1, 'anne', ...MAIL);
  expect(await send(3, crcOf(MAIL), true)).toEqual({ asked: 0, differs: 0 });
  expect(await send(10, 77)).toEqual({ asked: 1, differs: 1 });
});

test.each(made)('a mailbox that was given up is not asked for again after it was %s', async (_how, work) => {
  expect(await send(11, 78, true)).toEqual({ asked: 0, differs: 0 });
  expect(rig.figures.take().values.checksums_unusable_total).toBe(1);
  await remake(work);
  expect(await send(12, 79)).toEqual({ asked: 0, differs: 0 });
  await remake(work);
  expect(await send(13, 80)).toEqual({ asked: 0, differs: 0 });
});

test.each(made)(
  'a mailbox that fits when all of it comes is not asked for twice a day, nor given up (%s)',
  async (_how, work) => {
    expect(await send(11, crcOf(MAIL), true)).toEqual({ asked: 0, differs: 0 });
    expect(await send(12, 79)).toEqual({ asked: 0, differs: 1 });
    await remake(work);
    expect(await send(13, 80)).toEqual({ asked: 0, differs: 1 });
  },
);

test.each(made)('without any index it is asked for once more (%s before)', async (_how, work) => {
  expect(await send(11, 78, true)).toEqual({ asked: 0, differs: 0 });
  await remake(work);
  await remake(async (dataPath) => fs.rmSync(`${dataPath}.index`));
  expect(await send(12, 79)).toEqual({ asked: 1, differs: 1 });
  expect(await send(13, 80, true)).toEqual({ asked: 0, differs: 0 });
  expect(await send(14, 81)).toEqual({ asked: 0, differs: 0 });
});

test('what an index says of other records does not count', async () => {
  expect(await send(11, 78, true)).toEqual({ asked: 0, differs: 0 });
  await rig.shard.handle({ op: 'stop' });
  const indexPath = `${rig.dataPath('anne')}.index`;
  const old = fs.readFileSync(indexPath);
  rig.start();
  MAIL.push('three\r\n');
  try {
    await rig.message(1, 'anne', 'three\r\n');
    expect(await send(20, 90, true)).toEqual({ asked: 0, differs: 0 });
    await rig.shard.handle({ op: 'stop' });
    fs.writeFileSync(indexPath, old);
    await reindexBackup({ dataPath: rig.dataPath('anne'), engine, keepPrevious: false });
    rig.start();
    expect(await send(21, 91)).toEqual({ asked: 1, differs: 1 });
  } finally {
    MAIL.pop();
  }
});
