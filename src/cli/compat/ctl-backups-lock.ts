/** `ctl_backups lock`: see lock in ctl_backups(8). */
import type { Config } from '../../config/config.ts';
import { type HeldBackup, holdBackup, holdNewFile, holdNewUser } from '../../maintenance/lock.ts';
import { statBackup } from '../../maintenance/stat.ts';
import { BackupError } from '../../platform/errors.ts';
import { runShell, runSqlite, untilInputEnds } from '../run-locked.ts';
import { useridOf } from '../userid-text.ts';
import type { CtlLine } from './ctl-backups-line.ts';
import type { NamedTarget } from './ctl-backups-targets.ts';
import { cyrusWords } from './text.ts';

/** Holds one backup and does what -p, -s or -x say. @returns whether all went well; what did not is printed. */
export async function lockOne(target: NamedTarget, line: CtlLine, config: Config): Promise<boolean> {
  const { userid, path } = target;
  if (path === undefined && (!line.create || userid === undefined)) {
    process.stderr.write(`${target.name}: not found in backups.db\n`);
    return false;
  }
  const name = userid ?? target.name;
  const isPause = line.lock === 'pause';
  if (isPause) process.stdout.write(`* Trying to obtain lock on ${name}...\n`);
  else process.stderr.write(`trying to obtain lock on ${name}...\n`);
  let held: HeldBackup;
  try {
    if (path === undefined) held = await holdNewUser(useridOf(name), config, line.wait);
    else held = line.create ? await holdNewFile(path, line.wait) : await hold(path, line.wait);
  } catch (error) {
    if (!(error instanceof BackupError)) throw error;
    const words = cyrusWords(error.code, error.message);
    if (isPause) process.stdout.write(`NO failed (${words})\n`);
    else process.stderr.write(`unable to lock ${name}: ${words}\n`);
    return false;
  }
  try {
    switch (line.lock) {
      case 'pause':
        process.stdout.write('OK locked\n');
        await untilInputEnds();
        return true;
      case 'sqlite3':
        process.stderr.write(`execlp: sqlite3 ${held.indexPath}\n`);
        return (await runSqlite(held)) === 0;
      case 'execute':
        return (await runShell(line.execute ?? '', held)) === 0;
    }
  } finally {
    held.release();
  }
}

async function hold(path: string, wait: boolean): Promise<HeldBackup> {
  const held = await holdBackup(path, wait);
  // Cyrus locks nothing whose last chunk is damaged.
  const { problem } = statBackup(path, { check: true, locked: 'read' });
  if (problem === undefined) return held;
  held.release();
  throw new BackupError({
    code: 'CHUNK_CORRUPT',
    tried: 'lock',
    subject: path,
    reason: problem.text,
    remedy: 'Run csync-backup verify on it',
  });
}
