/**
 * The text of a message as it streams by: parts that are text, decoded, and the headers of parts and of messages in
 * messages. Memory is a piece and the longest line that may be a boundary, whatever the message. It takes what mail
 * there is: a part whose end is missing ends with what surrounds it.
 */
import { CharsetStream } from './charset.ts';
import { HtmlText } from './html-text.ts';
import { behindBlankLine, endOfHead, MessageHead } from './message-head.ts';
import { newTransferDecoder, type TransferDecoder } from './transfer-encoding.ts';

export interface MimeTextEvents {
  /** The header of a part. */
  partHead(head: MessageHead): void;
  /** More of the part's text as it was written, and for HTML of what a reader sees. */
  text(text: string): void;
  visibleText(text: string): void;
  /** No text goes on behind this. */
  textEnd(): void;
}

/** RFC 2046 allows 70 characters. */
const MAX_BOUNDARY_LINE = 1000;
/** A header of a part that is longer is cut, and the rest is its text. */
const MAX_HEAD = 1 << 20;
/** Parts in parts. What lies deeper is no mail. */
const MAX_DEPTH = 64;

/** A part that is text. */
interface TextPart {
  transfer: TransferDecoder;
  charset: CharsetStream;
  html: HtmlText | undefined;
}

export class MimeText {
  readonly #events: MimeTextEvents;
  /** Of the multiparts that we are in, the outermost first. `isDigest`: its parts are messages unless they say. */
  #open: { boundary: string; isDigest: boolean }[] = [];
  /** `head`: at the beginning of a part. `text`: inside one that is text. `other`: inside anything else. */
  #state: 'head' | 'text' | 'other' = 'other';
  #part: TextPart | undefined;
  /** What was not looked at yet, one character for each byte. */
  #rest = '';
  /** #rest begins at the beginning of a line. */
  #isLineStart = true;

  /** @param head of the whole message; its body is what is pushed */
  constructor(head: MessageHead, events: MimeTextEvents) {
    this.#events = events;
    this.#begin(head, false);
  }

  /** Nothing that is pushed from now on can be text. */
  get isOver(): boolean {
    return this.#state === 'other' && this.#open.length === 0;
  }

  push(bytes: Uint8Array): void {
    const text = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('latin1');
    this.#rest = this.#rest === '' ? text : this.#rest + text;
    this.#work(false);
  }

  finish(): void {
    this.#work(true);
    this.#endPart();
    this.#open = [];
    this.#state = 'other';
  }

