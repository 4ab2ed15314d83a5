import { addDigit, BACKSLASH, CR, ENDS_ATOM, isDigit, latin1, NUL, QUOTE, RBRACE, SP } from './bytes.ts';

/** What `%{partition guid size}` says of the message that follows it. */
export interface FileHeader {
  partition: string;
  /** 40 lower-case hex digits. */
  guid: string;
  /** Bytes. */
  size: number;
}

export interface ParsedFileHeader {
  /** Absent if the header is malformed. */
  header?: FileHeader;
  /** Present even in a malformed header if a size can be read: that many bytes follow. */
  size?: number;
  problem?: string;
}

const GUID_DIGITS = 40;
const GUID = /^[0-9a-f]{40}$/i;

/**
 * Parses what stands between `%{` and the line end, closing brace included. The partition is an atom or a
 * quoted string; only the last word decides how many bytes follow.
 */
export function parseFileHeader(bytes: Uint8Array): ParsedFileHeader {
  const brace = bytes.length - 1;
  if (brace < 0 || bytes[brace] !== RBRACE) return { problem: 'a file header does not end in a brace' };
  let digits = brace;
  while (digits > 0 && isDigit(bytes[digits - 1] as number)) digits--;
  if (digits === brace || bytes[digits - 1] !== SP) return { problem: 'a file header has no size' };
  let size = 0;
  for (let at = digits; at < brace; at++) size = addDigit(size, bytes[at] as number);

  const guidEnd = digits - 1;
  const guidStart = guidEnd - GUID_DIGITS;
  const guid = guidStart < 0 ? '' : latin1(bytes, guidStart, guidEnd);
  if (!GUID.test(guid)) return { size, problem: 'a file header has no GUID of 40 hex digits' };
  const partition = bytes[guidStart - 1] === SP ? parsePartition(bytes, guidStart - 1) : undefined;
  if (partition === undefined) return { size, problem: 'a file header has no partition' };
  return { size, header: { partition, guid: guid.toLowerCase(), size } };
}

function parsePartition(bytes: Uint8Array, end: number): string | undefined {
  if (end === 0) return undefined;
  if (bytes[0] !== QUOTE) {
    for (let at = 0; at < end; at++) if (ENDS_ATOM[bytes[at] as number] === 1) return undefined;
    return latin1(bytes, 0, end);
  }
  const name: number[] = [];
  for (let at = 1; at < end; at++) {
    let byte = bytes[at] as number;
    if (byte === QUOTE) return at === end - 1 ? Buffer.from(name).toString('latin1') : undefined;
    if (byte === BACKSLASH) byte = bytes[++at] as number;
    if (byte === NUL || byte === CR) return undefined;
    name.push(byte);
  }
  return undefined;
}
