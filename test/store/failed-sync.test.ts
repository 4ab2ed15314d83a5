/**
 * A sync that fails: what it could not write is forgotten by the kernel, but can still be read until memory is short,
 * and the next sync succeeds. So it must not be found again.
 */
import fs from 'node:fs';
import path from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { guidOf, StoreRig } from './support/store-rig.ts';

let rig: StoreRig;
/** Syncs from now until one fails, once. */
let failsAfter: number;

beforeEach(() => {
  rig = new StoreRig();
  failsAfter = Number.POSITIVE_INFINITY;
  const sync = rig.disk.sync.bind(rig.disk);
  rig.disk.sync = async (fd) => {
    if (failsAfter-- === 0)
      throw Object.assign(new Error('EIO: i/o error, fdatasync'), { code: 'EIO', errno: -5 });
    return await sync(fd);
  };
});

afterEach(async () => {
  await rig.shard.handle({ op: 'stop' });
  rig.remove();
});

const missing = async (...contents: string[]) =>
  (await rig.shard.handle({ op: 'reserve', session: 1, userid: 'anne', guids: contents.map(guidOf) })).guids;

test('of the data file: the client is told to come again, and brings all of it', async () => {
  await rig.message(1, 'anne', 'a');
  await rig.mailbox(1, 'anne', 'user.anne', ['a']);
  await rig.release(1);
  await rig.message(1, 'anne', 'b');
  expect((await rig.mailbox(1, 'anne', 'user.anne', ['a', 'b'])).code).toBe('OK');
  const durable = fs.statSync(rig.dataPath('anne')).size;
  await rig.message(1, 'anne', 'c');
  failsAfter = 0;
  const refused = await rig.mailbox(1, 'anne', 'user.anne', ['a', 'b', 'c']);
  expect(refused).toMatchObject({ code: 'IMAP_MAILBOX_LOCKED', text: expect.stringContaining('EIO') });
  expect(fs.statSync(rig.dataPath('anne')).size).toBe(durable);
  expect(await missing('a', 'b', 'c')).toEqual([guidOf('c')]);
  await rig.message(1, 'anne', 'c');
  expect((await rig.mailbox(1, 'anne', 'user.anne', ['a', 'b', 'c'])).code).toBe('OK');
  await rig.release(1);
  expect(await missing('a', 'b', 'c')).toEqual([]);
});

test('of a new backup: it is begun again', async () => {
  failsAfter = 0;
  await rig.message(1, 'anne', 'a');
  expect((await rig.mailbox(1, 'anne', 'user.anne', ['a'])).code).toBe('IMAP_MAILBOX_LOCKED');
  expect(rig.catalog.get('anne')).toBeUndefined();
  expect(await missing('a')).toEqual([guidOf('a')]);
  await rig.message(1, 'anne', 'a');
  expect((await rig.mailbox(1, 'anne', 'user.anne', ['a'])).code).toBe('OK');
});

test('of the index: it is not trusted any more', async () => {
  await rig.message(1, 'anne', 'a');
  await rig.mailbox(1, 'anne', 'user.anne', ['a']);
  failsAfter = 0;
  await rig.release(1);
  expect(await missing('a')).toEqual([]);
  const { values } = rig.figures.take();
  expect(values).toMatchObject({ failures_total: 1, index_rebuilds_total: 1 });
  const folder = path.dirname(rig.dataPath('anne'));
  expect(fs.readdirSync(folder).filter((name) => name.includes('.index.corrupt.'))).toHaveLength(1);
});
