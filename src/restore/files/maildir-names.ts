/** Names in a Maildir++, as Dovecot and Courier read them: https://cr.yp.to/proto/maildir.html, Maildir++ by Courier. */
import { percentByte } from './file-names.ts';

/** By system flag, in the order of the letters. */
const LETTERS: readonly (readonly [flag: string, letter: string])[] = [
  ['\\draft', 'D'],
  ['\\flagged', 'F'],
  ['$forwarded', 'P'],
  ['\\answered', 'R'],
  ['\\seen', 'S'],
  ['\\deleted', 'T'],
];

/** Keywords of a mailbox by their number, which is a letter from `a` on in file names. */
export class MaildirKeywords {
  static readonly MAX = 26;
  readonly #names: string[] = [];
  readonly #numbers = new Map<string, number>();
  /** Those for which there was no letter left. */
  readonly lost = new Set<string>();
  changed = false;

  /** @param text of dovecot-keywords: lines of number, space, name */
  constructor(text = '') {
    for (const [, number, name] of text.matchAll(/^(\d{1,2}) (.+)$/gm)) {
      this.#names[Number(number)] = name!;
      this.#numbers.set(name!.toLowerCase(), Number(number));
    }
  }

  /** Its letter; undefined if all are taken. */
  letter(keyword: string): string | undefined {
    let number = this.#numbers.get(keyword.toLowerCase());
    if (number === undefined) {
      number = this.#names.length;
      if (number >= MaildirKeywords.MAX) {
        this.lost.add(keyword);
        return undefined;
      }
      this.#names.push(keyword);
      this.#numbers.set(keyword.toLowerCase(), number);
      this.changed = true;
    }
    return String.fromCharCode(0x61 + number);
  }

  get text(): string {
    return this.#names.map((name, number) => `${number} ${name}\n`).join('');
  }
}

/** What stands behind `:2,`: letters in the order of ASCII. `$Forwarded` is a letter of its own, and a keyword. */
export function maildirFlags(flags: readonly string[], keywords: MaildirKeywords): string {
  const lower = flags.map((flag) => flag.toLowerCase());
  const system = LETTERS.filter(([flag]) => lower.includes(flag)).map(([, letter]) => letter);
  const own = new Set<string>();
  for (const flag of flags) {
    const letter = flag.startsWith('\\') ? undefined : keywords.letter(flag);
    if (letter !== undefined) own.add(letter);
  }
  return [...system, ...[...own].sort()].join('');
}

/** What a message is called before its size is known, unique in its folder. */
export function maildirBase({
  internaldate,
  uid,
  guid,
}: {
  internaldate: number;
  uid: number;
  guid: string;
}): string {
  return `${internaldate}.U${uid}G${guid}.csync-backup`;
}

const OURS = /^\d+\.U(\d+)G([0-9a-f]{40})\.csync-backup,S=(\d+)(?::2,.*)?$/;

/** UID and GUID of a message that came out of a backup, whatever flags it has got since. */
export function parseMaildirName(name: string): { uid: number; guid: string; size: number } | undefined {
  const match = OURS.exec(name);
  return match === null ? undefined : { uid: Number(match[1]), guid: match[2]!, size: Number(match[3]) };
}

/**
 * The folder of a mailbox: `.Archive.2025`, in modified UTF-7 as Dovecot has it on disk by default; empty for INBOX.
 * What a part of a name cannot have here, a dot above all, is written `%2e`, which Dovecot's plugin listescape shows
 * as a dot with `listescape_char = %%`.
 */
export function maildirFolder(folders: readonly string[]): string {
  if (folders.length === 0) return '';
  return `.${folders.map(part).join('.')}`;
}

function part(name: string, at: number): string {
  const safe = name.replaceAll(/[^\x20-\x7e]|[%./\\]/g, (character) => percentByte(character).toLowerCase());
  // Below INBOX there may be a folder of this name, which would be taken for INBOX itself.
  return at === 0 && /^inbox$/i.test(safe) ? percentByte(safe[0]!) + safe.slice(1) : safe;
}

/** The inverse of maildirFolder(); of a name that was cut what is left of it. */
export function foldersOfMaildir(folder: string): string[] {
  if (folder === '') return [];
  const decode = (text: string): string =>
    text.replaceAll(/%([0-9a-f]{2})/gi, (_, hex: string) => String.fromCharCode(Number.parseInt(hex, 16)));
  return folder.slice(1).split('.').map(decode);
}
