/** Gathers one RECORD of a MAILBOX from parser events. There is one reader for all of a line's. */
import type { ScalarView } from '../../csync/dlist-sax.ts';
import { DlistText } from './dlist-text.ts';
import { badParameters, type Rejection } from './outcome.ts';
import type { RecordFields } from './record-store.ts';
import type { SqlText } from './sql-text.ts';

const GUID_DIGITS = 40;
const EXPUNGED = Buffer.from('\\Expunged', 'latin1');
const KNOWN = new Set([
  'UID',
  'MODSEQ',
  'LAST_UPDATED',
  'FLAGS',
  'INTERNALDATE',
  'SIZE',
  'GUID',
  'ANNOTATIONS',
]);
const MAX_UID = 0xffff_ffff;

export class RecordReader {
  readonly flags = new DlistText();
  readonly annotations = new DlistText();
  readonly extra = new DlistText();
  #uid: number | undefined;
  #modseq: number | bigint | undefined;
  #lastUpdated: number | undefined;
  #internaldate: number | undefined;
  #size: number | undefined;
  #guid: string | undefined;
  #expunged = false;

  begin(): void {
    this.flags.reset();
    this.annotations.reset();
    this.extra.reset();
    this.#uid = undefined;
    this.#modseq = undefined;
    this.#lastUpdated = undefined;
    this.#internaldate = undefined;
    this.#size = undefined;
    this.#guid = undefined;
    this.#expunged = false;
  }

  scalar(key: string, value: ScalarView): void {
    switch (key) {
      case 'UID':
        this.#uid ??= value.number();
        return;
      case 'MODSEQ':
        this.#modseq ??= value.number() ?? value.bigint();
        return;
      case 'LAST_UPDATED':
        this.#lastUpdated ??= value.number();
        return;
      case 'INTERNALDATE':
        this.#internaldate ??= value.number();
        return;
      case 'SIZE':
        this.#size ??= value.number();
        return;
      case 'GUID':
        this.#guid ??= guidOf(value);
        return;
      default:
        if (KNOWN.has(key)) return; // NIL in place of a list: none
        this.extra.key(key);
        this.extra.scalar(value);
    }
  }

  flag(value: ScalarView): void {
    if (isExpungedFlag(value)) this.#expunged = true;
    else this.flags.scalar(value);
  }

  /** The RECORD as a whole, or what is wrong with it. */
  finish(): RecordFields | Rejection {
    if (this.#uid === undefined || this.#uid === 0 || this.#uid > MAX_UID) return lacks('UID');
    if (this.#modseq === undefined) return lacks('MODSEQ');
    if (this.#lastUpdated === undefined) return lacks('LAST_UPDATED');
    if (this.#internaldate === undefined) return lacks('INTERNALDATE');
    const guid = this.#guid;
    if (guid === undefined) return lacks('GUID');
    return {
      uid: this.#uid,
      modseq: this.#modseq,
      lastUpdated: this.#lastUpdated,
      internaldate: this.#internaldate,
      size: this.#size ?? null,
      guid,
      expunged: this.#expunged,
      flags: this.flags.text(),
      annotations: this.annotations.text(),
      extra: textOrNone(this.extra),
    };
  }
}

function textOrNone(text: DlistText): SqlText | undefined {
  return text.length === 0 ? undefined : text.text();
}

export function isExpungedFlag(value: ScalarView): boolean {
  if (value.size !== EXPUNGED.length || !value.held) return false;
  for (let at = 0; at < EXPUNGED.length; at++) {
    if (value.bytes[value.start + at] !== EXPUNGED[at]) return false;
  }
  return true;
}

/** 40 hex digits, in lower case. */
function guidOf({ bytes, start, end }: ScalarView): string | undefined {
  if (end - start !== GUID_DIGITS) return undefined;
  let isLower = true;
  for (let at = start; at < end; at++) {
    const byte = bytes[at] as number;
    if (byte >= 0x30 && byte <= 0x39) continue;
    if (byte >= 0x41 && byte <= 0x46) isLower = false;
    else if (byte < 0x61 || byte > 0x66) return undefined;
  }
  const guid = Buffer.from(bytes.buffer, bytes.byteOffset + start, GUID_DIGITS).toString('latin1');
  return isLower ? guid : guid.toLowerCase();
}

function lacks(key: string): Rejection {
  return badParameters(`a RECORD lacks the field ${key}`);
}
