import { BackupError } from '../platform/errors.ts';
import type { Dlist } from './dlist.ts';

/**
 * Prints values byte for byte as Cyrus's servers do (facts: Cyrus IMAP lib/prot.c prot_printamap,
 * lib/imparse.c imparse_isnatom, imap/dlist.c dlist_print). Strings, given and returned, hold one byte per
 * character: write them with `Buffer.from(text, 'latin1')`.
 */

/** From this length on neither an atom nor a quoted string is printed. */
const MAX_SHORT_BYTES = 1024;

/** 1 for bytes of an atom: no 8-bit, no controls up to 0x1E, no DEL, none of ` {()"%*\`. */
const IN_ATOM = bytesBut(0x1f, 0x7e, ' {()"%*\\');
/** 1 for bytes of a quoted string: no 8-bit, no CR, LF or NUL, none of `"%\`; the tab of an ACL may stand. */
const IN_QUOTED = bytesBut(0x01, 0x7f, '\r\n"%\\');

const ANY = bytesBut(0x00, 0xff, '');

export interface PrintOptions {
  /** Literals as `{n+}`, for what we send as a client; servers and data files have `{n}`. */
  nonSynchronising?: boolean;
}

/** An atom if it can be one, else a quoted string below 1024 bytes, else a literal; null is NIL. */
export function printString(value: string | Uint8Array | null, options?: PrintOptions): string {
  if (value === null) return 'NIL';
  const text = typeof value === 'string' ? value : Buffer.from(value).toString('latin1');
  if (text === '') return '""';
  if (text.length < MAX_SHORT_BYTES) {
    if (text !== 'NIL' && all(text, IN_ATOM)) return text;
    if (all(text, IN_QUOTED)) return `"${text}"`;
  }
  return printLiteral(text, options);
}

/** Always a literal. */
export function printLiteral(value: string | Uint8Array, options?: PrintOptions): string {
  const text = typeof value === 'string' ? value : Buffer.from(value).toString('latin1');
  if (!all(text, ANY)) {
    throw new BackupError({
      code: 'INTERNAL',
      tried: 'print',
      subject: 'a string',
      reason: 'it holds a character that is not one byte',
      remedy: 'Please report this as a bug',
    });
  }
  return `{${text.length}${options?.nonSynchronising ? '+' : ''}}\r\n${text}`;
}

/** Unsigned decimal. @throws BackupError INTERNAL for what is not an exact unsigned integer of 64 bits. */
export function printNumber(value: number | bigint): string {
  const exact =
    typeof value === 'bigint' ? value >= 0n && value < 2n ** 64n : Number.isSafeInteger(value) && value >= 0;
  if (!exact) {
    throw new BackupError({
      code: 'INTERNAL',
      tried: 'print',
      subject: `the number ${value}`,
      reason: 'it is not an unsigned integer that can be printed exactly',
      remedy: 'Please report this as a bug',
    });
  }
  return value.toString();
}

/** `%(KEY value ...)` of values that are printed already; undefined ones are left out. */
export function printKvlist(fields: Iterable<readonly [key: string, printed: string | undefined]>): string {
  const parts: string[] = [];
  for (const [key, printed] of fields)
    if (printed !== undefined) parts.push(`${printString(key)} ${printed}`);
  return `%(${parts.join(' ')})`;
}

/** `(value ...)` of values that are printed already. */
export function printList(printed: Iterable<string>): string {
  return `(${[...printed].join(' ')})`;
}

/** A whole value but for files, as a string of one byte per character. */
export function printDlist(value: Dlist, options?: PrintOptions): string {
  switch (value.kind) {
    case 'nil':
      return 'NIL';
    case 'atom':
      return printString(value.value, options);
    case 'flag':
      return value.value.toString('latin1');
    case 'list':
      return printList(value.items.map((item) => printDlist(item, options)));
    case 'kvlist':
      return printKvlist(value.entries.map(([key, item]) => [key, printDlist(item, options)] as const));
    case 'file':
      return `${printFileHeader(value.partition, value.guid, value.content.length)}${value.content.toString('latin1')}`;
  }
}

/** `%{partition guid size}CRLF`; the message's bytes follow it. */
export function printFileHeader(partition: string, guid: string, size: number): string {
  return `%{${printString(partition)} ${guid} ${printNumber(size)}}\r\n`;
}

/** A whole value as bytes. */
export function encodeDlist(value: Dlist, options?: PrintOptions): Buffer {
  return Buffer.from(printDlist(value, options), 'latin1');
}

function bytesBut(from: number, to: number, excluded: string): Uint8Array {
  const table = new Uint8Array(256).fill(1, from, to + 1);
  for (const character of excluded) table[character.charCodeAt(0)] = 0;
  return table;
}

function all(text: string, table: Uint8Array): boolean {
  for (let at = 0; at < text.length; at++) if (table[text.charCodeAt(at)] !== 1) return false;
  return true;
}
