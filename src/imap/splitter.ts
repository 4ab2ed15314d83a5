import { BackupError } from '../platform/errors.ts';
import { UnitSplitter } from '../platform/unit-splitter.ts';

/** A line, literals included, longer than this is no answer that a server means. */
const MAX_UNIT_BYTES = 64 * 1024 * 1024;
/** The same for a line without its literals. */
const MAX_LINE_BYTES = 8 * 1024 * 1024;
const LITERAL_TAIL_BYTES = 24;
const LITERAL = /~?\{(\d{1,15})\+?\}$/;
/** Text for people, which may end in anything. */
const STATUS_TEXT = /^(?:\* )?(?:OK|NO|BAD|BYE|PREAUTH)\b/i;

export interface SplitterLimits {
  maxUnitBytes?: number;
  maxLineBytes?: number;
  /** ManageSieve: what OK and NO say may be a literal too. */
  literalsInStatus?: boolean;
}

/** What an IMAP or ManageSieve server sends; literals are `{n}`. */
export class ImapSplitter extends UnitSplitter {
  readonly #maxUnitBytes: number;
  readonly #maxLineBytes: number;
  readonly #literalsInStatus: boolean;

  constructor(limits: SplitterLimits = {}) {
    super();
    const { maxUnitBytes = MAX_UNIT_BYTES, maxLineBytes = MAX_LINE_BYTES } = limits;
    this.#literalsInStatus = limits.literalsInStatus ?? false;
    this.#maxUnitBytes = maxUnitBytes;
    this.#maxLineBytes = maxLineBytes;
  }

  protected override literalAt(lineEnd: number): number | undefined {
    const tailStart = Math.max(this.lineStart, lineEnd - LITERAL_TAIL_BYTES);
    const size = LITERAL.exec(this.bytes.toString('latin1', tailStart, lineEnd))?.[1];
    if (size === undefined) return undefined;
    const head = this.bytes.toString('latin1', this.start, Math.min(this.start + 16, lineEnd));
    const isStatus = STATUS_TEXT.test(head) || /^\w+ (?:OK|NO|BAD)\b/i.test(head);
    if (isStatus && !this.#literalsInStatus) return undefined;
    if (lineEnd - this.start + Number(size) > this.#maxUnitBytes) tooLong();
    return Number(size);
  }

  protected override checkLine(length: number): void {
    if (length > this.#maxLineBytes) tooLong();
  }
}

function tooLong(): never {
  throw new BackupError({
    code: 'LIMIT_EXCEEDED',
    tried: 'read',
    subject: 'the answer of the server',
    reason: 'it sends a line without end',
    remedy: 'Check that the port belongs to such a server',
  });
}
