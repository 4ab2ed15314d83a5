import { spawnSync } from 'node:child_process';
import fs from 'node:fs';
import { describe, expect, test } from 'vitest';
import { reindexBackup } from '../../src/maintenance/reindex.ts';
import { loadDeflateEngine } from '../../src/platform/deflate.ts';
import { LAUNCHER } from '../cli/run.ts';
import { guidOf, mailboxLine, messageLine, SampleBackup, uncompressed } from '../maintenance/backup-files.ts';

const engine = loadDeflateEngine('auto');

function verify(backup: SampleBackup, crashAt?: string): { status: number | null; signal: string | null } {
  const { status, signal } = spawnSync(process.execPath, [LAUNCHER, 'verify', '-f', backup.dataPath], {
    env: { ...process.env, ...(crashAt !== undefined && { CSYNC_BACKUP_CRASH_AT: crashAt }) },
  });
  return { status, signal };
}

describe('verify killed while it takes note of damage', () => {
  for (const point of ['heal-rebased', 'data-synced', 'index-committed', 'trailer-written']) {
    test(point, async () => {
      using backup = new SampleBackup([
        [messageLine(['one']), mailboxLine('user.anne', [{ uid: 1, content: 'one' }])],
        [messageLine(['two']), mailboxLine('user.anne.Sent', [{ uid: 1, content: 'two' }])],
      ]);
      const bytes = backup.bytes();
      bytes.fill(0, 60, 90);
      backup.write(bytes);
      const died = verify(backup, point);
      expect(died.signal ?? died.status).toSatisfy((how) => how === 'SIGKILL' || how === 137);
      // The next run finds the same damage, or that it was noted; after that nothing is left to be done.
      expect([0, 65]).toContain(verify(backup).status);
      expect(verify(backup).status).toBe(0);
      const { ok, codes } = await backup.verify();
      expect(ok).toBe(true);
      expect(codes.HEAL_PENDING).toBe(1);
    });
  }

  for (const point of ['segment-written', 'data-synced', 'index-committed']) {
    test(`${point}, with a message to be stored again`, async () => {
      using backup = uncompressed([
        messageLine(['one']),
        mailboxLine('user.anne', [{ uid: 1, content: 'one' }]),
      ]);
      const bytes = backup.bytes();
      bytes.write('x', bytes.indexOf(guidOf('one')));
      backup.write(bytes);
      const died = verify(backup, point);
      expect(died.signal ?? died.status).toSatisfy((how) => how === 'SIGKILL' || how === 137);
      expect([0, 65]).toContain(verify(backup).status);
      expect(verify(backup).status).toBe(0);
      fs.rmSync(backup.indexPath);
      await reindexBackup({ dataPath: backup.dataPath, engine, keepPrevious: false });
      const { ok, messages, codes } = await backup.verify();
      expect({ ok, messages }).toEqual({ ok: true, messages: 1 });
      expect(codes).not.toHaveProperty('CONTENT_MISSING');
      expect(codes).not.toHaveProperty('HEAL_PENDING');
    });
  }
});
