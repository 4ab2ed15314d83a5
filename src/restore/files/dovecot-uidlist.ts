/**
 * `dovecot-uidlist`, version 3, in which Dovecot keeps the UIDs of a Maildir: a line `3 V<UIDVALIDITY> N<next UID>` and a
 * line `UID :NAME` for each message, by UID. Format: https://doc.dovecot.org, "Maildir Mailbox Format", and
 * src/lib-storage/index/maildir/maildir-uidlist.c.
 */
import fs from 'node:fs';
import { writeAllSync } from '../../platform/durable.ts';
import { targetError } from './target-error.ts';

const FLUSH_CHARS = 64 * 1024;
/** Wide enough for any 32-bit number, as the line is written again at the end. */
const NEXT_UID_DIGITS = 10;

export interface KnownUidlist {
  uidvalidity: number;
  nextUid: number;
  /** File name without flags, by UID. */
  names: Map<number, string>;
}

/** What a list says; undefined if it has another form. */
export function parseUidlist(text: string): KnownUidlist | undefined {
  const lines = text.split('\n');
  const [version, ...fields] = lines[0]!.split(' ');
  const header = (letter: string): number => Number(fields.find((field) => field[0] === letter)?.slice(1));
  const [uidvalidity, nextUid] = [header('V'), header('N')];
  if (version !== '3' || !Number.isInteger(uidvalidity) || !Number.isInteger(nextUid)) return undefined;
  const names = new Map<number, string>();
  for (const line of lines.slice(1)) {
    const match = /^(\d+) (?:[^:]* )?:(.+)$/.exec(line);
    if (match !== null) names.set(Number(match[1]), match[2]!.replace(/:2,.*$/, ''));
  }
  return { uidvalidity, nextUid, names };
}

/** Writes a list while the messages of a mailbox go by in the order of their UIDs. */
export class UidlistWriter {
  readonly part: string;
  readonly #fd: number;
  readonly #uidvalidity: number;
  readonly #before: [uid: number, name: string][];
  #nextBefore = 0;
  #nextUid: number;
  #lastUid = 0;
  #text = '';
  #size = 0;
  /** Messages whose UID is another's in the list that was there before. */
  clashes = 0;

  /**
   * @param part file that is written
   * @param known the list that was there before: what it says stays
   */
  constructor(part: string, uidvalidity: number, lastUid: number, known?: KnownUidlist) {
    this.part = part;
    this.#uidvalidity = uidvalidity;
    this.#nextUid = Math.max(lastUid + 1, known?.nextUid ?? 0);
    this.#before = [...(known?.names ?? [])].sort(([a], [b]) => a - b);
    try {
      this.#fd = fs.openSync(part, 'w', 0o600);
    } catch (error) {
      throw targetError(error, 'write', part);
    }
    this.#text = this.#header();
  }

  add(uid: number, name: string): void {
    for (; this.#nextBefore < this.#before.length; this.#nextBefore++) {
      const [known, knownName] = this.#before[this.#nextBefore]!;
      if (known > uid) break;
      this.#line(known, knownName);
      if (known === uid && knownName !== name) this.clashes++;
    }
    this.#line(uid, name);
  }

  /** @returns its size */
  finish(): number {
    for (const [uid, name] of this.#before.slice(this.#nextBefore)) this.#line(uid, name);
    try {
      this.#flush();
      writeAllSync(this.#fd, [Buffer.from(this.#header())], 0);
    } finally {
      fs.closeSync(this.#fd);
    }
    return this.#size;
  }

  /** Leaves nothing behind. */
  discard(): void {
    fs.closeSync(this.#fd);
    fs.rmSync(this.part, { force: true });
  }

  #header(): string {
    return `3 V${this.#uidvalidity} N${String(this.#nextUid).padStart(NEXT_UID_DIGITS, '0')}\n`;
  }

  /** One of a UID that is in the list already is left out: Dovecot gives it a new one. */
  #line(uid: number, name: string): void {
    if (uid <= this.#lastUid) return;
    this.#lastUid = uid;
    this.#nextUid = Math.max(this.#nextUid, uid + 1);
    this.#text += `${uid} :${name}\n`;
    if (this.#text.length >= FLUSH_CHARS) this.#flush();
  }

  #flush(): void {
    const bytes = Buffer.from(this.#text, 'latin1');
    this.#text = '';
    try {
      this.#size = writeAllSync(this.#fd, [bytes], this.#size);
    } catch (error) {
      throw targetError(error, 'write', this.part);
    }
  }
}
