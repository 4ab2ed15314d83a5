/** What the process for maintenance does where somebody has the backup. */
import fs from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { expect, test } from 'vitest';
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
