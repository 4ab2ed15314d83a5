/**
 * The twoskip file format of Cyrus IMAP (lib/cyrusdb_twoskip.c): a skip list in an append-only file. All
 * integers are big-endian; every byte is covered by a CRC-32.
 *
 * | offset | size | header field |
 * | ------ | ---- | ------------ |
 * | 0 | 20 | magic |
 * | 20 | 4 | version, 1 |
 * | 24 | 8 | generation: one more after each checkpoint |
 * | 32 | 8 | number of live records |
 * | 40 | 8 | size when the file was last rewritten in order |
 * | 48 | 8 | committed size |
 * | 56 | 4 | flags: bit 0 dirty |
 * | 60 | 4 | CRC-32 of the 60 bytes before |
 *
 * | size | record field |
 * | ---- | ------------ |
 * | 1 | type: `=` dummy, `+` record, `-` delete, `$` commit |
 * | 1 | level |
 * | 2 | length of the key; FFFF: it stands below |
 * | 4 | length of the value; FFFFFFFF: it stands below |
 * | 0 or 8 | long length of the key |
 * | 0 or 8 | long length of the value |
 * | 8 * (level + 1) | pointers |
 * | 4 | CRC-32 of all before |
 * | 4 | CRC-32 of key, value and padding |
 * | | key, value, zeros up to a multiple of 8 |
 */

import { crc32 } from '../../platform/crc32.ts';
import { BackupError } from '../../platform/errors.ts';

const MAGIC = Buffer.from('a1028b0d74776f736b69702066696c6500000000', 'hex');
const VERSION = 1;
const FLAG_DIRTY = 1;

export const HEADER_BYTES = 64;
/** The first record: the list's head, with every level and neither key nor value. */
export const DUMMY_OFFSET = HEADER_BYTES;
/** Levels of the skip list. A record of level n is linked on the levels 0 to n - 1. */
export const MAX_LEVEL = 31;
/** Largest head: both long lengths and a pointer more than levels. */
export const MAX_HEAD_BYTES = 8 + 16 + 8 * (MAX_LEVEL + 1) + 8;
/** The dummy in bytes, and so the size of an empty file without its header. */
export const DUMMY_BYTES = 8 + 8 * (MAX_LEVEL + 1) + 8;

/** A disk writes so many bytes whole or not at all. */
const BLOCK_BYTES = 512;
/** Fills the room before a record whose head would otherwise lie in two blocks. */
export const BLANK = Buffer.from(' BLANK\x07\xa0', 'latin1');

export const TYPE = { dummy: 0x3d, record: 0x2b, delete: 0x2d, commit: 0x24 } as const;

export interface Header {
  generation: number;
  recordCount: number;
  repackSize: number;
  currentSize: number;
  dirty: boolean;
}

export interface RecordHead {
  type: number;
  level: number;
  keyLength: number;
  valueLength: number;
  /** Level 0 has two, 0 and 1, of which one is always from before the transaction; level i has pointer i + 1. */
  pointers: number[];
  tailCrc: number;
}

/** What is wrong with bytes that should be a header or a record; the caller knows the file. */
export class FormatFault extends Error {}

function readSafe(bytes: Buffer, offset: number, what: string): number {
  const value = bytes.readBigUInt64BE(offset);
  if (value > BigInt(Number.MAX_SAFE_INTEGER)) throw new FormatFault(`${what} is out of range`);
  return Number(value);
}

/** @throws FormatFault */
export function decodeHeader(bytes: Buffer): Header {
  if (bytes.length < HEADER_BYTES) throw new FormatFault('it is shorter than its header');
  if (!bytes.subarray(0, MAGIC.length).equals(MAGIC)) throw new FormatFault('it is not a twoskip file');
  if (bytes.readUInt32BE(60) !== crc32(bytes.subarray(0, 60)))
    throw new FormatFault('the header has a wrong CRC');
  const version = bytes.readUInt32BE(20);
  if (version !== VERSION) throw new FormatFault(`it has version ${version}, known is ${VERSION}`);
  return {
    generation: readSafe(bytes, 24, 'the generation'),
    recordCount: readSafe(bytes, 32, 'the number of records'),
    repackSize: readSafe(bytes, 40, 'the size at the last checkpoint'),
    currentSize: readSafe(bytes, 48, 'the committed size'),
    dirty: (bytes.readUInt32BE(56) & FLAG_DIRTY) !== 0,
  };
}

