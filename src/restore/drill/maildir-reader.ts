/**
 * A Maildir++ as a mail program finds it, for comparison: read by code of its own, not by that which has written it.
 */
import { createHash } from 'node:crypto';
import fs from 'node:fs';
import path from 'node:path';

/** A message that lies there. */
export interface MaildirMessage {
  file: string;
  /** Undefined: dovecot-uidlist does not have it. */
  uid: number | undefined;
  size: number;
  /** SHA-1 of its bytes, hex. */
  sha1: string;
  /** Modification time, seconds. */
  time: number;
  /** In lower case, sorted. */
  flags: string[];
}

export interface MaildirMailbox {
  /** From INBOX down, none for INBOX. */
  folders: string[];
  messages: MaildirMessage[];
  /** There are as many keywords as a Maildir can hold, so that some may be left out. */
  isFull: boolean;
}

const SYSTEM_FLAGS: Record<string, string> = {
  D: '\\draft',
  F: '\\flagged',
  R: '\\answered',
  S: '\\seen',
  T: '\\deleted',
};
/** Those that a Maildir can hold; `P` is a keyword that has a letter too. */
export const MAILDIR_SYSTEM_FLAGS: ReadonlySet<string> = new Set(Object.values(SYSTEM_FLAGS));
const MAX_KEYWORDS = 26;
const READ_BYTES = 1 << 20;

export function* readMaildir(dir: string): Generator<MaildirMailbox, void> {
  const names = fullNames(dir);
  const folders = fs
    .readdirSync(dir, { withFileTypes: true })
    .filter((entry) => entry.isDirectory() && entry.name.startsWith('.'))
    .map(({ name }) => name);
  for (const folder of ['', ...folders.sort()]) {
    const place = path.join(dir, folder);
    if (!fs.existsSync(path.join(place, 'cur'))) continue;
    const keywords = keywordsOf(place);
    const uids = uidsOf(place);
    yield {
      folders: decodeFolder(names.get(folder) ?? folder),
      messages: messagesOf(place, keywords, uids),
      isFull: keywords.size >= MAX_KEYWORDS,
    };
  }
}

function messagesOf(
  place: string,
  keywords: ReadonlyMap<string, string>,
  uids: ReadonlyMap<string, number>,
): MaildirMessage[] {
  const found: MaildirMessage[] = [];
  for (const sub of ['cur', 'new']) {
    for (const name of fs.readdirSync(path.join(place, sub)).sort()) {
      const file = path.join(place, sub, name);
      const [base, letters = ''] = name.split(':2,') as [string, string?];
      const { size, mtimeMs } = fs.statSync(file);
      const flags = [...letters].flatMap((letter) => SYSTEM_FLAGS[letter] ?? keywords.get(letter) ?? []);
      const time = Math.floor(mtimeMs / 1000);
      found.push({ file, uid: uids.get(base), size, sha1: sha1Of(file), time, flags: flags.sort() });
    }
  }
  return found;
}

/** By letter, in lower case. */
function keywordsOf(place: string): Map<string, string> {
  const lines = textOf(path.join(place, 'dovecot-keywords')).split('\n').filter(Boolean);
  return new Map(
    lines.map((line): [string, string] => {
      const space = line.indexOf(' ');
      const letter = String.fromCharCode(0x61 + Number(line.slice(0, space)));
      return [letter, line.slice(space + 1).toLowerCase()];
    }),
  );
}

/** By file name without flags. */
function uidsOf(place: string): Map<string, number> {
  const uids = new Map<string, number>();
  for (const line of textOf(path.join(place, 'dovecot-uidlist')).split('\n').slice(1)) {
    const match = /^(\d+) [^:]*:(.+)$/.exec(line);
    if (match !== null) uids.set(match[2]!.split(':2,')[0]!, Number(match[1]));
  }
  return uids;
}

/** Names of folders that were too long, or stood for two mailboxes. */
function fullNames(dir: string): Map<string, string> {
  const lines = textOf(path.join(dir, 'mailbox-names.tsv')).split('\n').filter(Boolean);
  return new Map(lines.map((line) => line.split('\t', 2) as [string, string]));
}

function decodeFolder(name: string): string[] {
  const parts = name === '' ? [] : name.slice(1).split('.');
  return parts.map((part) =>
    part.replaceAll(/%([0-9a-f]{2})/gi, (_, hex: string) => String.fromCharCode(Number.parseInt(hex, 16))),
  );
}

function sha1Of(file: string): string {
  const hash = createHash('sha1');
  const buffer = Buffer.allocUnsafe(READ_BYTES);
  const fd = fs.openSync(file, 'r');
  try {
    for (let read = fs.readSync(fd, buffer); read > 0; read = fs.readSync(fd, buffer)) {
      hash.update(buffer.subarray(0, read));
    }
  } finally {
    fs.closeSync(fd);
  }
  return hash.digest('hex');
}

function textOf(file: string): string {
  return fs.existsSync(file) ? fs.readFileSync(file, 'latin1') : '';
}
