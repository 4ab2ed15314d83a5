import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  type ContentConditions,
  ContentMatcher,
  MessageSearch,
} from '../../../src/store/search/message-search.ts';

const NONE: ContentConditions = { headers: [], sentSince: undefined, sentBefore: undefined, texts: [] };

function finds(
  message: string | Buffer,
  conditions: Partial<ContentConditions>,
  cuts: number[] = [],
): boolean {
  const search = new MessageSearch(new ContentMatcher({ ...NONE, ...conditions }));
  const bytes = Buffer.from(message as string, 'latin1');
  let at = 0;
  for (const cut of [...cuts.filter((cut) => cut < bytes.length).sort((a, b) => a - b), bytes.length]) {
    const piece = Buffer.from(bytes.subarray(at, cut)); // as a reader's buffer: gone with the next piece
    at = cut;
    const goesOn = search.push(piece);
    piece.fill(0);
    if (!goesOn) break;
  }
  return search.finish() !== undefined;
}

const part = (head: string, body: string): string => `${head}\r\n\r\n${body}`;
const multipart = (boundary: string, ...parts: string[]): string =>
  `${parts.map((text) => `--${boundary}\r\n${text}\r\n`).join('')}--${boundary}--\r\n`;

const MIXED = part(
  'Subject: =?utf-8?Q?Gr=C3=BC=C3=9Fe?=\r\nContent-Type: multipart/mixed; boundary="=_out er"',
  `preamble words\r\n${multipart(
    '=_out er',
    part(
      'Content-Type: multipart/alternative; boundary=in',
      multipart(
        'in',
        part(
          'Content-Type: text/plain; charset=iso-8859-1\r\nContent-Transfer-Encoding: quoted-printable',
          'Der Betrag f=FCr die Rech=\r\nnung ist\r\nf=E4llig. --in\r\n--inside a line',
        ),
        part(
          'Content-Type: text/html; charset=utf-8\r\nContent-Transfer-Encoding: base64',
          Buffer.from(
            '<p>A<b>b</b>satz &uuml;ber&nbsp;<a href="https://shop.example/x1">das&#x20AC;</a></p><p>Ende</p>',
          )
            .toString('base64')
            .replaceAll(/.{20}/g, '$&\r\n'),
        ),
      ),
    ),
    part(
      "Content-Type: application/pdf\r\nContent-Disposition: attachment; filename*=utf-8''B%C3%A4r.pdf\r\nContent-Transfer-Encoding: base64",
      Buffer.from('hidden words').toString('base64'),
    ),
    part('Content-Type: message/rfc822', part('Subject: forwarded thing\r\nFrom: x@y', 'inner body')),
  )}epilogue words`,
);

