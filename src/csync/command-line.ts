import {
  addDigit,
  BACKSLASH,
  CR,
  isDigit,
  LBRACE,
  LF,
  LPAREN,
  latin1,
  PLUS,
  QUOTE,
  RBRACE,
  SP,
  TAB,
} from './bytes.ts';

export interface AnnouncedLiteral {
  size: number;
  /** `{n}`: the client waits for a go-ahead before it sends the bytes. */
  synchronising: boolean;
  /** Where its opening brace stands. */
  brace: number;
}

/** The text literal announced at the end of a line (without its line end), if any. */
export function announcedLiteral(
  bytes: Uint8Array,
  start: number,
  end: number,
): AnnouncedLiteral | undefined {
  let at = end - 1;
  if (at < start || bytes[at] !== RBRACE) return undefined;
  const synchronising = bytes[at - 1] !== PLUS;
  if (!synchronising) at--;
  const digitsEnd = at;
  while (at > start && isDigit(bytes[at - 1] as number)) at--;
  if (at === digitsEnd || at - 1 < start || bytes[at - 1] !== LBRACE) return undefined;
  const before = at - 2 < start ? SP : bytes[at - 2];
  if (before !== SP && before !== TAB && before !== LPAREN) return undefined;
  const brace = at - 1;
  let size = 0;
  for (; at < digitsEnd; at++) size = addDigit(size, bytes[at] as number);
  return { size, synchronising, brace };
}

/**
 * Words of a line that is no APPLY or GET, whole with its literals but without its line end: separated by
 * white space, quoted strings unescaped, literals taken by their size; parentheses are ordinary characters.
 */
export function commandWords(bytes: Uint8Array): string[] {
  const words: string[] = [];
  let at = 0;
  while (at < bytes.length) {
    const byte = bytes[at] as number;
    if (isBlank(byte)) {
      at++;
    } else if (byte === QUOTE) {
      at = quotedWord(bytes, at + 1, words);
    } else if (byte === LBRACE) {
      at = literalWord(bytes, at, words);
    } else {
      at = plainWord(bytes, at, words);
    }
  }
  return words;
}

function isBlank(byte: number): boolean {
  return byte === SP || byte === TAB || byte === CR || byte === LF;
}

function plainWord(bytes: Uint8Array, start: number, words: string[]): number {
  let at = start;
  while (at < bytes.length && !isBlank(bytes[at] as number)) at++;
  words.push(latin1(bytes, start, at));
  return at;
}

function quotedWord(bytes: Uint8Array, start: number, words: string[]): number {
  let word = '';
  let at = start;
  for (; at < bytes.length && bytes[at] !== QUOTE; at++) {
    if (bytes[at] === BACKSLASH && at + 1 < bytes.length) at++;
    word += String.fromCharCode(bytes[at] as number);
  }
  words.push(word);
  return at + 1;
}

function literalWord(bytes: Uint8Array, start: number, words: string[]): number {
  let lineEnd = bytes.indexOf(LF, start);
  if (lineEnd === -1) return plainWord(bytes, start, words);
  const from = lineEnd + 1;
  if (bytes[lineEnd - 1] === CR) lineEnd--;
  const literal = announcedLiteral(bytes, start, lineEnd);
  if (literal?.brace !== start) return plainWord(bytes, start, words);
  words.push(latin1(bytes, from, Math.min(bytes.length, from + literal.size)));
  return from + literal.size;
}
