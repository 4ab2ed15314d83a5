/**
 * Headers of a tar archive: ustar with pax extended headers (IEEE Std 1003.1, pax, "pax Interchange Format"). Records for
 * extended attributes, `SCHILY.xattr.NAME`, are those of star, which GNU tar and bsdtar read too.
 */
import { BackupError } from '../../platform/errors.ts';

export const BLOCK_BYTES = 512;
/** Archives are a multiple of this, as tar itself makes them. */
const RECORD_BYTES = 20 * BLOCK_BYTES;
const MAX_NAME_BYTES = 100;
const MAX_OCTAL_11 = 8 ** 11 - 1;

export interface TarEntry {
  /** With slashes, relative; of a folder without one at the end. */
  path: string;
  type: 'file' | 'folder';
  /** Bytes that follow the header. */
  size: number;
  /** Seconds. */
  mtime: number;
  /** Values have one character a byte. */
  attributes: Readonly<Record<string, string>>;
}

/** The header of an entry, with the extended one before it where it needs one. */
export function encodeEntry({ path, type, size, mtime, attributes }: TarEntry): Buffer {
  if (!Number.isSafeInteger(size) || size < 0 || !Number.isSafeInteger(mtime))
    throw unsafe(path, size, mtime);
  const name = type === 'folder' ? `${path}/` : path;
  const records: Buffer[] = [];
  const isPlain = /^[\x20-\x7e]*$/.test(name) && name.length <= MAX_NAME_BYTES;
  if (!isPlain) records.push(paxRecord('path', Buffer.from(name)));
  if (size > MAX_OCTAL_11) records.push(paxRecord('size', Buffer.from(String(size))));
  const fitsMtime = mtime >= 0 && mtime <= MAX_OCTAL_11;
  if (!fitsMtime) records.push(paxRecord('mtime', Buffer.from(String(mtime))));
  for (const [key, value] of Object.entries(attributes)) {
    records.push(paxRecord(`SCHILY.xattr.user.csync-backup.${key}`, Buffer.from(value, 'latin1')));
  }
  // What a tar that does not know pax makes of it.
  const plainName = isPlain ? name : name.replaceAll(/[^\x20-\x7e]/g, '_').slice(-MAX_NAME_BYTES);
  const isFolder = type === 'folder';
  const header = ustarHeader(plainName, {
    type: isFolder ? '5' : '0',
    mode: isFolder ? 0o700 : 0o600,
    size: size > MAX_OCTAL_11 ? 0 : size,
    mtime: fitsMtime ? mtime : 0,
  });
  if (records.length === 0) return header;
  const extended = Buffer.concat(records);
  const extendedName = `PaxHeaders/${plainName.replace(/\/$/, '')}`.slice(0, MAX_NAME_BYTES);
  const fields = { type: 'x', mode: 0o600, size: extended.length, mtime: fitsMtime ? mtime : 0 };
  return Buffer.concat([ustarHeader(extendedName, fields), extended, padding(extended.length), header]);
}

/** What follows the bytes of an entry of this size. */
export function padding(size: number): Buffer {
  return Buffer.alloc((BLOCK_BYTES - (size % BLOCK_BYTES)) % BLOCK_BYTES);
}

/** What ends an archive that has this many bytes so far. */
export function endOfArchive(size: number): Buffer {
  const end = size + 2 * BLOCK_BYTES;
  return Buffer.alloc(2 * BLOCK_BYTES + ((RECORD_BYTES - (end % RECORD_BYTES)) % RECORD_BYTES));
}

/** `LENGTH KEY=VALUE` and a line end; the length counts itself. */
function paxRecord(key: string, value: Buffer): Buffer {
  const rest = Buffer.concat([Buffer.from(` ${key}=`), value, Buffer.from('\n')]);
  let length = rest.length;
  while (rest.length + String(length).length !== length) length = rest.length + String(length).length;
  return Buffer.concat([Buffer.from(String(length)), rest]);
}

function ustarHeader(
  name: string,
  { type, mode, size, mtime }: { type: string; mode: number; size: number; mtime: number },
): Buffer {
  const header = Buffer.alloc(BLOCK_BYTES);
  header.write(name, 0, MAX_NAME_BYTES, 'latin1');
  const octal = (value: number, at: number, digits: number): void => {
    header.write(value.toString(8).padStart(digits, '0'), at, digits, 'latin1');
  };
  octal(mode, 100, 7);
  octal(0, 108, 7); // uid and gid: who unpacks it as root gives it away with --no-same-owner or chown
  octal(0, 116, 7);
  octal(size, 124, 11);
  octal(mtime, 136, 11);
  header.fill(0x20, 148, 156);
  header.write(type, 156, 1, 'latin1');
  header.write('ustar\x0000', 257, 8, 'latin1');
  octal(0, 329, 7);
  octal(0, 337, 7);
  let sum = 0;
  for (const byte of header) sum += byte;
  header.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148, 8, 'latin1');
  return header;
}

function unsafe(path: string, size: number, mtime: number): BackupError {
  return new BackupError({
    code: 'BAD_PARAMETERS',
    tried: 'write the tar header of',
    subject: path,
    reason: `its size ${size} or its time ${mtime} is no number that it can hold`,
    remedy: 'Leave this message out, or restore to another kind of target',
  });
}