describe('a message', () => {
  test.each([
    'grüße', // the subject
    'betrag FÜR die Rechnung',
    'rechnung   ist fällig',
    '--inside a line',
    'Absatz über das€',
    'shop.example/x1',
    'bär.pdf',
    'forwarded thing',
    'inner body',
  ])('has the text %s, however it is cut', (text) => {
    expect(finds(MIXED, { texts: [text] })).toBe(true);
    fc.assert(
      fc.property(fc.array(fc.nat(MIXED.length), { maxLength: 12 }), (cuts) => {
        expect(finds(MIXED, { texts: [text] }, cuts)).toBe(true);
      }),
      { numRuns: 25 },
    );
    const each = Array.from({ length: MIXED.length }, (_, at) => at);
    expect(finds(MIXED, { texts: [text] }, each)).toBe(true);
  });

  test.each(['hidden words', 'preamble', 'epilogue', 'fällig.Absatz', 'no such', 'das€Ende'])(
    'does not have the text %s',
    (text) => {
      expect(finds(MIXED, { texts: [text] })).toBe(false);
    },
  );

  test('all of several texts', () => {
    expect(finds(MIXED, { texts: ['Betrag', 'inner'] })).toBe(true);
    expect(finds(MIXED, { texts: ['Betrag', 'outer'] })).toBe(false);
  });

  test('fields and the date', () => {
    const mail =
      'From: "M\u00fcller" <m@example.org>\r\nDate: Mon, 23 Nov 2026 10:00:00 +0000\r\nX-Spam:\r\n\r\n';
    const at = Date.UTC(2026, 10, 23, 10) / 1000;
    expect(finds(mail, { headers: [{ name: 'from', text: 'MÜLLER' }] })).toBe(true);
    expect(finds(mail, { headers: [{ name: 'from', text: 'mu\u0308ller' }] })).toBe(true);
    expect(finds(mail, { headers: [{ name: 'to', text: '' }] })).toBe(false);
    expect(finds(mail, { headers: [{ name: 'x-spam', text: '' }] })).toBe(true);
    expect(finds(mail, { headers: [{ name: 'from', text: 'm.ller' }] })).toBe(false); // no pattern
    expect(finds(mail, { sentSince: at, sentBefore: at + 1 })).toBe(true);
    expect(finds(mail, { sentSince: at + 1 })).toBe(false);
    expect(finds(mail, { sentBefore: at })).toBe(false);
  });

  test('broken ones: ends missing, boundaries in headers, parts in parts without end', () => {
    const open = part(
      'Content-Type: multipart/mixed; boundary=b',
      '--b\r\nContent-Type: text/plain\r\n\r\nthe end',
    );
    expect(finds(open, { texts: ['the end'] })).toBe(true);
    const noBody = part(
      'Content-Type: multipart/mixed; boundary=b',
      '--b\r\nX-A: 1\r\n--b\r\n\r\nsecond\r\n--b--',
    );
    expect(finds(noBody, { texts: ['second'] })).toBe(true);
    const deep = Array.from(
      { length: 200 },
      (_, n) => `Content-Type: multipart/mixed; boundary=b${n}\r\n\r\n--b${n}\r\n`,
    );
    expect(finds(`${deep.join('')}\r\n\r\nfar down`, { texts: ['no'] })).toBe(false);
    expect(finds('', { texts: ['x'] })).toBe(false);
    expect(finds('no header\r\nat all', {})).toBe(true);
  });

  test('no bytes at all make it fail', () => {
    const type = fc.constantFrom('text/html', 'multipart/mixed; boundary=b', 'message/rfc822');
    const token = fc.oneof(
      type.map((name) => `Content-Type: ${name}\r\n`),
      fc.constantFrom('\r\n', '\n', '--b', '--b--', '=C3', '<p', '>', '&#1', '\r', '-'),
      fc.nat(255).map((code) => String.fromCharCode(code)),
    );
    const noise = fc.array(token, { maxLength: 40 }).map((parts) => parts.join(''));
    fc.assert(
      fc.property(noise, fc.array(fc.nat(60)), (message, cuts) => {
        // Whatever it says, it says the same in one piece.
        expect(finds(message, { texts: ['p'] }, cuts)).toBe(finds(message, { texts: ['p'] }));
      }),
      { numRuns: 1000 },
    );
  });

  // Some of these took minutes once: each character, line or part that is looked at more than once counts.
  test.each([
    ['a tag that never ends', part('Content-Type: text/html', `<${'a'.repeat(1e6)}<${'a'.repeat(1e6)}`)],
    ['lines that are no fields', `${'x\r\n'.repeat(3e5)}\r\n`],
    ['very many parts', part('Content-Type: multipart/mixed; boundary=b', '--b\n'.repeat(2e5))],
    ['lines like boundaries', part('Content-Type: multipart/mixed; boundary=b', '--c\n'.repeat(3e5))],
    ['encoded words without end', `Subject: ${'=?utf-8?Q?a'.repeat(5e4)}\r\n\r\n`],
    ['a parameter without end', `Content-Type: text/plain${`;${' '.repeat(100)}a="`.repeat(5e3)}\r\n\r\n`],
    ['blanks', part('Subject: b', ` ${' \r\n'.repeat(5e5)}`)],
    ['quoted-printable', part('Content-Transfer-Encoding: quoted-printable', `=${' '.repeat(1e6)}`)],
  ])('made up to be slow: %s', (_, mail) => {
    const cuts = Array.from({ length: Math.floor(mail.length / 250_000) }, (__, n) => (n + 1) * 250_000);
    expect(finds(mail, { texts: ['no such words'] }, cuts)).toBe(false);
  });

  test('a text of any kind in any charset, encoding and part', () => {
    const needle = fc.stringMatching(/^[a-zäöüé€]{4,12}( [a-zäöüé]{1,9}){0,2}$/);
    const filler = fc.stringMatching(/^[A-Z \r\n.,]{0,300}$/);
    const charset = fc.constantFrom('utf-8', 'windows-1252', 'utf-16le', undefined);
    const encoding = fc.constantFrom('base64', 'quoted-printable', '8bit');
    fc.assert(
      fc.property(
        needle,
        filler,
        filler,
        charset,
        encoding,
        fc.array(fc.nat(2000)),
        (text, before, after, cs, enc, cuts) => {
          fc.pre(!(cs === 'utf-16le' && enc === '8bit'));
          const bytes = encodeText(`${before}\r\n${text}\r\n${after}`, cs ?? 'utf-8');
          const type = `Content-Type: text/plain${cs === undefined ? '' : `; charset="${cs}"`}`;
          const body = part(`${type}\r\nContent-Transfer-Encoding: ${enc}`, encodeTransfer(bytes, enc));
          const mail = part('Content-Type: multipart/mixed; boundary=xx', multipart('xx', body));
          expect(finds(mail, { texts: [text] }, cuts)).toBe(true);
          expect(finds(mail, { texts: [`${text}q`] }, cuts)).toBe(false);
        },
      ),
    );
  });
});

function encodeText(text: string, charset: string): Buffer {
  if (charset === 'windows-1252') return Buffer.from(text.replaceAll('€', '\u0080'), 'latin1');
  return Buffer.from(text, charset as BufferEncoding);
}

function encodeTransfer(bytes: Buffer, encoding: string): string {
  if (encoding === '8bit') return bytes.toString('latin1');
  if (encoding === 'base64') return bytes.toString('base64').replaceAll(/.{76}/g, '$&\r\n');
  const quoted = [...bytes].map((byte) =>
    byte === 0x3d || byte > 0x7e || (byte < 0x20 && byte !== 10 && byte !== 13)
      ? `=${byte.toString(16).toUpperCase().padStart(2, '0')}`
      : String.fromCharCode(byte),
  );
  // Soft line ends in the middle of words.
  return quoted
    .map((piece, at) => (at % 50 === 49 && piece !== '\n' && piece !== '\r' ? `${piece}=\r\n` : piece))
    .join('');
}
