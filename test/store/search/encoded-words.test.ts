import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { decodeExtendedParameters, decodeHeader } from '../../../src/store/search/encoded-words.ts';

describe('encoded words', () => {
  test.each([
    ['plain', 'plain'],
    ['=?utf-8?Q?Rechnung_f=C3=BCr_M=C3=A4rz?=', 'Rechnung für März'],
    ['=?UTF-8?B?8J+YgA==?= and =?iso-8859-1?q?=FC?=', '😀 and ü'],
    ['=?utf-8*de?Q?=C3=BC?=', 'ü'],
    // A character in two words, and one word in a charset that nobody knows.
    ['=?utf-8?Q?=C3?=\t =?utf-8?Q?=BC?=', 'ü'],
    ['=?x-unknown?Q?=C3=BC?=', 'ü'],
    ['=?iso-2022-jp?B?GyRCRnxLXBsoQg==?=', '日本'],
    ['=?ks_c_5601-1987?B?x9GxuQ==?=', '한국'],
    ['"=?utf-8?Q?M=C3=BCller,_Anne?=" <a@example.org>', '"Müller, Anne" <a@example.org>'],
    ['=?utf-8?Q?a?==?utf-8?Q?b?=', 'ab'],
    // Not encoded at all: UTF-8, else windows-1252.
    ['f\u00c3\u00bcr', 'für'],
    ['f\u00fcr \u0080', 'für €'],
    // No encoded words, or broken ones.
    ['=?utf-8?X?abc?=', '=?utf-8?X?abc?='],
    ['=?utf-8?Q?abc', '=?utf-8?Q?abc'],
    ['=?utf-8?Q?=ZZ=4?=', '=ZZ=4'],
  ])('%s', (raw, text) => {
    expect(decodeHeader(raw)).toBe(text);
  });

  test('any text, in any number of words, in quoted or base64 form', () => {
    const word = fc.record({
      length: fc.integer({ min: 1, max: 30 }),
      encoding: fc.constantFrom('B', 'Q', 'b', 'q'),
    });
    fc.assert(
      fc.property(
        fc.string({ unit: 'binary', minLength: 1 }),
        fc.array(word, { minLength: 1 }),
        (text, words) => {
          const bytes = Buffer.from(text, 'utf8');
          const parts: string[] = [];
          for (let at = 0, n = 0; at < bytes.length; n++) {
            const { length, encoding } = words[n % words.length]!;
            const piece = bytes.subarray(at, at + length);
            const encoded = encoding.toUpperCase() === 'B' ? piece.toString('base64') : quoted(piece);
            parts.push(`=?utf-8?${encoding}?${encoded}?=`);
            at += length;
          }
          expect(decodeHeader(parts.join(' '))).toBe(
            Buffer.from(text, 'utf8')
              .toString('utf8')
              .replace(/^\ufeff/, ''),
          );
        },
      ),
    );
  });

  test('no bytes at all make it fail', () => {
    const token = fc.constantFrom('=?', '?=', '?Q?', '?b?', '=C3', '=4', 'utf-16', 'iso-2022-jp', ' ', '*');
    const byte = fc.nat(255).map((code) => String.fromCharCode(code));
    const noise = fc.array(fc.oneof(token, byte), { maxLength: 20 }).map((parts) => parts.join(''));
    fc.assert(fc.property(noise, (raw) => typeof decodeHeader(raw) === 'string'));
  });

  test('parameters of RFC 2231', () => {
    expect(decodeExtendedParameters("attachment; filename*=utf-8''r%C3%A9sum%C3%A9.pdf; size=3")).toBe(
      'attachment; filename=résumé.pdf; size=3',
    );
  });
});

function quoted(bytes: Buffer): string {
  return [...bytes].map((byte) => `=${byte.toString(16).toUpperCase().padStart(2, '0')}`).join('');
}
