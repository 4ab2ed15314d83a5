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
      (point) =>
        point !== 'restore-message-written' && (kind === 'maildir' || point === 'restore-file-renamed'),
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

  const WHOLE: Record<string, { to: string; file: string; isWhole(text: string): boolean }> = {
    mbox: {
      to: 'mbox:',
      file: 'INBOX.mbox',
      isWhole: (text) => text.match(/^From /gm)?.length === MAILBOXES[0]!.records.length,
    },
    tar: { to: 'tar:anne.tar', file: 'anne.tar', isWhole: (text) => text.endsWith('\0'.repeat(1024)) },
    json: {
      to: 'json:anne.json',
      file: 'anne.json',
      isWhole: (text) => /\n\{"type":"end".*\}\n$/.test(text),
    },
  };
  test.each(Object.entries(WHOLE))(
    'to %s, in the middle: it begins anew, and says so',
    (kind, { to, file, isWhole }) => {
      using store = new MailStore();
      fs.mkdirSync(store.out);
      const named = path.join(store.out, file);
      fs.writeFileSync(named, 'that of last week');
      const args = [
        'restore',
        '-u',
        'anne',
        '--to',
        to.replace(':', `:${store.out}/`),
        '--in-place',
        '--yes',
      ];
      expect(store.run(args, 'restore-message-written').signal).toBe('SIGKILL');
      const files = fs
        .readdirSync(store.out, { recursive: true, withFileTypes: true })
        .filter((entry) => entry.isFile());
      expect(files.map(({ name }) => name).sort()).toEqual([file, `${file}.part`]);
      expect(fs.readFileSync(named, 'latin1')).toBe('that of last week');

      const again = store.run(args);
      expect(again.status).toBe(0);
      expect(again.stderr).toContain(
        `csync-backup: what an interrupted run had written of ${named} is dropped: ${kind} begins anew\n`,
      );
      expect(fs.readFileSync(named, 'latin1')).toSatisfy(isWhole);
      expect(fs.globSync('**/*.part', { cwd: store.out })).toEqual([]);
    },
  );

  test('anywhere in the middle of thousands of messages, again and again: complete in the end, nothing twice', () => {
    // The long form crosses from one batch of files to the next.
    const isLong = process.env.CRASH_ROUNDS !== undefined;
    const count = isLong ? 4500 : 400;
    const records = Array.from({ length: count }, (_, i) => ({
      uid: i + 1,
      content: `Subject: ${i}\r\n\r\n`,
    }));
    using store = new MailStore([{ name: '', records }]);
    const args = ['restore', '-u', 'anne', '--to', `maildir:${store.out}`, '--in-place', '--yes', 'INBOX'];
    const points = ['restore-file-written', 'restore-file-renamed'] as const;
    const rounds = isLong ? Math.min(Number(process.env.CRASH_ROUNDS), 10) : 2;
    for (let round = 0; round < rounds; round++) {
      const at = `${points[round % 2]}:${1 + Math.floor(Math.random() * count)}`;
      const killed = spawnSync(process.execPath, [LAUNCHER, ...args, '-C', store.configFile], {
        env: { ...process.env, CSYNC_BACKUP_CRASH_AT: at },
      });
      // Later rounds may find less to do than they need to get to where they are killed.
      const isKilled = (killed.signal ?? (killed.status === 137 ? 'SIGKILL' : null)) === 'SIGKILL';
      expect([isKilled, killed.status], at).not.toEqual([false, 1]);
      const there = messagesIn(store.out, KINDS.maildir!);
      expect(new Set(there).size, at).toBe(there.length);
    }
    expect(store.run(args)).toMatchObject({ status: 0 });
    expect(messagesIn(store.out, KINDS.maildir!)).toEqual(records.map(({ content }) => content).sort());
    const list = fs.readFileSync(path.join(store.out, 'dovecot-uidlist'), 'latin1').trimEnd().split('\n');
    expect(list.slice(1).map((line) => Number.parseInt(line, 10))).toEqual(records.map(({ uid }) => uid));
    expect(fs.readdirSync(path.join(store.out, 'tmp'))).toEqual([]);
  }, 300_000);
});
