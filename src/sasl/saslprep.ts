/**
 * Prepares user names and passwords for comparison: SASLprep (RFC 4013), without its check of text that mixes
 * directions (RFC 3454, section 6) and with the Unicode of this Node instead of Unicode 3.2's.
 */

/** RFC 3454 table C.1.2: spaces that become U+0020 (U+200B is in B.1 as well). */
const SPACES = /[\u00a0\u1680\u2000-\u200a\u202f\u205f\u3000]/gu;
/** Table B.1: characters that become nothing. */
// biome-ignore lint/suspicious/noMisleadingCharacterClass: single code points are meant, not what they combine to
const NOTHING = /[\u00ad\u034f\u1806\u180b-\u180d\u200b-\u200d\u2060\ufe00-\ufe0f\ufeff]/gu;
/** Tables C.2.1 to C.9: control, private use, surrogate, not a character, and what only formats. */
const PROHIBITED = new RegExp(
  [
    '[\\p{Cc}\\p{Co}\\p{Cs}\\p{Noncharacter_Code_Point}]',
    '[\\u06dd\\u070f\\u180e\\u200e\\u200f\\u2028-\\u202e\\u2061-\\u2063\\u206a-\\u206f\\u2ff0-\\u2ffb\\ufff9-\\ufffd]',
    '[\\u{1d173}-\\u{1d17a}\\u{e0001}\\u{e0020}-\\u{e007f}]',
  ].join('|'),
  'u',
);

/** The prepared text, or undefined if it is empty or holds what is prohibited. */
export function saslprep(text: string): string | undefined {
  const mapped = text.replace(SPACES, ' ').replace(NOTHING, '').normalize('NFKC');
  return mapped === '' || PROHIBITED.test(mapped) ? undefined : mapped;
}
