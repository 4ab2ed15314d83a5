import type { Dlist } from './dlist.ts';
import type { FileHeader } from './file-header.ts';
import type { BadCommand } from './limits.ts';

/**
 * What the decoder reports. Every handler may call `Decoder.pause()`. Strings hold one character per byte.
 * After applyStart comes exactly one of applyEnd and applyAbort.
 */
export interface DecoderEvents {
  /** `MAILBOX`, `LOCAL_MAILBOX`, ...: upper-cased, before any text of it. */
  applyStart(verb: string): void;
  /**
   * Text of the command as it is stored: verb without `LOCAL_`, a space, the value as sent with literals as
   * `{n}`, CRLF. Returns how many of the bytes it took; fewer than offered pauses, and what it did not take is
   * offered again at the next push. The bytes are valid only during the call.
   */
  text(bytes: Uint8Array, start: number, end: number): number;
  /** The next `size` bytes of text are the message. All text before it was taken. */
  messageStart(file: FileHeader): void;
  /** All text up to the end of the message was taken. */
  messageEnd(): void;
  /**
   * Each scalar directly inside the top-level `%( )`, its key upper-cased, or a bare top-level scalar with key
   * ''. null is NIL. Values over 4 KiB are not reported. May come before the text that holds it.
   */
  field(key: string, value: string | null): void;
  /**
   * Each scalar of a list that is a field (`GUID (a b)`), or of a bare list with key ''. As `field` otherwise.
   */
  item?(key: string, value: string | null): void;
  /** The line is complete and well-formed, and all of its text was taken. */
  applyEnd(): void;
  /** The command is no good: forget its text. The rest of its line is skipped without further events. */
  applyAbort(reason: BadCommand): void;
  /** A complete GET; the name is upper-cased. */
  get(name: string, value: Dlist): void;
  /**
   * Every other line: its first word upper-cased (`sent`: as it came, to be echoed as an IMAP tag), and the
   * words after it.
   */
  command(word: string, args: string[], sent: string): void;
  /** The line asked for by `expectLine`, without its end. */
  line(text: string): void;
  /** The client waits for `+ go ahead` before it sends a literal. */
  continuation(): void;
  /** A line outside APPLY that cannot be taken; the rest of it is skipped without further events. */
  bad(reason: BadCommand): void;
}
