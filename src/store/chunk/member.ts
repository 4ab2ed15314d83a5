/**
 * The gzip member (RFC 1952) that a chunk is. One under construction has no trailer yet:
 *
 * | bytes | what |
 * | --- | --- |
 * | 24 | header: `1F 8B 08`, FLG = FEXTRA, MTIME 0, XFL 0, OS 3, XLEN 12, subfield `CB` of 8 bytes: the boot tag |
 * | n | raw deflate segments, each ended by a full flush (`00 00 FF FF`) |
 * | 10 | trailer: final empty block `03 00`, CRC-32 of the content, content length mod 2^32 |
 *
 * Cyrus's own members have the plain header of 10 bytes that zlib writes, and may end without an empty block.
 */

import { readSync } from 'node:fs';

/** First line of every chunk's content. */
export const CHUNK_START_TEXT = '# cyrus backup: chunk start\r\n';
export const CHUNK_START: Uint8Array = Buffer.from(CHUNK_START_TEXT, 'latin1');

/** Bytes of the boot tag in our headers. */
export const BOOT_TAG_BYTES = 8;

/** Length of the header that we write. */
export const MEMBER_HEADER_BYTES = 24;

/** Length of the trailer that we write: final empty block, CRC-32, length. */
export const TRAILER_BYTES = 10;

/** CRC-32 and length, which end every gzip member. */
export const GZIP_FOOTER_BYTES = 8;

/** What stands before the footer of each member that we have finished: the last flush and the empty final block. */
const FINISHED_END = Buffer.from([0x00, 0x00, 0xff, 0xff, 0x03, 0x00]);

/** A header longer than this is taken for damage: neither Cyrus nor we write names or comments. */
export const MAX_HEADER_BYTES = 1024;

const FLAG_HEADER_CRC = 2;
const FLAG_EXTRA = 4;
const FLAG_NAME = 8;
const FLAG_COMMENT = 16;
const SUBFIELD_1 = 0x43; // C
const SUBFIELD_2 = 0x42; // B

export interface MemberHeader {
  /** Bytes of the header; the deflate stream begins behind it. */
  length: number;
  /** What `bootTag()` of src/platform/boot.ts gave to the writer; absent in members by Cyrus. */
  bootTag?: Uint8Array;
}

/** Header of a new member, MEMBER_HEADER_BYTES long. `tag` is BOOT_TAG_BYTES long. */
export function encodeMemberHeader(tag: Uint8Array): Uint8Array {
  const header = new Uint8Array(MEMBER_HEADER_BYTES);
  header.set([0x1f, 0x8b, 8, FLAG_EXTRA, 0, 0, 0, 0, 0, 3, 4 + BOOT_TAG_BYTES, 0]);
  header.set([SUBFIELD_1, SUBFIELD_2, BOOT_TAG_BYTES, 0], 12);
  header.set(tag.subarray(0, BOOT_TAG_BYTES), 16);
  return header;
}

/**
 * The header at `start`.
 *
 * @returns `torn` if the bytes end before the header does, `invalid` if they are no gzip header of a chunk.
 */
export function decodeMemberHeader(bytes: Uint8Array, start = 0): MemberHeader | 'torn' | 'invalid' {
  const magic = [0x1f, 0x8b, 8];
  for (let i = 0; i < magic.length; i++) {
    if (start + i >= bytes.length) return 'torn';
    if (bytes[start + i] !== magic[i]) return 'invalid';
  }
  if (start + 10 > bytes.length) return 'torn';
  const flags = bytes[start + 3]!;
  if (flags & ~(FLAG_HEADER_CRC | FLAG_EXTRA | FLAG_NAME | FLAG_COMMENT | 1)) return 'invalid';
  const header: MemberHeader = { length: 10 };
  if (flags & FLAG_EXTRA) {
    if (start + 12 > bytes.length) return 'torn';
    const extraLength = bytes[start + 10]! | (bytes[start + 11]! << 8);
    header.length = 12 + extraLength;
    if (header.length > MAX_HEADER_BYTES) return 'invalid';
    if (start + header.length > bytes.length) return 'torn';
    header.bootTag = findBootTag(bytes.subarray(start + 12, start + header.length));
  }
  for (const flag of [FLAG_NAME, FLAG_COMMENT]) {
    if ((flags & flag) === 0) continue;
    const zero = bytes.indexOf(0, start + header.length);
    if (zero === -1) return bytes.length - start > MAX_HEADER_BYTES ? 'invalid' : 'torn';
    header.length = zero + 1 - start;
    if (header.length > MAX_HEADER_BYTES) return 'invalid';
  }
  if (flags & FLAG_HEADER_CRC) header.length += 2;
  return start + header.length > bytes.length ? 'torn' : header;
}

function findBootTag(extra: Uint8Array): Uint8Array | undefined {
  for (let at = 0; at + 4 <= extra.length; ) {
    const length = extra[at + 2]! | (extra[at + 3]! << 8);
    if (extra[at] === SUBFIELD_1 && extra[at + 1] === SUBFIELD_2 && length === BOOT_TAG_BYTES) {
      return at + 4 + length <= extra.length
        ? new Uint8Array(extra.subarray(at + 4, at + 4 + length))
        : undefined;
    }
    at += 4 + length;
  }
  return undefined;
}

/** Trailer of a member whose segments have this CRC-32 and length of content. */
export function encodeTrailer(crc32: number, contentLength: number): Uint8Array {
  const trailer = new Uint8Array(TRAILER_BYTES);
  const view = new DataView(trailer.buffer);
  trailer[0] = 3;
  view.setUint32(2, crc32, true);
  view.setUint32(6, contentLength % 2 ** 32, true);
  return trailer;
}

/** Whether what ends at the file offset looks like the end of a member that we have finished. */
export function endsAsFinished(fd: number, end: number): boolean {
  const bytes = Buffer.alloc(FINISHED_END.length);
  const from = end - GZIP_FOOTER_BYTES - bytes.length;
  return (
    from >= 0 && readSync(fd, bytes, 0, bytes.length, from) === bytes.length && bytes.equals(FINISHED_END)
  );
}

/** CRC-32 and content length (mod 2^32) of the 8 bytes that end a member. */
export function decodeFooter(bytes: Uint8Array, start = 0): { crc32: number; length: number } {
  const view = new DataView(bytes.buffer, bytes.byteOffset + start, GZIP_FOOTER_BYTES);
  return { crc32: view.getUint32(0, true), length: view.getUint32(4, true) };
}
