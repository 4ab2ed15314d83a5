/** The kinds of value that an option can have: how each is read, printed and described. */
import path from 'node:path';
import { parseDuration, parseSize, printDuration, printSize, ValueError } from './units.ts';

export interface ValueType<T> {
  /** For people: `switch`, `duration`. */
  name: string;
  /** For people: what may stand in the file, without a full stop. */
  allowed: string;
  /** @throws ValueError */
  parse(text: string): T;
  /** Text that parse() reads back to the same value. */
  print(value: T): string;
  /** The text may begin with `{configdirectory}` or `{temp_path}`. */
  isPath?: boolean;
}

const ON = new Set(['1', 'y', 'yes', 't', 'true', 'on']);
const OFF = new Set(['0', 'n', 'no', 'f', 'false', 'off']);

export const switchValue: ValueType<boolean> = {
  name: 'switch',
  allowed: 'yes, on, true, t or 1; no, off, false, f or 0',
  parse(text) {
    const word = text.toLowerCase();
    if (ON.has(word)) return true;
    if (OFF.has(word)) return false;
    throw new ValueError('is neither on nor off');
  },
  print: (value) => (value ? 'yes' : 'no'),
};

export const text: ValueType<string> = {
  name: 'text',
  allowed: 'any text',
  parse: printable,
  print: (value) => value,
};

/** Where something is sent; `{task}` in it stands for what it is about. */
export const taskUrl: ValueType<string> = {
  name: 'URL',
  allowed: 'http:// or https://, with {task} where the name of the task shall stand',
  parse(value) {
    const url = URL.parse(printable(value).replaceAll('{task}', 'task'));
    if (url === null || !/^https?:$/.test(url.protocol)) throw new ValueError('is no URL');
    return value;
  },
  print: (value) => value,
};

/** A path; a relative one is taken from the working directory, as Cyrus's programs do. */
export const file: ValueType<string> = {
  name: 'path',
  allowed: 'a path',
  isPath: true,
  parse: (value) => path.resolve(printable(value)),
  print: (value) => value,
};

/** A path; `off` is none: ''. */
export const fileOrOff: ValueType<string> = {
  ...file,
  allowed: 'a path; off',
  parse: (value) => (value.toLowerCase() === 'off' ? '' : file.parse(value)),
  print: (value) => value || 'off',
};

/** One path, or two separated by a comma without spaces (certificates of two kinds); `disabled` is none: ''. */
export const certificateFiles: ValueType<string> = {
  name: 'paths',
  allowed: 'a path, or two separated by a comma without spaces; disabled',
  isPath: true,
  parse(value) {
    if (value.toLowerCase() === 'disabled') return '';
    const parts = printable(value).split(',');
    if (parts.length > 2 || parts.includes('')) throw new ValueError('is not one path or two');
    return parts.map((part) => path.resolve(part)).join(',');
  },
  print: (value) => value || 'disabled',
};

/** Words separated by white space; with `commas` also by commas. */
export function words(what: string, commas = false): ValueType<string[]> {
  const separator = commas ? /[ \t,]+/ : /[ \t]+/;
  return {
    name: 'list',
    allowed: `${what}, separated by ${commas ? 'spaces or commas' : 'spaces'}`,
    parse: (value) => [...new Set(printable(value).split(separator))].filter((word) => word !== ''),
    print: (value) => value.join(' '),
  };
}

/** A whole number, decimal or as C writes it (0x1F, 017), as Cyrus reads it. Limits are inclusive. */
export function integer(min: number, max: number): ValueType<number> {
  return {
    name: 'number',
    allowed: `a whole number from ${min} to ${max}`,
    parse(value) {
      const match = /^([+-]?)(0x[0-9a-f]+|0[0-7]*|[1-9][0-9]*)$/i.exec(value);
      if (!match) throw new ValueError('is not a whole number');
      const digits = match[2]!;
      const number = Number(/^0[0-7]+$/.test(digits) ? `0o${digits}` : digits) * (match[1] === '-' ? -1 : 1);
      // -0 is 0 for everybody but Object.is.
      return inRange(number + 0, min, max, String);
    },
    print: String,
  };
}

/** Text of one of these words, exactly. */
export function oneOf<const T extends string>(...choices: T[]): ValueType<T> {
  return {
    name: 'choice',
    allowed: choices.join(', '),
    parse(value) {
      const choice = choices.find((word) => word === value);
      if (choice === undefined) throw new ValueError('is not among the choices');
      return choice;
    },
    print: (value) => value,
  };
}

/** oneOf() where yes, true, t, 1 mean `on` and no, false, f, 0 mean `off`, as for Cyrus's options of type ENUM. */
export function oneOfOrSwitch<const T extends string>(
  ...choices: (T | 'on' | 'off')[]
): ValueType<T | 'on' | 'off'> {
  const plain = oneOf(...choices);
  const synonyms: Record<string, string> = {
    '1': 'on',
    yes: 'on',
    t: 'on',
    true: 'on',
    '0': 'off',
    no: 'off',
    f: 'off',
    false: 'off',
  };
  return { ...plain, parse: (value) => plain.parse(synonyms[value] ?? value) };
}

/** Milliseconds; a number without a unit is in `unit`. Limits in milliseconds, inclusive. */
export function duration(unit: 's' | 'm' | 'h' | 'd', limits: { minMs?: number } = {}): ValueType<number> {
  const least = limits.minMs === undefined ? '' : `, at least ${printDuration(limits.minMs)}`;
  return {
    name: 'duration',
    allowed: `a duration such as 90s, 1h30m or 7d (a bare number is in ${UNIT_NAMES[unit]})${least}`,
    parse(value) {
      const ms = parseDuration(value, unit);
      return inRange(ms, limits.minMs ?? -Infinity, Infinity, printDuration);
    },
    print: printDuration,
  };
}

/** Bytes; a number without a unit is in `unit`. Limits in bytes, inclusive. */
export function size(unit: 'B' | 'K', limits: { min?: number; max?: number } = {}): ValueType<number> {
  const from = limits.min === undefined ? '' : ` from ${printSize(limits.min)}`;
  const to = limits.max === undefined ? '' : ` up to ${printSize(limits.max)}`;
  return {
    name: 'size',
    allowed: `a size such as 512K, 64M or 2G (a bare number is in ${UNIT_NAMES[unit]})${from}${to}`,
    parse(value) {
      return inRange(parseSize(value, unit), limits.min ?? -Infinity, limits.max ?? Infinity, printSize);
    },
    print: printSize,
  };
}

/** A type whose values are put through `change` after reading: for what Cyrus takes but treats as something else. */
export function changed<T>(type: ValueType<T>, note: string, change: (value: T) => T): ValueType<T> {
  return { ...type, allowed: `${type.allowed}; ${note}`, parse: (value) => change(type.parse(value)) };
}

const UNIT_NAMES = { s: 'seconds', m: 'minutes', h: 'hours', d: 'days', B: 'bytes', K: 'kibibytes' };

function inRange(value: number, min: number, max: number, print: (value: number) => string): number {
  if (value < min) throw new ValueError(`is below ${print(min)}`);
  if (value > max) throw new ValueError(`is above ${print(max)}`);
  return value;
}

function printable(value: string): string {
  if (value.includes('\ufffd')) throw new ValueError('is not valid UTF-8');
  // biome-ignore lint/suspicious/noControlCharactersInRegex: that is what is looked for
  if (/[\0-\x08\x0a-\x1f\x7f]/.test(value)) throw new ValueError('contains a control character');
  return value;
}
