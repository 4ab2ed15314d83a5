import { spawnSync } from 'node:child_process';
import { describe, expect, test } from 'vitest';
import { LAUNCHER } from '../cli/run.ts';
import { mailboxLine, messageLine, SampleBackup } from '../maintenance/backup-files.ts';

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
});
