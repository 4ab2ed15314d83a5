/** Numbers, times and JSON as Cyrus's C programs write them. */

/** Seconds since 1970 as `2026-11-23 01:02:38` in the local time zone (strftime `%F %T`). */
export function localTime(seconds: number): string {
  const date = new Date(seconds * 1000);
  const two = (n: number): string => (n < 10 ? `0${n}` : String(n));
  return (
    `${date.getFullYear()}-${two(date.getMonth() + 1)}-${two(date.getDate())} ` +
    `${two(date.getHours())}:${two(date.getMinutes())}:${two(date.getSeconds())}`
  );
}

/** printf `%6.1f`. A ratio to nothing, which Cyrus prints as `-nan` or `inf`, is 0. */
export function ratioText(value: number): string {
  return (Number.isFinite(value) ? value : 0).toFixed(1).padStart(6);
}

/** A value of a JSON document. Numbers in a Real are written as real numbers. */
export type Json = null | boolean | number | string | Real | Json[] | Map<string, Json>;

/** A real number, as jansson writes it: 17 significant digits, always with a point or an exponent. */
export class Real {
  readonly value: number;
  constructor(value: number) {
    this.value = value;
  }
}

/** As jansson's json_dumps with JSON_INDENT(2) and JSON_PRESERVE_ORDER; `indent` is that of the line it stands in. */
export function jsonText(value: Json, indent = ''): string {
  const deeper = `${indent}  `;
  if (Array.isArray(value)) {
    if (value.length === 0) return '[]';
    return `[\n${value.map((item) => deeper + jsonText(item, deeper)).join(',\n')}\n${indent}]`;
  }
  if (value instanceof Map) {
    if (value.size === 0) return '{}';
    const entries = [...value].map(([key, item]) => `${deeper}${stringText(key)}: ${jsonText(item, deeper)}`);
    return `{\n${entries.join(',\n')}\n${indent}}`;
  }
  if (value instanceof Real) return realText(value.value);
  return typeof value === 'string' ? stringText(value) : String(value);
}

/** JSON of named values; those that are undefined are left out, as jansson leaves out what it cannot write. */
export function jsonObject(values: Record<string, Json | undefined>): Map<string, Json> {
  const object = new Map<string, Json>();
  for (const [key, value] of Object.entries(values)) if (value !== undefined) object.set(key, value);
  return object;
}

/** printf `%.17g` with `.0` where it has neither point nor exponent, and the exponent without plus and zeros. */
function realText(value: number): string {
  if (!Number.isFinite(value) || value === 0) return '0.0';
  const [mantissa, exponent] = value.toExponential(DIGITS - 1).split('e') as [string, string];
  const power = Number(exponent);
  if (power < -4 || power >= DIGITS) return `${trimZeros(mantissa)}e${power}`;
  const text = trimZeros(value.toFixed(Math.max(DIGITS - 1 - power, 0)));
  return text.includes('.') ? text : `${text}.0`;
}

const DIGITS = 17;

function trimZeros(digits: string): string {
  return digits.includes('.') ? digits.replace(/\.?0+$/, '') : digits;
}

const ESCAPES: Record<string, string> = {
  '"': '\\"',
  '\\': '\\\\',
  '\b': '\\b',
  '\f': '\\f',
  '\n': '\\n',
  '\r': '\\r',
  '\t': '\\t',
};

function stringText(text: string): string {
  const escaped = text.replaceAll(
    // biome-ignore lint/suspicious/noControlCharactersInRegex: these are what has to be escaped
    /["\\\u0000-\u001f]/g,
    (char) => ESCAPES[char] ?? `\\u${char.charCodeAt(0).toString(16).toUpperCase().padStart(4, '0')}`,
  );
  return `"${escaped}"`;
}

/** Words in place of Cyrus's error numbers (imap/imap_err.et). Those of ours have their own. */
const CYRUS_WORDS: Record<string, string> = {
  EXISTS: 'Mailbox already exists',
  LOCKED: 'Mailbox is locked',
  NOT_FOUND: 'Mailbox does not exist',
  INDEX_STALE: 'Mailbox has an invalid format',
  IO_ERROR: 'System I/O error',
  PERMISSION_DENIED: 'System I/O error',
  INTERNAL: 'Internal Error',
};

/** What Cyrus says about a failure; where it says only `Unknown code ____ 255`, what we know. */
export function cyrusWords(code: string, text: string): string {
  return CYRUS_WORDS[code] ?? `${code}: ${text}`;
}
