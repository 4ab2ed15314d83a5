/** Folders in which drills put mail for a moment. */
import fs from 'node:fs';
import path from 'node:path';
import { hasErrno } from '../../platform/errors.ts';
import { ioError } from '../../platform/io-error.ts';

const NAME = /^drill-(\d+)-/;

/** A new folder in `base`, readable by its owner alone. What drills that were killed have left there goes. */
export function newScratch(base: string): string {
  try {
    removeAbandonedScratch(base);
    return fs.mkdtempSync(path.join(base, `drill-${process.pid}-`));
  } catch (error) {
    throw ioError(error, 'make a folder in', base);
  }
}

export function removeScratch(folder: string): void {
  fs.rmSync(folder, { recursive: true, force: true });
}

/** Under another name, that is not taken for what a killed drill has left. @returns where it is then */
export function keepScratch(folder: string): string {
  const kept = path.join(path.dirname(folder), `kept-${path.basename(folder)}`);
  fs.renameSync(folder, kept);
  return kept;
}

/** Of this process, which is about to be ended by a signal. */
export function removeOwnScratch(base: string): void {
  remove(base, (pid) => pid === process.pid);
}

/**
 * What drills that were killed have left behind.
 *
 * @returns folders that may not be removed: root has run the drill, and this process is of the server's user
 */
export function removeAbandonedScratch(base: string): string[] {
  return remove(base, (pid) => !isAlive(pid));
}

function remove(base: string, isMeant: (pid: number) => boolean): string[] {
  if (!fs.existsSync(base)) return [];
  const left: string[] = [];
  for (const name of fs.readdirSync(base)) {
    const pid = NAME.exec(name)?.[1];
    if (pid === undefined || !isMeant(Number(pid))) continue;
    const folder = path.join(base, name);
    try {
      removeScratch(folder);
    } catch (error) {
      if (!hasErrno(error, 'EACCES') && !hasErrno(error, 'EPERM')) throw error;
      left.push(folder);
    }
  }
  return left;
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM';
  }
}
