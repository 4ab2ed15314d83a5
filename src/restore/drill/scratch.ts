/** Folders in which drills put mail for a moment. */
import fs from 'node:fs';
import path from 'node:path';
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

/** What drills that were killed have left behind. */
export function removeAbandonedScratch(base: string): void {
  if (!fs.existsSync(base)) return;
  for (const name of fs.readdirSync(base)) {
    const pid = NAME.exec(name)?.[1];
    if (pid !== undefined && !isAlive(Number(pid))) removeScratch(path.join(base, name));
  }
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM';
  }
}
