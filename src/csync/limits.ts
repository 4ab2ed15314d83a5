/** What a client may send before the decoder refuses it; each is charged before anything is stored. */
export interface DecoderLimits {
  /** Atoms and command words (imapd.conf `maxword`). */
  maxWordBytes: number;
  /** Quoted strings, after unescaping (imapd.conf `maxquoted`). */
  maxQuotedBytes: number;
  /** One text literal; in a GET and in the small APPLY commands all text literals together. */
  maxLiteralBytes: number;
  /** One message of APPLY MESSAGE. */
  maxMessageBytes: number;
  /** Parentheses inside one another. */
  maxDepth: number;
  /** Bytes outside literals of a GET or of an APPLY other than MAILBOX, MESSAGE and RESERVE. */
  maxLineBytes: number;
  /** Values in a GET or in an APPLY other than MAILBOX, MESSAGE and RESERVE. */
  maxItems: number;
  /** A whole line, literals included, of every other command, and one SASL response. */
  maxCommandBytes: number;
}

/** Cyrus's own figures where it has them (maxword, maxquoted, maxliteral), else what real clients stay far below. */
export const DEFAULT_DECODER_LIMITS: DecoderLimits = {
  maxWordBytes: 131_072,
  maxQuotedBytes: 131_072,
  maxLiteralBytes: 4 << 20,
  maxMessageBytes: 0xffff_ffff,
  maxDepth: 64,
  maxLineBytes: 8 << 20,
  maxItems: 200_000,
  maxCommandBytes: 16_384,
};

/** Why a command was not taken. */
export interface BadCommand {
  /**
   * `empty`: a line without a command word. `malformed`: not the protocol's grammar. `limit`: over one of
   * DecoderLimits. `eof`: the client went away inside the command; nobody is left to be answered.
   */
  kind: 'empty' | 'malformed' | 'limit' | 'eof';
  /** For people, one line, without what the client sent. */
  text: string;
}
