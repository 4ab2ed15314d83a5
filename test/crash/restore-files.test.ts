/** Restoring into files is killed at its steps and run again: all is there, and nothing twice. */
import { spawnSync } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import { describe, expect, test } from 'vitest';
import { RESTORE_CRASH_POINTS } from '../../src/platform/crash-points.ts';
import { LAUNCHER } from '../cli/run.ts';
import { MAILBOXES, MailStore } from '../restore/files/mail-store.ts';

const CONTENTS = MAILBOXES.flatMap(({ records }) => records.map(({ content }) => content as string)).sort();

/** Files that a reader takes for messages, by their content. */
function messagesIn(dir: string, isMessage: (file: string) => boolean): string[] {
  const entries = fs.readdirSync(dir, { recursive: true, withFileTypes: true });
  return entries
    .filter((entry) => entry.isFile())
    .map((entry) => path.join(entry.parentPath, entry.name))
    .filter(isMessage)
    .map((file) => fs.readFileSync(file, 'latin1'))
    .filter((content) => !content.startsWith('Subject: lost'))
    .sort();
}

const KINDS: Record<string, (file: string) => boolean> = {
  maildir: (file) => path.basename(path.dirname(file)) === 'cur',
  eml: (file) => file.endsWith('.eml'),
};

describe('restore killed', () => {
  for (const [kind, isMessage] of Object.entries(KINDS)) {
    // Both write their files in the same way.
    const points = RESTORE_CRASH_POINTS.filter(
      (point) => kind === 'maildir' || point === 'restore-file-renamed',
    );
    for (const [at, point] of points.entries()) {
      // Another pass for each, so that what is done and what is not differs.
      const pass = point === 'restore-file-written' || point === 'restore-file-renamed' ? 2 + at : 1;
      test(`to ${kind}, at ${point}: what is there is whole, and the next run completes it`, () => {
        using store = new MailStore();
        const args = ['restore', '-u', 'anne', '--to', `${kind}:${store.out}`, '--in-place', '--yes'];
        const killed = spawnSync(process.execPath, [LAUNCHER, ...args, '-C', store.configFile], {
          env: { ...process.env, CSYNC_BACKUP_CRASH_AT: `${point}:${pass}` },
        });
        expect(killed.signal ?? (killed.status === 137 ? 'SIGKILL' : null)).toBe('SIGKILL');
        const whole = messagesIn(store.out, isMessage);
        if (point === 'restore-file-written' || point === 'restore-files-synced') expect(whole).toEqual([]);
        for (const content of whole) expect(CONTENTS).toContain(content);
        const again = store.run(args);
        expect(again).toMatchObject({ status: 0 });
        expect(messagesIn(store.out, isMessage)).toEqual(CONTENTS);
        const left = fs.readdirSync(store.out, { recursive: true, encoding: 'utf8' });
        expect(left.filter((name) => /\.part$|\/tmp\/./.test(name))).toEqual([]);
      });
    }
  }
});
