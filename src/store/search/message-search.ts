/** Whether a message is what is looked for, as its bytes stream by. */
import { decodeExtendedParameters } from './encoded-words.ts';
import { endOfHead, MessageHead } from './message-head.ts';
import { MimeText, type MimeTextEvents } from './mime-text.ts';
import { TextFinder, TextPattern, WantedTexts } from './text-finder.ts';

/** What only the message itself can tell; all of it must hold. */
export interface ContentConditions {
  /** A field of this name (lower case) holds the text; the empty text: there is one. */
  headers: { name: string; text: string }[];
  /** Of the field Date, in seconds since 1970: at or after, and before. */
  sentSince: number | undefined;
  sentBefore: number | undefined;
  /** In a header or in the text of the message. */
  texts: string[];
}

/** What is shown of a message that was found; null: it has no such field. */
export interface MessageFacts {
  from: string | null;
  to: string | null;
  cc: string | null;
  subject: string | null;
  messageId: string | null;
  /** The field Date, in seconds since 1970. */
  sentAt: number | null;
}

/** A header that is longer is cut: it is no mail's. */
const MAX_HEAD_BYTES = 1 << 20;

/** Whether any condition needs the message. */
export function needsContent({ headers, sentSince, sentBefore, texts }: ContentConditions): boolean {
  return headers.length > 0 || texts.length > 0 || sentSince !== undefined || sentBefore !== undefined;
}

/** Conditions, ready to be used for one message after the other. */
export class ContentMatcher {
  readonly #headers: { name: string; pattern: TextPattern }[];
  readonly #conditions: ContentConditions;
  readonly texts: TextPattern[];

  constructor(conditions: ContentConditions) {
    this.#conditions = conditions;
    this.#headers = conditions.headers.map(({ name, text }) => ({ name, pattern: new TextPattern(text) }));
    this.texts = conditions.texts.map((text) => new TextPattern(text));
  }

  matches(head: MessageHead): boolean {
    for (const { name, pattern } of this.#headers) {
      if (!head.values(name).some((value) => pattern.isIn(value))) return false;
    }
    const { sentSince, sentBefore } = this.#conditions;
    if (sentSince === undefined && sentBefore === undefined) return true;
    const at = head.sentAt;
    if (at === undefined) return false;
    return at >= (sentSince ?? at) && (sentBefore === undefined || at < sentBefore);
  }
}

export class MessageSearch {
  readonly #matcher: ContentMatcher;
  readonly #wanted: WantedTexts | undefined;
  /** Bytes of the header so far, one character each. */
  #head = '';
  #facts: MessageFacts | undefined;
  #body: MimeText | undefined;
  #isRefused = false;

  constructor(matcher: ContentMatcher) {
    this.#matcher = matcher;
    if (matcher.texts.length > 0) this.#wanted = new WantedTexts(matcher.texts);
  }

  /** @returns whether more of the message is needed */
  push(bytes: Uint8Array): boolean {
    if (this.#body !== undefined) return this.#readBody(bytes);
    const text = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('latin1');
    const from = this.#head.length;
    this.#head += text;
    // The line ends before the empty line may have come with the piece before.
    const end = from === 0 ? endOfHead(this.#head) : findEnd(this.#head, from);
    if (end === undefined && this.#head.length < MAX_HEAD_BYTES) return true;
    const headBytes = end ?? this.#head.length;
    const goesOn = this.#readHead(this.#head.slice(0, headBytes));
    return goesOn ? this.#readBody(bytes.subarray(Math.max(0, headBytes - from))) : false;
  }

  /** The message is over, or no more of it is needed. @returns undefined if it is not what is looked for */
  finish(): MessageFacts | undefined {
    if (this.#facts === undefined && !this.#isRefused) this.#readHead(this.#head);
    this.#body?.finish();
    if (this.#isRefused || this.#wanted?.isDone === false) return undefined;
    return this.#facts;
  }

  #readHead(text: string): boolean {
    const head = new MessageHead(text);
    if (!this.#matcher.matches(head)) {
      this.#isRefused = true;
      return false;
    }
    this.#facts = factsOf(head);
    const wanted = this.#wanted;
    if (wanted === undefined) return false;
    this.#body = new MimeText(head, this.#reader(wanted));
    return !this.#body.isOver && !wanted.isDone;
  }

  #reader(wanted: WantedTexts): MimeTextEvents {
    const [written, visible] = [new TextFinder(wanted), new TextFinder(wanted)];
    return {
      partHead: (head) => {
        for (const value of head.all()) wanted.lookAt(decodeExtendedParameters(value));
      },
      text: (text) => written.push(text),
      visibleText: (text) => visible.push(text),
      textEnd: () => {
        written.finish();
        visible.finish();
      },
    };
  }

  #readBody(bytes: Uint8Array): boolean {
    this.#body!.push(bytes);
    return !this.#body!.isOver && !this.#wanted!.isDone;
  }
}

function findEnd(text: string, from: number): number | undefined {
  // From a line's beginning, so that an empty line that is cut in two is seen.
  const lineStart = text.lastIndexOf('\n', Math.max(0, from - 3)) + 1;
  return endOfHead(text, lineStart);
}

function factsOf(head: MessageHead): MessageFacts {
  return {
    from: head.value('from') ?? null,
    to: head.value('to') ?? null,
    cc: head.value('cc') ?? null,
    subject: head.value('subject') ?? null,
    messageId: head.value('message-id') ?? null,
    sentAt: head.sentAt ?? null,
  };
}
