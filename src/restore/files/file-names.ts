/** Mailbox names as file names: safe on any file system, and reversible. */
import { createHash } from 'node:crypto';
import { decodeMailboxName, encodeMailboxName } from '../../csync/modified-utf7.ts';

/** Of a file name on Linux. */
export const MAX_NAME_BYTES = 255;
/** What may follow a name: `.mbox.part`, and the number that makes it unique. */
const RESERVED_BYTES = 16;
const DIGEST_DIGITS = 16;
/** Before a digest that stands for the rest of a long name, and before a number that tells two of one name apart. */
const CUT_MARK = '%~';
/** Before a name that is no modified UTF-7, and so written byte by byte. */
const BYTES_MARK = '%=';

/** What stands for a slash, a dot at the beginning, and all else that a file name cannot have or that means something. */
export function safeName(text: string): string {
  return text
    .replaceAll(/[%/\\\p{Cc}]/gu, encodeURIComponent)
    .replace(/^\./, '%2E')
    .replace(/\.(?=(?:eml|mbox|part)$)/i, '%2E');
}

/**
 * The last part of a mailbox's name, in modified UTF-7 as stored, as a file name in UTF-8. No two names give the same one
 * (but see cutName()), none hides a file, leaves its folder or looks like a file of a target.
 */
export function fileName(name: string): string {
  const decoded = decodeMailboxName(name);
  if (encodeMailboxName(decoded) === name && decoded.isWellFormed()) return safeName(decoded);
  const bytes = name.replaceAll(/[^\x20-\x7e]|[%&/\\]/g, percentByte);
  return BYTES_MARK + bytes.replace(/\.(?=(?:eml|mbox|part)$)/i, '%2E');
}

export function percentByte(character: string): string {
  return `%${character.charCodeAt(0).toString(16).toUpperCase().padStart(2, '0')}`;
}

/** The inverse of fileName(); undefined for one that was cut. */
export function mailboxNameOf(file: string): string | undefined {
  if (file.includes(CUT_MARK)) return undefined;
  if (!file.startsWith(BYTES_MARK)) return encodeMailboxName(decodeURIComponent(file));
  return file
    .slice(BYTES_MARK.length)
    .replaceAll(/%([0-9A-F]{2})/g, (_, hex: string) => String.fromCharCode(Number.parseInt(hex, 16)));
}

/** As it is, or its beginning and a digest of all of it where it is too long for a file name. */
export function cutName(file: string, maxBytes: number = MAX_NAME_BYTES - RESERVED_BYTES): string {
  if (Buffer.byteLength(file) <= maxBytes) return file;
  const digest = createHash('sha1').update(file).digest('hex').slice(0, DIGEST_DIGITS);
  let bytes = maxBytes - CUT_MARK.length - DIGEST_DIGITS;
  let kept = '';
  for (const character of file) {
    bytes -= Buffer.byteLength(character);
    if (bytes < 0) break;
    kept += character;
  }
  // Not in the middle of an escape.
  return kept.replace(/%.?$/, '') + CUT_MARK + digest;
}

/** Where mailboxes go: a path for each, no two the same. */
export interface Places<Key> {
  /** File names, of which the last is the mailbox's own. */
  paths: Map<Key, string[]>;
  /** Paths from which the name of the mailbox does not follow, and what it is in the form of fileName(). */
  cut: Map<string, string>;
}

/** Names of files and folders for mailboxes, from INBOX down. */
export function placeMailboxes<Key extends { folders: readonly string[] }>({
  mailboxes,
}: {
  mailboxes: readonly Key[];
}): Places<Key> {
  const places: Places<Key> = { paths: new Map(), cut: new Map() };
  const taken = new Set<string>();
  for (const mailbox of mailboxes) {
    const full = ['INBOX', ...mailbox.folders].map(fileName);
    const path = freeName(full.map((name) => cutName(name)).join('/'), taken);
    places.paths.set(mailbox, path.split('/'));
    if (path !== full.join('/')) places.cut.set(path, full.join('/'));
  }
  return places;
}

/** `wanted`, or with a number if that is taken already: by one of the same name that was deleted in the same second. */
export function freeName(wanted: string, taken: Set<string>): string {
  let found = wanted;
  for (let count = 2; taken.has(found); count++) found = `${wanted}${CUT_MARK}${count}`;
  taken.add(found);
  return found;
}

/** Beside what is exported where names had to be cut: lines of path, tab, full name. */
export const NAMES_FILE = 'mailbox-names.tsv';

export function namesTable(cut: ReadonlyMap<string, string>): Buffer {
  return Buffer.from([...cut].map(([path, full]) => `${path}\t${full}\n`).join(''));
}