  #work(isEnd: boolean): void {
    while (this.#rest !== '' && !this.isOver) {
      const goesOn = this.#state === 'head' ? this.#readHead(isEnd) : this.#readBody(isEnd);
      if (!goesOn) return;
    }
    if (this.isOver) this.#rest = '';
  }

  /** @returns whether there is more to do */
  #readHead(isEnd: boolean): boolean {
    const text = this.#rest;
    const boundary = this.#findBoundary(text, 0, true);
    // No farther than the boundary: there may be very many of them.
    const end = endOfHead(boundary === undefined ? text : text.slice(0, boundary.behind));
    if (boundary !== undefined && boundary.at < (end ?? text.length)) {
      // A part without a body.
      this.#begin(new MessageHead(text.slice(0, boundary.at)), this.#isInDigest);
      this.#endPart();
      this.#cross(boundary);
      return true;
    }
    if (end === undefined && !isEnd && text.length < MAX_HEAD) return false;
    const head = new MessageHead(text.slice(0, end));
    this.#rest = end === undefined ? '' : text.slice(behindBlankLine(text, end));
    this.#isLineStart = true;
    this.#begin(head, this.#isInDigest);
    return true;
  }

  #readBody(isEnd: boolean): boolean {
    const text = this.#rest;
    const boundary = this.#findBoundary(text, 0, this.#isLineStart);
    if (boundary !== undefined) {
      this.#emit(text.slice(0, boundary.at));
      this.#endPart();
      this.#cross(boundary);
      return true;
    }
    const cut = isEnd ? text.length : this.#mayBeBoundary(text);
    this.#emit(text.slice(0, cut));
    if (cut > 0) this.#isLineStart = text[cut - 1] === '\n';
    this.#rest = text.slice(cut);
    return false;
  }

  /** From where on a boundary of which the end is not there yet may stand. */
  #mayBeBoundary(text: string): number {
    if (this.#open.length === 0) return text.length;
    const lf = text.lastIndexOf('\n');
    const lineStart = lf + 1;
    const isCandidate =
      (lf !== -1 || this.#isLineStart) &&
      '--'.startsWith(text.slice(lineStart, lineStart + 2)) &&
      text.length - lineStart < MAX_BOUNDARY_LINE;
    if (isCandidate) return beforeLineEnd(text, lineStart);
    return text.endsWith('\r') ? text.length - 1 : text.length;
  }

  /** The first line that is a boundary of a part that we are in. */
  #findBoundary(text: string, from: number, isLineStart: boolean): Boundary | undefined {
    if (this.#open.length === 0) return undefined;
    let at = isLineStart && text.startsWith('--', from) ? from : nextDashes(text, from);
    for (; at !== -1; at = nextDashes(text, at)) {
      const lf = text.indexOf('\n', at);
      if (lf === -1) return undefined;
      if (lf - at > MAX_BOUNDARY_LINE) continue;
      const line = text.slice(at + 2, lf).trimEnd();
      const depth = this.#open.findLastIndex(
        ({ boundary }) =>
          line.startsWith(boundary) &&
          (line.length === boundary.length || line.slice(boundary.length) === '--'),
      );
      if (depth === -1) continue;
      const isLast = line !== this.#open[depth]!.boundary;
      return { at: beforeLineEnd(text, at), behind: lf + 1, depth, isLast };
    }
    return undefined;
  }

  #cross({ behind, depth, isLast }: Boundary): void {
    this.#open.length = isLast ? depth : depth + 1;
    this.#state = isLast ? 'other' : 'head';
    this.#rest = this.#rest.slice(behind);
    this.#isLineStart = true;
  }

  get #isInDigest(): boolean {
    return this.#open.at(-1)?.isDigest ?? false;
  }

  /** A message or part begins whose header this is. */
  #begin(head: MessageHead, isInDigest: boolean): void {
    this.#events.partHead(head);
    const { type, boundary, charset } = contentType(head, isInDigest);
    const encoding = (head.raw('content-transfer-encoding') ?? '').trim().toLowerCase();
    this.#state = 'other';
    if (type.startsWith('multipart/') && boundary !== undefined && this.#open.length < MAX_DEPTH) {
      this.#open.push({ boundary, isDigest: type === 'multipart/digest' });
    } else if (type === 'message/rfc822' && !['base64', 'quoted-printable'].includes(encoding)) {
      this.#state = 'head';
    } else if (type.startsWith('text/') || type.startsWith('message/') || type.startsWith('multipart/')) {
      this.#state = 'text';
      this.#part = {
        transfer: newTransferDecoder(encoding),
        charset: new CharsetStream(charset),
        html: type === 'text/html' ? new HtmlText() : undefined,
      };
    }
  }

  #emit(text: string): void {
    if (this.#part === undefined || text === '') return;
    const { transfer, charset, html } = this.#part;
    this.#give(charset.push(transfer.push(text)), html);
  }

  #give(text: string, html: HtmlText | undefined): void {
    if (text === '') return;
    this.#events.text(text);
    if (html !== undefined) this.#events.visibleText(html.push(text));
  }

  #endPart(): void {
    if (this.#part === undefined) return;
    const { transfer, charset, html } = this.#part;
    this.#part = undefined;
    this.#give(charset.push(transfer.finish()) + charset.finish(), html);
    if (html !== undefined) this.#events.visibleText(html.finish());
    this.#events.textEnd();
  }
}

interface Boundary {
  /** The line end before it belongs to it. */
  at: number;
  /** Where the next line begins. */
  behind: number;
  /** Which of the open multiparts. */
  depth: number;
  isLast: boolean;
}

/** Where the next line begins that begins with two dashes; -1 if none does. */
function nextDashes(text: string, from: number): number {
  const at = text.indexOf('\n--', from);
  return at === -1 ? -1 : at + 1;
}

/** A line begins at `at`: where the one before ends. */
function beforeLineEnd(text: string, at: number): number {
  if (text[at - 1] !== '\n') return at;
  return text[at - 2] === '\r' ? at - 2 : at - 1;
}

function contentType(
  head: MessageHead,
  isInDigest: boolean,
): { type: string; boundary: string | undefined; charset: string | undefined } {
  const raw = head.raw('content-type') ?? (isInDigest ? 'message/rfc822' : 'text/plain');
  const type = raw.split(';', 1)[0]!.trim().toLowerCase();
  return {
    type: type.includes('/') ? type : 'text/plain',
    boundary: parameter(raw, 'boundary')?.trimEnd(),
    charset: parameter(raw, 'charset'),
  };
}

function parameter(value: string, name: string): string | undefined {
  for (const [, of, quoted, plain] of value.matchAll(
    /;\s*([^\s=;"]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s;]*))/g,
  )) {
    if (of!.toLowerCase() !== name) continue;
    const text = quoted === undefined ? plain! : quoted.replaceAll(/\\(.)/g, '$1');
    return text === '' ? undefined : text;
  }
  return undefined;
}
