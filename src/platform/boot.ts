import { readFileSync } from 'node:fs';
import { BackupError } from './errors.ts';

/** Tests of power failures let another file stand in for the kernel's. */
const BOOT_ID_PATH = process.env.CSYNC_BACKUP_BOOT_ID_FILE ?? '/proc/sys/kernel/random/boot_id';
let tag: Uint8Array | undefined;

/**
 * First 8 bytes of the kernel's boot id: the same until the machine restarts. An unfinished chunk that carries
 * it was written by a process of this boot, so that what it wrote but did not sync is still in the page cache.
 *
 * @throws BackupError UNAVAILABLE where the kernel gives no boot id
 */
export function bootTag(): Uint8Array {
  if (tag) return tag;
  try {
    const hex = readFileSync(BOOT_ID_PATH, 'latin1').trim().replaceAll('-', '');
    if (!/^[0-9a-f]{32}$/.test(hex)) throw new Error(`'${hex}' is not a boot id`);
    tag = new Uint8Array(Buffer.from(hex.slice(0, 16), 'hex'));
    return tag;
  } catch (cause) {
    throw new BackupError({
      code: 'UNAVAILABLE',
      tried: 'read the boot id',
      subject: BOOT_ID_PATH,
      reason: cause instanceof Error ? cause.message : String(cause),
      remedy: 'Mount /proc: recovery after a crash needs to know whether the machine was restarted',
      cause,
    });
  }
}