export function encodeHeader(header: Header): Buffer {
  const bytes = Buffer.alloc(HEADER_BYTES);
  MAGIC.copy(bytes);
  bytes.writeUInt32BE(VERSION, 20);
  bytes.writeBigUInt64BE(BigInt(header.generation), 24);
  bytes.writeBigUInt64BE(BigInt(header.recordCount), 32);
  bytes.writeBigUInt64BE(BigInt(header.repackSize), 40);
  bytes.writeBigUInt64BE(BigInt(header.currentSize), 48);
  bytes.writeUInt32BE(header.dirty ? FLAG_DIRTY : 0, 56);
  bytes.writeUInt32BE(crc32(bytes.subarray(0, 60)), 60);
  return bytes;
}

/** Length of a record's head. `bytes` holds its first 8. @throws FormatFault */
export function headLength(bytes: Buffer): number {
  const level = bytes[1]!;
  if (level > MAX_LEVEL) throw new FormatFault(`a record has level ${level}`);
  const longKey = bytes.readUInt16BE(2) === 0xffff ? 8 : 0;
  const longValue = bytes.readUInt32BE(4) === 0xffffffff ? 8 : 0;
  return 8 + longKey + longValue + 8 * (level + 1) + 8;
}

/** @param bytes at least headLength() of them. @throws FormatFault */
export function decodeHead(bytes: Buffer): RecordHead {
  const length = headLength(bytes);
  if (bytes.length < length) throw new FormatFault('a record is cut off');
  if (bytes.readUInt32BE(length - 8) !== crc32(bytes.subarray(0, length - 8))) {
    throw new FormatFault('the head of a record has a wrong CRC');
  }
  let keyLength = bytes.readUInt16BE(2);
  let valueLength = bytes.readUInt32BE(4);
  let at = 8;
  if (keyLength === 0xffff) {
    keyLength = readSafe(bytes, at, 'the length of a key');
    at += 8;
  }
  if (valueLength === 0xffffffff) {
    valueLength = readSafe(bytes, at, 'the length of a value');
    at += 8;
  }
  const pointers: number[] = [];
  for (; at < length - 8; at += 8) pointers.push(readSafe(bytes, at, 'a pointer'));
  return {
    type: bytes[0]!,
    level: bytes[1]!,
    keyLength,
    valueLength,
    pointers,
    tailCrc: bytes.readUInt32BE(length - 4),
  };
}

export function encodeHead(head: RecordHead): Buffer {
  const longKey = head.keyLength >= 0xffff;
  const longValue = head.valueLength >= 0xffffffff;
  const length = 8 + (longKey ? 8 : 0) + (longValue ? 8 : 0) + 8 * (head.level + 1) + 8;
  const bytes = Buffer.alloc(length);
  bytes[0] = head.type;
  bytes[1] = head.level;
  bytes.writeUInt16BE(longKey ? 0xffff : head.keyLength, 2);
  bytes.writeUInt32BE(longValue ? 0xffffffff : head.valueLength, 4);
  let at = 8;
  if (longKey) at = bytes.writeBigUInt64BE(BigInt(head.keyLength), at);
  if (longValue) at = bytes.writeBigUInt64BE(BigInt(head.valueLength), at);
  for (let i = 0; i <= head.level; i++) at = bytes.writeBigUInt64BE(BigInt(head.pointers[i] ?? 0), at);
  bytes.writeUInt32BE(crc32(bytes.subarray(0, at)), at);
  bytes.writeUInt32BE(head.tailCrc, at + 4);
  return bytes;
}

/** Length of key, value and padding. */
export function tailLength(keyLength: number, valueLength: number): number {
  return Math.ceil((keyLength + valueLength) / 8) * 8;
}

export function encodeTail(key: Uint8Array, value: Uint8Array): Buffer {
  const tail = Buffer.alloc(tailLength(key.length, value.length));
  tail.set(key);
  tail.set(value, key.length);
  return tail;
}

/**
 * Bytes of BLANKs before a record whose head has this length, so that the part of the head that is written again
 * later lies in one block: a crash then leaves the old pointers or the new ones.
 */
export function blanksBefore(end: number, length: number): number {
  if (length > BLOCK_BYTES - 8) return 0;
  let at = end;
  while (Math.floor((at + 8) / BLOCK_BYTES) !== Math.floor((at + length - 8) / BLOCK_BYTES))
    at += BLANK.length;
  return at - end;
}

/** A level for a new record: half of them have 1, a quarter 2 and so on. `random` gives numbers from 0 to below 1. */
export function randomLevel(random: () => number): number {
  let level = 1;
  while (level < MAX_LEVEL && random() < 0.5) level++;
  return level;
}

/** The catalog cannot be used as it is. */
export function catalogCorrupt(file: string, reason: string, offset?: number): BackupError {
  return new BackupError({
    code: 'CATALOG_CORRUPT',
    tried: 'read the catalog',
    subject: file,
    reason: offset === undefined ? reason : `${reason} (at offset ${offset})`,
    remedy: 'It only says which file is whose: csync-backup reconstruct makes it anew from the data files',
  });
}
