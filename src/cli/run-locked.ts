/** What `lock` does while it holds a backup: wait for the end of standard input, or run a program. */
import { type ChildProcess, spawn } from 'node:child_process';
import type { HeldBackup } from '../maintenance/lock.ts';

/** Resolves at the end of standard input. */
export async function untilInputEnds(): Promise<void> {
  process.stdin.resume();
  await new Promise<void>((resolve) => {
    process.stdin.once('end', resolve);
    process.stdin.once('error', () => resolve());
  });
}

/** A command of /bin/sh, with the files' names in its environment. @returns its exit status. */
export function runShell(command: string, held: HeldBackup): Promise<number> {
  return run('/bin/sh', ['-c', command], {
    ctl_backups_lock_data_fname: held.dataPath,
    ctl_backups_lock_index_fname: held.indexPath,
  });
}

/** sqlite3(1) on the index. @returns its exit status, 127 if there is no such program. */
export function runSqlite(held: HeldBackup): Promise<number> {
  return run('sqlite3', [held.indexPath], {});
}

const NOT_FOUND_STATUS = 127;
const KILLED_STATUS = 70;

/** As system(3): what the terminal sends is for the program; the lock is held until that has ended. */
async function run(program: string, args: string[], env: Record<string, string>): Promise<number> {
  let child: ChildProcess | undefined;
  const handlers: Partial<Record<NodeJS.Signals, () => void>> = {
    SIGINT: () => {},
    SIGQUIT: () => {},
    SIGTERM: () => child?.kill('SIGTERM'),
    SIGHUP: () => child?.kill('SIGHUP'),
  };
  for (const [signal, handler] of Object.entries(handlers)) process.on(signal, handler);
  try {
    child = spawn(program, args, { stdio: 'inherit', env: { ...process.env, ...env } });
    return await statusOf(child, program);
  } finally {
    for (const [signal, handler] of Object.entries(handlers)) process.off(signal, handler);
  }
}

function statusOf(child: ChildProcess, program: string): Promise<number> {
  return new Promise((resolve) => {
    child.once('error', (error) => {
      process.stderr.write(`${program}: ${error.message}\n`);
      resolve(NOT_FOUND_STATUS);
    });
    child.once('exit', (status) => resolve(status ?? KILLED_STATUS));
  });
}
