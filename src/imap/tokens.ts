/** Values in the lines of an IMAP or ManageSieve server (RFC 3501, section 9): one character a byte. */

/** An atom, a string or a literal; NIL is null, a parenthesised list an array. */
export type Token = string | null | Token[];

const LITERAL = /~?\{(\d+)\+?\}\r?\n/y;

/** All values of a unit from a place on. What is broken ends at its end: nothing is thrown. */
export function readTokens(unit: Buffer, from = 0): Token[] {
  const text = unit.toString('latin1');
  let at = from;

  function list(end: string | undefined): Token[] {
    const items: Token[] = [];
    for (;;) {
      while (text[at] === ' ' || text[at] === '\r' || text[at] === '\n') at++;
      if (at >= text.length) return items;
      const char = text[at]!;
      if (char === end) {
        at++;
        return items;
      }
      if (char === '(') {
        at++;
        items.push(list(')'));
      } else if (char === '"') items.push(quoted());
      else items.push(literal() ?? atom());
    }
  }

  function quoted(): string {
    let value = '';
    for (at++; at < text.length && text[at] !== '"'; at++) {
      if (text[at] === '\\') at++;
      value += text[at] ?? '';
    }
    at++;
    return value;
  }

  function literal(): string | undefined {
    LITERAL.lastIndex = at;
    const match = LITERAL.exec(text);
    if (match === null) return undefined;
    const start = at + match[0].length;
    at = start + Number(match[1]);
    return text.slice(start, at);
  }

  /** `BODY[HEADER.FIELDS (TO)]` is one. */
  function atom(): string | null {
    const start = at;
    let depth = 0;
    for (; at < text.length; at++) {
      const char = text[at]!;
      if (char === '[') depth++;
      else if (char === ']') depth--;
      else if (depth <= 0 && (char === ' ' || char === ')' || (char === '(' && at > start))) break;
      else if (char === '\r' || char === '\n') break;
    }
    if (at === start) at++;
    const value = text.slice(start, at);
    return value.toUpperCase() === 'NIL' ? null : value;
  }

  return list(undefined);
}

/** A pair list such as FETCH's, by upper-case name. */
export function pairsOf(list: Token | undefined): Map<string, Token> {
  const pairs = new Map<string, Token>();
  if (!Array.isArray(list)) return pairs;
  for (let i = 0; i + 1 < list.length; i += 2) pairs.set(String(list[i]).toUpperCase(), list[i + 1]!);
  return pairs;
}
