/** Named byte values of the protocol and the classes of bytes by which tokens end. */

export const NUL = 0x00;
export const TAB = 0x09;
export const LF = 0x0a;
export const VT = 0x0b;
export const FF = 0x0c;
export const CR = 0x0d;
export const SP = 0x20;
export const QUOTE = 0x22;
export const HASH = 0x23;
export const PERCENT = 0x25;
export const LPAREN = 0x28;
export const RPAREN = 0x29;
export const PLUS = 0x2b;
export const DIGIT_0 = 0x30;
export const DIGIT_9 = 0x39;
export const BACKSLASH = 0x5c;
export const LBRACE = 0x7b;
export const RBRACE = 0x7d;

/** 1 for each byte that ends an atom: white space, parentheses, the double quote and NUL. */
export const ENDS_ATOM: Uint8Array = classOf([NUL, TAB, LF, VT, FF, CR, SP, LPAREN, RPAREN, QUOTE]);

/** 1 for each byte that ends a run inside a quoted string. */
export const ENDS_QUOTED_RUN: Uint8Array = classOf([NUL, LF, CR, QUOTE, BACKSLASH]);

function classOf(members: number[]): Uint8Array {
  const table = new Uint8Array(256);
  for (const member of members) table[member] = 1;
  return table;
}

export function isDigit(byte: number): boolean {
  return byte >= DIGIT_0 && byte <= DIGIT_9;
}

/**
 * One more decimal digit. Sizes beyond what a number holds exactly stay at the largest safe integer: they are
 * over every limit anyway, and nobody can send that many bytes.
 */
export function addDigit(value: number, byte: number): number {
  return Math.min(value * 10 + (byte - DIGIT_0), Number.MAX_SAFE_INTEGER);
}

/** Bytes as a string of one character per byte; how this layer hands text to its callers. */
export function latin1(bytes: Uint8Array, from: number, to: number): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset + from, to - from).toString('latin1');
}
