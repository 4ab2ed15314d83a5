import fs from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, beforeEach, expect, test } from 'vitest';
import type { ShardStats } from '../../src/pipeline/messages.ts';
import { DataFile } from '../../src/store/data-file.ts';
import { workPathsOf } from '../../src/store/swap.ts';
import { mailboxValue, StoreRig } from './support/store-rig.ts';

let rig: StoreRig;

beforeEach(() => {
  rig = new StoreRig();
});

afterEach(() => rig.remove());

async function stats(): Promise<ShardStats> {
  return (await rig.shard.handle({ op: 'stats' })).stats!;
}

const push = (session: number, userid: string) =>
  rig.apply(session, userid, 'MAILBOX', mailboxValue(`user.${userid}`, []));

const release = (session: number) => rig.shard.handle({ op: 'release', session });

test('what is stored and in no committed index yet is the lag of the index', async () => {
  for (const user of ['anne', 'bob']) expect((await push(1, user)).code).toBe('OK');
  await sleep(20);
  const { values } = await stats();
  expect(values).toMatchObject({ open_backups: 2, open_chunks: 2, appends_total: 2, cache_misses_total: 2 });
  expect(values.index_lag_bytes).toBeGreaterThan(2 * 100);
  expect(values.index_lag_seconds).toBeGreaterThan(0.019);
  await release(1);
  expect((await stats()).values).toMatchObject({
    open_backups: 2,
    open_chunks: 0,
    index_lag_bytes: 0,
    index_lag_seconds: 0,
    chunks_total: 2,
  });
});

test('who comes again finds the files open', async () => {
  await push(1, 'anne');
  await release(1);
  await push(2, 'anne');
  await push(2, 'anne');
  // Nothing is stored of a state that is known.
  expect((await stats()).values).toMatchObject({
    cache_hits_total: 1,
    cache_misses_total: 1,
    appends_total: 1,
  });
});

test('changes are told once, under the key of backups.db, with where they lie', async () => {
  await push(1, 'anne');
  expect((await stats()).changes.userids).toEqual([]);
  await release(1);
  const path = rig.catalog.get('anne')!;
  const { changes } = await stats();
  const { size } = fs.statSync(path);
  expect(changes).toMatchObject({ userids: ['anne'], paths: [path] });
  expect([...changes.numbers.slice(0, 2)]).toEqual([0, size]);
  expect((await stats()).changes.userids).toEqual([]);
});

test('a lock that another program has for a moment is waited for, one of another session is not', async () => {
  await push(1, 'anne');
  expect((await push(2, 'anne')).code).toBe('IMAP_MAILBOX_LOCKED');
  expect((await stats()).histograms.lock_wait_seconds).toBeUndefined();
  expect((await stats()).values.locks_refused_total).toBe(1);
  await release(1);
  const path = rig.catalog.get('anne')!;
  const work = workPathsOf(path).data;
  fs.writeFileSync(work, '');
  const held = DataFile.open(path);
  expect(held.lock()).toBe(true);
  setTimeout(() => {
    held.close();
    fs.rmSync(work);
  }, 60);
  expect((await push(3, 'anne')).code).toBe('OK');
  const waited = (await stats()).histograms.lock_wait_seconds!;
  expect(waited.slice(0, -1).reduce((sum, n) => sum + n, 0)).toBe(1);
  expect(waited.at(-1)).toBeGreaterThan(0.03);
});
