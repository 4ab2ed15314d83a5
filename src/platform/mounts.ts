/**
 * Whether a folder lies on a filesystem that takes no writes. access(2) does not tell of one that the kernel has made
 * read-only after an error (`emergency_ro`, since Linux 6.13), and a file made for trial would wait for ever where the
 * filesystem is frozen. So the table of mounts is asked (proc(5), /proc/PID/mountinfo).
 */
import fs from 'node:fs';

const TABLE = '/proc/self/mountinfo';

/** Why nothing can be written there; undefined if that is not known. The folder has to exist. */
export function readOnlyReason(folder: string): string | undefined {
  let table: string;
  try {
    table = fs.readFileSync(TABLE, 'latin1');
  } catch {
    return undefined; // no /proc: access(2) has to do
  }
  return readOnlyMount(table, fs.realpathSync(folder));
}

/** The same of a table, a character a byte, and a path without symbolic links. */
export function readOnlyMount(table: string, real: string): string | undefined {
  let place = '';
  let found: string[] = [];
  for (const line of table.split('\n')) {
    const fields = line.split(' ');
    if (fields.length < 6) continue;
    const point = fields[4]!.replaceAll(/\\([0-7]{3})/g, (_, octal: string) =>
      String.fromCharCode(Number.parseInt(octal, 8)),
    );
    const name = Buffer.from(point, 'latin1').toString('utf8');
    const isIn = real === name || real.startsWith(name.endsWith('/') ? name : `${name}/`);
    // Of two mounts at one place the later one lies above.
    if (!isIn || name.length < place.length) continue;
    place = name;
    found = [...fields[5]!.split(','), ...(fields.at(-1) ?? '').split(',')];
  }
  if (found.includes('emergency_ro')) return `the kernel has made ${place} read-only after an error (dmesg)`;
  return found.includes('ro') ? `${place} is mounted read-only` : undefined;
}
