import { hash } from 'node:crypto';

/**
 * Mail made up from a seed, for the demo and the benchmarks: headers as mail servers leave them, plain text,
 * quoted-printable and HTML alternatives, base64 attachments. The same seed gives the same bytes.
 *
 * Words, attachments and pictures are cut from pools that are filled once, at places that differ from message
 * to message, which makes some 500 MB/s; inside the 32 kB window of DEFLATE nothing repeats that would not
 * repeat in real mail.
 */

const LINE_CHARS = 76;
const TEXT_POOL_BYTES = 4 << 20;
const ATTACHMENT_POOL_BYTES = 12 << 20;
/** Attachments are cut at whole lines. */
const LINE_BYTES = LINE_CHARS + 2;
const BASE64 = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/';
/** 1 January 2024. */
const FIRST_DATE = 1_704_067_200;

export interface GeneratedMessage {
  bytes: Buffer;
  /** SHA-1 in hex, as Cyrus names messages. */
  guid: string;
  /** UNIX seconds. */
  internaldate: number;
}

/** Deterministic pseudo-random numbers (xorshift128; Marsaglia 2003). */
export class SeededRandom {
  #x: number;
  #y = 362_436_069;
  #z = 521_288_629;
  #w = 88_675_123;

  constructor(seed: number) {
    this.#x = (seed * 2_654_435_761 + 123_456_789) >>> 0;
    for (let skip = 0; skip < 16; skip++) this.next32();
  }

  next32(): number {
    const t = this.#x ^ (this.#x << 11);
    this.#x = this.#y;
    this.#y = this.#z;
    this.#z = this.#w;
    this.#w = (this.#w ^ (this.#w >>> 19) ^ (t ^ (t >>> 8))) >>> 0;
    return this.#w;
  }

  /** From 0 up to but not 1. */
  fraction(): number {
    return this.next32() / 2 ** 32;
  }

  /** An integer from 0 up to but not `limit`. */
  below(limit: number): number {
    return Math.floor(this.fraction() * limit);
  }

  pick<T>(values: readonly T[]): T {
    return values[this.below(values.length)]!;
  }

  /** Sizes as in real mail: most below the median, a few far above it. `spread` is sigma of the logarithm. */
  logNormal(median: number, spread: number): number {
    const angle = 2 * Math.PI * this.fraction();
    const radius = Math.sqrt(-2 * Math.log(1 - this.fraction()));
    return median * Math.exp(spread * radius * Math.cos(angle));
  }

  letters(count: number): string {
    let text = '';
    for (let at = 0; at < count; at++) text += BASE64[this.below(62)];
    return text;
  }
}

export class MailGenerator {
  readonly #random: SeededRandom;
  readonly #text: Buffer;
  readonly #quotedPrintable: Buffer;
  readonly #html: Buffer;
  readonly #binary: Buffer;
  readonly #document: Buffer;
  #date = FIRST_DATE;

