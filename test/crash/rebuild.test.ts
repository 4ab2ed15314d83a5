import { spawnSync } from 'node:child_process';
import fs from 'node:fs';
import { describe, expect, test } from 'vitest';
import { LAUNCHER } from '../cli/run.ts';
import { mailboxLine, messageLine, SampleBackup } from '../maintenance/backup-files.ts';
import { stateText } from '../store/state-text.ts';

function kill(backup: SampleBackup, point: string): void {
  const died = spawnSync(process.execPath, [LAUNCHER, 'reindex', '-f', backup.dataPath], {
    env: { ...process.env, CSYNC_BACKUP_CRASH_AT: point },
  });
  expect(died.signal ?? died.status, died.stderr.toString()).toSatisfy(
    (how) => how === 'SIGKILL' || how === 137,
  );
}

describe('reindex killed', () => {
  for (const point of ['rebuild-synced', 'rebuild-renamed']) {
    test(point, async () => {
      const contents = ['one', 'two', 'three'];
      using backup = new SampleBackup([
        [
          messageLine(contents),
          mailboxLine(
            'user.anne',
            contents.map((content, i) => ({ uid: i + 1, content })),
          ),
        ],
      ]);
      const before = stateText(backup.indexPath);
      kill(backup, point);
      expect(fs.existsSync(backup.indexPath)).toBe(true);
      expect(stateText(backup.indexPath)).toBe(before);
      expect((await backup.verify()).findings).toEqual([]);
      // The next run is not disturbed by what was left.
      const again = spawnSync(process.execPath, [LAUNCHER, 'reindex', '-f', backup.dataPath]);
      expect(again.status, again.stderr.toString()).toBe(0);
      expect(stateText(backup.indexPath)).toBe(before);
      expect(fs.readdirSync(backup.folder).sort()).toEqual(['anne_x1Y2z3', 'anne_x1Y2z3.index']);
    });
  }
});
