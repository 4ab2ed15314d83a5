/** Encoded words in header fields (RFC 2047), with the language of RFC 2231 passed over. */
import { decodeBytes, decodeLatin1 } from './charset.ts';

/** Blanks stand in the encoded text of some mailers, though they must not. */
const WORD = /=\?([^?*\s]+)(?:\*[^?\s]*)?\?([BbQq])\?([^?]*)\?=/g;

/**
 * The value of a field for people. Blanks between encoded words go; characters that are split between two of them are
 * put together. What is no encoded word stays, as UTF-8 if it is that, else as windows-1252.
 *
 * @param raw one character for each byte, unfolded
 */
export function decodeHeader(raw: string): string {
  if (!raw.includes('=?')) return decodeLatin1(raw);
  let text = '';
  let end = 0;
  let run: { charset: string; bytes: Buffer[] } | undefined;
  const endRun = (): void => {
    if (run !== undefined) text += decodeBytes(Buffer.concat(run.bytes), run.charset);
    run = undefined;
  };
  for (const match of raw.matchAll(WORD)) {
    const [whole, charset, encoding, encoded] = match as unknown as [string, string, string, string];
    const between = raw.slice(end, match.index);
    const isNext = run !== undefined && /^[ \t\r\n]*$/.test(between);
    if (!isNext) {
      endRun();
      text += decodeLatin1(between);
    } else if (run!.charset !== charset.toLowerCase()) endRun();
    run ??= { charset: charset.toLowerCase(), bytes: [] };
    run.bytes.push(encoding.toUpperCase() === 'B' ? Buffer.from(encoded, 'base64') : decodeQ(encoded));
    end = match.index + whole.length;
  }
  endRun();
  return text + decodeLatin1(raw.slice(end));
}

function decodeQ(encoded: string): Buffer {
  const text = encoded
    .replaceAll('_', ' ')
    .replaceAll(/=([0-9A-Fa-f]{2})/g, (_, hex: string) => String.fromCharCode(Number.parseInt(hex, 16)));
  return Buffer.from(text, 'latin1');
}

/** `name*=utf-8''r%C3%A9sum%C3%A9` (RFC 2231) as it is meant; everything else stays. */
export function decodeExtendedParameters(value: string): string {
  return value.replaceAll(
    /\*(?:0\*)?=([\w.:-]*)'[\w-]*'([^;\s]*)/g,
    (_, charset: string, encoded: string) => {
      const bytes = encoded.replaceAll(/%([0-9A-Fa-f]{2})/g, (__, hex: string) =>
        String.fromCharCode(Number.parseInt(hex, 16)),
      );
      return `=${decodeLatin1(bytes, charset === '' ? undefined : charset)}`;
    },
  );
}
