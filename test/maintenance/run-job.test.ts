/** What the process for maintenance does where somebody has the backup. */
import fs from 'node:fs';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { describe, expect, test } from 'vitest';
import type { JobKind } from '../../src/maintenance/job.ts';
import { runJob } from '../../src/maintenance/run-job.ts';
import { tryLock, unlock } from '../../src/platform/file-lock.ts';
import { SmallStore } from '../support/small-store.ts';

test.each([
  ['verify', 'ok'],
  ['compact', 'unneeded'],
] as [JobKind, string][])(
  '%s waits for a session that is just ending, and for no other',
  async (kind, outcome) => {
    using store = new SmallStore();
    const path = store.add('anne');
    const job = { kind, userid: 'anne', path, config: store.config, bytesPerSecond: 0, doneMs: 0 };
    const fd = fs.openSync(path, 'r+');
    try {
      tryLock(fd, 'exclusive');
      const doing = runJob(job);
      await sleep(200);
      unlock(fd);
      expect(await doing).toMatchObject({ outcome });
      tryLock(fd, 'exclusive');
      expect(await runJob(job)).toMatchObject({ outcome: 'busy', code: 'LOCKED' });
    } finally {
      fs.closeSync(fd);
    }
  },
);

describe('a data file that is not there', () => {
  const job = (store: SmallStore, kind: JobKind, dataPath: string) =>
    runJob({ kind, userid: 'anne', path: dataPath, config: store.config, bytesPerSecond: 0, doneMs: 0 });

  test('is a fault where backups.db still names it, and keeps other work from being done', async () => {
    using store = new SmallStore();
    const dataPath = store.add('anne');
    store.add('bob');
    fs.rmSync(dataPath);
    expect(await job(store, 'verify', dataPath)).toMatchObject({
      outcome: 'faulty',
      faults: 1,
      codes: { FILE_MISSING: 1 },
      code: 'NOT_FOUND',
    });
    expect(await job(store, 'compact', dataPath)).toMatchObject({ outcome: 'failed', code: 'NOT_FOUND' });
  });

  test('says nothing of the backup where the disk is not there', async () => {
    using store = new SmallStore();
    const dataPath = store.add('anne');
    const partition = path.join(store.folder, 'one');
    fs.renameSync(partition, `${partition}-unmounted`);
    for (const make of [() => {}, () => fs.mkdirSync(partition)]) {
      make();
      const result = await job(store, 'verify', dataPath);
      expect(result).toMatchObject({ outcome: 'failed', code: 'NOT_FOUND' });
      expect(result.text).toMatch(/mount/);
    }
  });

  test('has gone where backups.db has another one, or none', async () => {
    using store = new SmallStore();
    const dataPath = store.add('anne');
    const moved = store.add('anne', { partition: 'two' });
    fs.rmSync(dataPath);
    expect(await job(store, 'verify', dataPath)).toMatchObject({ outcome: 'gone' });
    fs.rmSync(moved);
    store.catalog.delete('anne');
    for (const kind of ['verify', 'compact'] as const)
      expect(await job(store, kind, moved)).toMatchObject({ outcome: 'gone' });
  });
});

test('damage is a fault also where no note can be taken of it, and says why', async () => {
  using store = new SmallStore();
  const dataPath = store.add('anne');
  fs.rmSync(`${dataPath}.index`);
  fs.mkdirSync(`${dataPath}.index.rebuild`); // where the index is to be made anew
  const job = { kind: 'verify', userid: 'anne', path: dataPath, config: store.config } as const;
  const result = await runJob({ ...job, bytesPerSecond: 0, doneMs: 0 });
  expect(result).toMatchObject({ outcome: 'faulty', faults: 1, codes: { INDEX_STALE: 1 } });
  expect(result.text).toContain('.index.rebuild');
  fs.rmdirSync(`${dataPath}.index.rebuild`);
  expect(await runJob({ ...job, bytesPerSecond: 0, doneMs: 0 })).toMatchObject({
    outcome: 'faulty',
    isMended: true,
  });
});

test('a data file that was cut off is a fault also where compaction opens it first, and has nothing to do', async () => {
  using store = new SmallStore('backup_compact_work_threshold: 1000');
  const dataPath = store.add('anne');
  fs.truncateSync(dataPath, fs.statSync(dataPath).size - 60);
  const job = { kind: 'compact', userid: 'anne', path: dataPath, config: store.config } as const;
  const run = () => runJob({ ...job, bytesPerSecond: 0, doneMs: 0 });
  expect(await run()).toMatchObject({ outcome: 'faulty', faults: 1, code: 'CHUNK_CORRUPT' });
  expect(await run()).toMatchObject({ outcome: 'unneeded', faults: 0 });
});

test('damage that compaction comes upon is a fault, also where all that can be read is kept', async () => {
  using store = new SmallStore('backup_compact_minsize: 1M');
  const dataPath = store.add('anne');
  const bytes = fs.readFileSync(dataPath);
  bytes.fill(0xff, 60, 70);
  fs.writeFileSync(dataPath, bytes);
  const request = { kind: 'compact', userid: 'anne', path: dataPath, bytesPerSecond: 0, doneMs: 0 } as const;
  const result = await runJob({ ...request, config: store.config });
  expect(result).toMatchObject({ outcome: 'faulty', codes: { CHUNK_CORRUPT: 1 } });
  expect(result.faults).toBeGreaterThan(0);
  expect(result.text).toContain('.damaged.');
});
