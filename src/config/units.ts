/** Durations and byte sizes as imapd.conf(5) writes them. The grammar is that of Cyrus IMAP's lib/libconfig.c. */

/** Why a text is no value of its type. */
export class ValueError extends Error {}

const SECONDS = { s: 1, m: 60, h: 3600, d: 86_400 };
/** Cyrus counts seconds in an int. */
const MAX_SECONDS = 2 ** 31 - 1;
const BYTES = { B: 1, K: 2 ** 10, M: 2 ** 20, G: 2 ** 30 };

/**
 * `-`? then one or more of digits + `d`, `h`, `m` or `s`, which are summed; the last unit may be left out and
 * is then `defaultUnit`. Returns milliseconds.
 *
 * @throws ValueError
 */
export function parseDuration(text: string, defaultUnit: 's' | 'm' | 'h' | 'd'): number {
  const match = /^(-?)((?:[0-9]+[dhms])*)([0-9]*)$/.exec(text);
  if (!match || (match[2] === '' && match[3] === '')) throw new ValueError('is not a duration');
  let seconds = 0;
  for (const [, digits, unit] of `${match[2]}${match[3] && match[3] + defaultUnit}`.matchAll(
    /([0-9]+)([dhms])/g,
  )) {
    seconds += Number(digits) * SECONDS[unit as keyof typeof SECONDS];
  }
  if (seconds > MAX_SECONDS) throw new ValueError('is too long');
  return (match[1] === '-' ? -seconds : seconds) * 1000 + 0;
}

/** The shortest text that parseDuration() reads back. Takes whole seconds. */
export function printDuration(ms: number): string {
  let seconds = Math.abs(ms) / 1000;
  let text = '';
  for (const unit of ['d', 'h', 'm', 's'] as const) {
    const count = Math.floor(seconds / SECONDS[unit]);
    seconds -= count * SECONDS[unit];
    if (count > 0) text += `${count}${unit}`;
  }
  if (text === '') return '0s';
  return ms < 0 ? `-${text}` : text;
}

/**
 * A sign and digits, then optional spaces, then `K`, `M` or `G` (powers of 1024; also `Ki`), then `B`; all but
 * the digits may be left out, the letters may be of either case, and a bare number is in `defaultUnit`. Returns bytes.
 *
 * @throws ValueError
 */
export function parseSize(text: string, defaultUnit: 'B' | 'K'): number {
  const match = /^([+-]?[0-9]+)([ \t]*)(?:([kmg])i?)?(b?)$/i.exec(text);
  if (!match) throw new ValueError('is not a size');
  const unit = text.endsWith(match[1]!) ? defaultUnit : (match[3]?.toUpperCase() ?? 'B');
  const bytes = Number(match[1]) * BYTES[unit as keyof typeof BYTES];
  if (!Number.isSafeInteger(bytes)) throw new ValueError('is too large');
  return bytes + 0;
}

/** The shortest text that parseSize() reads back. */
export function printSize(bytes: number): string {
  if (bytes === 0) return '0';
  for (const unit of ['G', 'M', 'K'] as const) {
    if (bytes % BYTES[unit] === 0) return `${bytes / BYTES[unit]}${unit}`;
  }
  return `${bytes}B`;
}