  constructor(seed: number) {
    const random = new SeededRandom(seed);
    const words = vocabulary(random);
    this.#random = random;
    this.#text = textPool(random, words, (word) => word);
    // Umlauts in every tenth word or so, as in German mail.
    this.#quotedPrintable = textPool(random, words, (word) =>
      word.replace('ue', '=C3=BC').replace('ao', '=C3=A4'),
    );
    this.#html = textPool(random, words, (word) =>
      random.below(9) === 0
        ? `<td style=3D"padding:${random.below(20)}px"><a href=3D"https://${word}.example/${random.letters(8)}">${word}</a></td>`
        : word,
    );
    this.#binary = base64Pool(random, undefined);
    this.#document = base64Pool(random, this.#text);
  }

  /**
   * One message of a usual mix: of 100 some 60 short texts, 26 with an HTML alternative, 14 with attachments.
   * The mean size is about 115 kB, the largest messages have some 8 MB.
   */
  mixed(): GeneratedMessage {
    const kind = this.#random.fraction();
    if (kind < 0.6) return this.text(clamp(this.#random.logNormal(2800, 0.8), 900, 60_000));
    if (kind < 0.86) return this.alternative(clamp(this.#random.logNormal(24_000, 0.8), 3000, 300_000));
    return this.withAttachment(clamp(this.#random.logNormal(360_000, 1.25), 8000, 8_000_000));
  }

  /** Plain text; `size` bytes, but at least its header. */
  text(size: number): GeneratedMessage {
    const head = this.#header(
      'Content-Type: text/plain; charset=us-ascii\r\nContent-Transfer-Encoding: 7bit',
    );
    return this.#finish([head, this.#lines(this.#text, size - head.length)]);
  }

  /** Quoted-printable text and HTML. */
  alternative(size: number): GeneratedMessage {
    const boundary = `=_${this.#random.letters(24)}`;
    const head = this.#header(`Content-Type: multipart/alternative;\r\n\tboundary="${boundary}"`);
    const textSize = Math.min(0.2 * size, 20_000);
    return this.#finish([
      head,
      part(boundary, 'text/plain; charset=utf-8', 'quoted-printable'),
      this.#lines(this.#quotedPrintable, textSize),
      part(boundary, 'text/html; charset=utf-8', 'quoted-printable'),
      this.#lines(this.#html, size - textSize - head.length - 300),
      Buffer.from(`--${boundary}--\r\n`),
    ]);
  }

  /** Text and one to three files: pictures and archives, which do not compress, or documents, which do. */
  withAttachment(size: number): GeneratedMessage {
    const boundary = `=_${this.#random.letters(24)}`;
    const pieces = [
      this.#header(`Content-Type: multipart/mixed;\r\n\tboundary="${boundary}"`),
      part(boundary, 'text/plain; charset=utf-8', 'quoted-printable'),
      this.#lines(this.#quotedPrintable, 600 + this.#random.below(2000)),
    ];
    const files = 1 + this.#random.below(3);
    for (let file = 0; file < files; file++) {
      const document = this.#random.below(10) === 0;
      const name = `${this.#random.letters(9)}.${document ? 'csv' : this.#random.pick(['pdf', 'jpg', 'docx', 'zip'])}`;
      pieces.push(part(boundary, `application/octet-stream; name="${name}"`, 'base64'));
      const pool = document ? this.#document : this.#binary;
      for (let left = Math.max(size / files, 1000); left > 0; left -= pool.length / 2) {
        pieces.push(this.#lines(pool, Math.min(left, pool.length / 2)));
      }
    }
    return this.#finish([...pieces, Buffer.from(`--${boundary}--\r\n`)]);
  }

  #header(content: string): Buffer {
    const random = this.#random;
    this.#date += 60 + random.below(6000);
    const date = new Date(this.#date * 1000).toUTCString().replace('GMT', '+0000');
    const sender = random.letters(6).toLowerCase();
    const host = `mx${random.below(40)}.${random.letters(5).toLowerCase()}.example`;
    const at = random.below(this.#text.length - 200);
    const subject = this.#text
      .toString('latin1', at, at + 20 + random.below(40))
      .replace(/\s+/g, ' ')
      .trim();
    return Buffer.from(
      `Return-Path: <${sender}@${host}>\r\n` +
        `Received: from ${host} (${host} [192.0.2.${random.below(256)}])\r\n` +
        `\tby mail.example.org (Postfix) with ESMTPS id ${random.letters(11)}\r\n` +
        `\tfor <someone@example.org>; ${date}\r\n` +
        `Received: from [198.51.100.${random.below(256)}] by ${host} with ESMTPSA id ${random.letters(14)}; ${date}\r\n` +
        `DKIM-Signature: v=1; a=rsa-sha256; c=relaxed/relaxed; d=${host}; s=mail;\r\n` +
        `\th=from:to:subject:date:message-id; bh=${random.letters(43)}=;\r\n` +
        `\tb=${random.letters(64)}\r\n\t ${random.letters(70)}\r\n\t ${random.letters(40)}==\r\n` +
        `Message-ID: <${random.letters(22)}@${host}>\r\n` +
        `Date: ${date}\r\nFrom: ${sender} <${sender}@${host}>\r\nTo: someone@example.org\r\n` +
        `Subject: ${subject}\r\nMIME-Version: 1.0\r\n${content}\r\n\r\n`,
      'latin1',
    );
  }

  /** About `size` bytes of whole lines from a random place of a pool; the pool itself, not a copy. */
  #lines(pool: Buffer, size: number): Buffer {
    const length = Math.max(LINE_BYTES, Math.round(size / LINE_BYTES) * LINE_BYTES);
    const last = Math.floor((pool.length - length) / LINE_BYTES);
    const from = this.#random.below(last + 1) * LINE_BYTES;
    return pool.subarray(from, from + length);
  }

  #finish(pieces: Buffer[]): GeneratedMessage {
    const bytes = Buffer.concat(pieces);
    return { bytes, guid: hash('sha1', bytes), internaldate: this.#date };
  }
}

function part(boundary: string, type: string, encoding: string): Buffer {
  return Buffer.from(
    `--${boundary}\r\nContent-Type: ${type}\r\nContent-Transfer-Encoding: ${encoding}\r\n\r\n`,
    'latin1',
  );
}

function clamp(value: number, low: number, high: number): number {
  return Math.round(Math.min(Math.max(value, low), high));
}

/** Pronounceable words; the first are short and will be used most. */
function vocabulary(random: SeededRandom): string[] {
  const onsets = [
    'b',
    'd',
    'f',
    'g',
    'h',
    'k',
    'l',
    'm',
    'n',
    'p',
    'r',
    's',
    't',
    'v',
    'w',
    'st',
    'tr',
    'ch',
    'pl',
    '',
  ];
  const vowels = ['a', 'e', 'i', 'o', 'u', 'ai', 'ea', 'ue', 'ao'];
  const codas = ['', '', 'n', 's', 't', 'r', 'l', 'nd', 'ng', 'rt'];
  const words: string[] = [];
  for (let rank = 0; rank < 6000; rank++) {
    let word = '';
    const syllables = 1 + Math.floor(Math.log10(rank + 1) * 0.9) - (random.below(3) === 0 ? 1 : 0);
    for (let at = 0; at < Math.max(syllables, 1); at++)
      word += random.pick(onsets) + random.pick(vowels) + random.pick(codas);
    words.push(word);
  }
  return words;
}

/** Lines of exactly 76 characters of words, which follow Zipf's law as in natural text. */
function textPool(random: SeededRandom, words: readonly string[], dress: (word: string) => string): Buffer {
  const pool = Buffer.alloc(Math.floor(TEXT_POOL_BYTES / LINE_BYTES) * LINE_BYTES, ' ');
  let line = '';
  for (let at = 0; at < pool.length; ) {
    while (line.length < LINE_CHARS) {
      const word = dress(words[Math.floor(words.length ** random.fraction()) - 1]!);
      line += random.below(14) === 0 ? `${word}. ` : `${word} `;
    }
    pool.write(`${line.slice(0, LINE_CHARS)}\r\n`, at, 'latin1');
    line = line.slice(LINE_CHARS);
    at += LINE_BYTES;
  }
  return pool;
}

/** Lines of base64: of random bytes, or of a text. */
function base64Pool(random: SeededRandom, source: Buffer | undefined): Buffer {
  const lines = Math.floor((source?.length ?? (ATTACHMENT_POOL_BYTES / 4) * 3) / ((LINE_CHARS / 4) * 3));
  const raw = Buffer.alloc(lines * (LINE_CHARS / 4) * 3);
  if (source !== undefined) source.copy(raw);
  else for (let at = 0; at + 4 <= raw.length; at += 4) raw.writeUInt32LE(random.next32(), at);
  const text = raw.toString('base64');
  const pool = Buffer.alloc(lines * LINE_BYTES);
  for (let line = 0; line < lines; line++) {
    pool.write(`${text.slice(line * LINE_CHARS, (line + 1) * LINE_CHARS)}\r\n`, line * LINE_BYTES, 'latin1');
  }
  return pool;
}
