/** `restore --from-file`: objects one a line, or what `search` has printed. */
import fs from 'node:fs';
import readline from 'node:readline';
import { BackupError } from '../../platform/errors.ts';
import { ioError } from '../../platform/io-error.ts';
import { printUserid, useridOf } from '../userid-text.ts';

/** Objects of the backup with the line of the file that names each, first come first. */
export interface FileObjects {
  file: string;
  /** Lines by object. */
  lines: ReadonlyMap<string, number>;
}

/** A line of search for people: tabs cannot stand in the name of a mailbox. */
const COLUMNS = 7;
const PLACE = /^.+:\d{1,10}$/;
const GUID = /^[0-9a-f]{40}$/i;

/**
 * @param file a path, or `-` for standard input
 * @param userid whose backup the objects are looked for in; undefined: whoever's it is
 * @throws BackupError USAGE for a line that names no object, or one of another user, and if there are none at all;
 *   NOT_FOUND, PERMISSION_DENIED, IO_ERROR
 */
export async function readObjectFile(file: string, userid: string | undefined): Promise<FileObjects> {
  const input = file === '-' ? process.stdin : fs.createReadStream(file);
  const lines = new Map<string, number>();
  let number = 0;
  try {
    for await (const line of readline.createInterface({ input, crlfDelay: Number.POSITIVE_INFINITY })) {
      number++;
      const object = objectOf(line, (reason) => badLine(file, number, reason), userid);
      if (object !== undefined && !lines.has(object)) lines.set(object, number);
    }
  } catch (error) {
    if (error instanceof BackupError) throw error;
    throw ioError(error, 'read', file === '-' ? 'standard input' : file);
  }
  if (lines.size === 0) {
    throw new BackupError({
      code: 'USAGE',
      tried: 'restore what is named in',
      subject: nameOf(file),
      reason: 'it names nothing, and nothing is hardly all that is wanted',
      remedy: 'See what csync-backup search finds; for everything leave --from-file out',
    });
  }
  return { file, lines };
}

/** `u17:5 (line 3 of wanted.txt)`. */
export function describeObject(object: string, { file, lines }: FileObjects): string {
  const line = lines.get(object);
  return line === undefined
    ? printUserid(object)
    : `${printUserid(object)} (line ${line} of ${nameOf(file)})`;
}

function objectOf(
  line: string,
  bad: (reason: string) => BackupError,
  userid: string | undefined,
): string | undefined {
  const text = line.trim();
  if (text === '') return undefined;
  if (text.startsWith('{')) return objectOfJson(text, bad, userid);
  const columns = text.split('\t');
  if (columns.length === 1) return useridOf(text);
  const last = columns.at(-1)!;
  if (columns.length === COLUMNS && PLACE.test(last)) return useridOf(last);
  throw bad(`it has ${columns.length} columns, and is no line of csync-backup search`);
}

/** What `search --json` says beside messages is passed over. */
function objectOfJson(
  text: string,
  bad: (reason: string) => BackupError,
  userid: string | undefined,
): string | undefined {
  let of: Record<string, unknown>;
  try {
    of = JSON.parse(text) as Record<string, unknown>;
  } catch {
    throw bad('it begins like JSON, but is none');
  }
  const { type = 'message', uniqueid, uid, guid } = of;
  if (type === 'summary' || type === 'unread') return undefined;
  if (typeof of.userid === 'string' && userid !== undefined && of.userid !== printUserid(userid)) {
    throw bad(`it is about the backup of ${of.userid}, not of ${printUserid(userid)}`);
  }
  if (typeof uniqueid === 'string' && Number.isSafeInteger(uid))
    return useridOf(`${uniqueid}:${String(uid)}`);
  if (typeof guid === 'string' && GUID.test(guid)) return guid.toLowerCase();
  if (typeof uniqueid === 'string') return useridOf(uniqueid);
  throw bad('it has neither uniqueid and uid nor guid');
}

function badLine(file: string, line: number, reason: string): BackupError {
  return new BackupError({
    code: 'USAGE',
    tried: 'take an object from',
    subject: `line ${line} of ${nameOf(file)}`,
    reason,
    remedy:
      'Give a mailbox, a unique id, a GUID or UNIQUEID:UID in each line, or what csync-backup search --json prints',
  });
}

function nameOf(file: string): string {
  return file === '-' ? 'standard input' : file;
}
