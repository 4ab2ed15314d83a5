/**
 * Who has a file locked, for people. Of open-file-description locks the kernel names no process: it is one that has
 * the file open with a lock on it, which /proc/PID/fdinfo tells (proc_pid_fdinfo(5)).
 */
import fs from 'node:fs';
import path from 'node:path';

export interface LockingProcess {
  pid: number;
  /** Beginning of its command line. */
  command: string;
  /** All files that it has locked. */
  files: string[];
}

/**
 * Processes, but for this one, that have a lock on this file, of those that this user may look at. Looks at every
 * open file of the machine, so it is for messages only.
 */
export function lockingProcesses({ ino, dev }: { ino: number; dev: number }): LockingProcess[] {
  const found: LockingProcess[] = [];
  for (const name of fs.readdirSync('/proc')) {
    const pid = Number(name);
    if (!/^\d+$/.test(name) || pid === process.pid) continue;
    const fds = descriptors(pid, (stat) => stat.ino === ino && stat.dev === dev);
    if (!fds.some((fd) => isLocked(pid, fd))) continue;
    const locked = descriptors(pid, (stat) => stat.isFile()).filter((fd) => isLocked(pid, fd));
    const files = new Set(locked.map((fd) => fs.readlinkSync(`/proc/${pid}/fd/${fd}`)));
    found.push({ pid, command: commandOf(pid), files: [...files] });
  }
  return found;
}

/** None of a process that has ended meanwhile, or is somebody else's. */
function descriptors(pid: number, wanted: (stat: fs.Stats) => boolean): string[] {
  try {
    return fs.readdirSync(`/proc/${pid}/fd`).filter((fd) => {
      const stat = fs.statSync(`/proc/${pid}/fd/${fd}`, { throwIfNoEntry: false });
      return stat !== undefined && wanted(stat);
    });
  } catch {
    return [];
  }
}

function isLocked(pid: number, fd: string): boolean {
  try {
    return fs.readFileSync(`/proc/${pid}/fdinfo/${fd}`, 'utf8').includes('lock:');
  } catch {
    return false;
  }
}

/** What a process was started as: the program's name and its arguments, shortened. */
export function commandOf(pid: number): string {
  try {
    const [program = '', ...rest] = fs.readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0');
    return [path.basename(program), ...rest].join(' ').trim().slice(0, 80);
  } catch {
    return 'it has ended';
  }
}
