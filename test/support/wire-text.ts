/** Cutting csync streams into commands and answers: lines, with the literals and files that hang on them. */

/** `{12}`, `{12+}` or `%{partition guid 12}` at the end of a line: how many bytes follow it. */
const LITERAL = /(?:\{|%\{[^\s{}]+ [0-9a-f]{40} )(\d+)\+?\}\r?\n$/;

/** Longest line end that LITERAL has to see. */
const LITERAL_TAIL_BYTES = 400;

/**
 * Cuts a stream into units, each one line with the literals in it and their continuation. The bytes of an
 * unfinished last unit stay in `rest`.
 */
export function splitUnits(stream: Buffer): { units: Buffer[]; rest: Buffer } {
  const units: Buffer[] = [];
  let start = 0;
  for (;;) {
    const end = endOfUnit(stream, start);
    if (end === -1) return { units, rest: stream.subarray(start) };
    units.push(stream.subarray(start, end));
    start = end;
  }
}

/** Position after the unit that begins at `start`, or -1 if the stream ends before it does. */
export function endOfUnit(stream: Buffer, start: number): number {
  let from = start;
  for (;;) {
    const newline = stream.indexOf(0x0a, from);
    if (newline === -1) return -1;
    const tail = stream.toString('latin1', Math.max(from, newline - LITERAL_TAIL_BYTES), newline + 1);
    const literal = LITERAL.exec(tail);
    if (literal === null) return newline + 1;
    from = newline + 1 + Number(literal[1]);
    if (from > stream.length) return -1;
  }
}

/** A unit on one line for people and patterns: contents of literals and files are left out. */
export function summary(unit: Buffer): string {
  let text = '';
  let from = 0;
  while (from < unit.length) {
    const newline = unit.indexOf(0x0a, from);
    const end = newline === -1 ? unit.length : newline + 1;
    const line = unit.toString('latin1', from, end);
    const literal = LITERAL.exec(line);
    text += line.replace(/\r?\n$/, '');
    from = literal === null ? end : end + Number(literal[1]);
  }
  return text;
}

/** True for a line that ends an answer: OK, NO or BAD, a greeting's `* OK`, BYE, or a continuation. */
export function isFinal(unit: string): boolean {
  return /^(?:(?:C\d\d |Q\d\d )?(?:OK|NO|BAD|BYE)\b|\* (?:OK|BYE)\b|\+ )/.test(unit);
}

/** What of a final line a client acts on: `OK`, `NO IMAP_SYNC_CHECKSUM`, `NO`, `BAD`, `+`. */
export function kindOf(final: string): string {
  const match = /^(?:[CQ]\d\d )?(?:\* )?(OK|NO|BAD|BYE|\+)(?: (IMAP_[A-Z_]+))?/.exec(final);
  if (match === null) return final;
  return match[2] !== undefined && match[1] === 'NO' ? `NO ${match[2]}` : match[1]!;
}
