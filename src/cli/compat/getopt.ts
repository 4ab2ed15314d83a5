/**
 * Command lines as getopt_long(3) of the GNU C library takes them apart: bundled short options, values attached or
 * in the next word, options behind operands (unless POSIXLY_CORRECT is set), unique abbreviations of long options.
 */

export type TakesValue = 'no' | 'yes' | 'optional';

export interface OptionTable {
  /** By letter; `optional`: the value is taken only where it is attached. */
  short: Record<string, TakesValue>;
  /** Long names: the letter that they stand for, and whether they take a value. */
  long: Record<string, { letter: string; value: TakesValue }>;
}

export type ParsedOption =
  | { kind: 'option'; letter: string; value?: string }
  /** A value is missing at the end of the command line. */
  | { kind: 'missing'; letter: string }
  /** `text` says what is wrong, as getopt_long does. */
  | { kind: 'unknown'; text: string };

export interface ParsedLine {
  /** In the order in which they stand. */
  options: ParsedOption[];
  operands: string[];
}

export function parseCommandLine(argv: readonly string[], table: OptionTable): ParsedLine {
  const line: ParsedLine = { options: [], operands: [] };
  const inOrder = process.env.POSIXLY_CORRECT !== undefined;
  const words = [...argv];
  for (let word = words.shift(); word !== undefined; word = words.shift()) {
    if (word === '--') {
      line.operands.push(...words);
      return line;
    }
    if (word.startsWith('--')) {
      line.options.push(longOption(word.slice(2), words, table));
    } else if (word.startsWith('-') && word !== '-') {
      shortOptions(word.slice(1), words, table, line.options);
    } else {
      line.operands.push(word);
      if (!inOrder) continue;
      line.operands.push(...words);
      return line;
    }
  }
  return line;
}

function longOption(text: string, words: string[], table: OptionTable): ParsedOption {
  const equals = text.indexOf('=');
  const name = equals === -1 ? text : text.slice(0, equals);
  const attached = equals === -1 ? undefined : text.slice(equals + 1);
  const names = Object.keys(table.long);
  const matching = names.includes(name) ? [name] : names.filter((long) => long.startsWith(name));
  if (matching.length === 0) return { kind: 'unknown', text: `unrecognized option '--${name}'` };
  if (matching.length > 1) {
    const candidates = matching.map((long) => `'--${long}'`).join(' ');
    return { kind: 'unknown', text: `option '--${name}' is ambiguous; possibilities: ${candidates}` };
  }
  const { letter, value: takes } = table.long[matching[0]!]!;
  if (takes === 'no') {
    if (attached === undefined) return { kind: 'option', letter };
    return { kind: 'unknown', text: `option '--${matching[0]}' doesn't allow an argument` };
  }
  const value = attached ?? (takes === 'yes' ? words.shift() : undefined);
  if (value === undefined && takes === 'yes') return { kind: 'missing', letter };
  return value === undefined ? { kind: 'option', letter } : { kind: 'option', letter, value };
}

function shortOptions(letters: string, words: string[], table: OptionTable, options: ParsedOption[]): void {
  for (let at = 0; at < letters.length; at++) {
    const letter = letters[at]!;
    const takes = table.short[letter];
    if (takes === undefined) {
      options.push({ kind: 'unknown', text: `invalid option -- '${letter}'` });
      continue;
    }
    if (takes === 'no') {
      options.push({ kind: 'option', letter });
      continue;
    }
    const attached = letters.slice(at + 1);
    const value = attached !== '' ? attached : takes === 'yes' ? words.shift() : undefined;
    if (value !== undefined) options.push({ kind: 'option', letter, value });
    else options.push(takes === 'yes' ? { kind: 'missing', letter } : { kind: 'option', letter });
    return;
  }
}
