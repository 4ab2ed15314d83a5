import { type Dlist, parseDlist } from '../csync/dlist.ts';
import { BackupError, type ErrorCode } from '../platform/errors.ts';

/** One `* NAME value` line. */
export interface CsyncLine {
  /** Upper case: `MAILBOX`, `MISSING`, `SEEN`, ... */
  name: string;
  value: Dlist;
}

/** How a command ended. */
export interface CsyncFinal {
  status: 'OK' | 'NO' | 'BAD' | 'BYE' | '+';
  /** `IMAP_MAILBOX_LOCKED` and the like; empty where the server gave none. */
  code: string;
  /** The rest of the line, for people; of a `+` its base64. */
  text: string;
}

export interface CsyncReply extends CsyncFinal {
  lines: CsyncLine[];
}

const FINAL = /^(?:\* )?(OK|NO|BAD|BYE|\+)(?: |$)/i;
/** imapd speaks for itself too, with `* OK`: only the tagged line ends a command. */
const IMAP_FINAL = /^(?:(\* )BYE|(\+)|(\S+) (?:OK|NO|BAD))(?: |$)/i;
const CODE = /^(IMAP_[A-Z0-9_]+)(?: |$)/;

/**
 * The final line of a reply, or undefined for a line that comes before it. A `* OK` ends a greeting, a
 * `* BYE` whatever was going on; the server closes the connection after it.
 */
export function parseFinal(unit: Buffer): CsyncFinal | undefined {
  const text = unit.toString('latin1', 0, Math.min(unit.length, 4096));
  const status = FINAL.exec(text);
  if (status === null) return undefined;
  const rest = text.slice(status[0].length);
  const code = CODE.exec(rest);
  return {
    status: status[1]!.toUpperCase() as CsyncFinal['status'],
    code: code?.[1] ?? '',
    text: code === null ? rest : rest.slice(code[0].length),
  };
}

/** The same from imapd, which answers csync commands (`X-REPLICATION`) as IMAP commands with a tag. */
export function parseImapFinal(unit: Buffer, tag: string): CsyncFinal | undefined {
  const kind = IMAP_FINAL.exec(unit.toString('latin1', 0, 128));
  if (kind === null || (kind[3] !== undefined && kind[3] !== tag)) return undefined;
  return parseFinal(kind[3] === undefined ? unit : unit.subarray(tag.length + 1));
}

/** Whether imapd says it of itself or of a selected mailbox, so that it is no answer to a csync command. */
export function isImapNotice(unit: Buffer): boolean {
  return /^\* (?:OK|NO|BAD|PREAUTH|CAPABILITY|\d+ )/i.test(unit.toString('latin1', 0, 32));
}

/** What Cyrus's programs say before they end by themselves, failed assertions included. */
const FATAL = /^\* Fatal error: (.*)/;

/**
 * A line before the final one. A value that is only a name (`* NONSYNC`) is NIL.
 * @throws BackupError UNAVAILABLE for what no csync server sends, or only one that dies
 */
export function parseLine(unit: Buffer): CsyncLine {
  const fatal = FATAL.exec(unit.toString('latin1', 0, 1024));
  if (fatal !== null) throw died(fatal[1]!.trim());
  const [, name] = /^\* (\S+)(?: |$)/.exec(unit.toString('latin1', 0, 256)) ?? [];
  if (name === undefined) throw unexpected(unit, 'neither a `* ` line nor OK, NO, BAD or BYE');
  const value = unit.subarray(2 + name.length + 1);
  try {
    return { name: name.toUpperCase(), value: value.length === 0 ? { kind: 'nil' } : parseDlist(value) };
  } catch (error) {
    throw unexpected(unit, error instanceof BackupError ? error.reason : String(error));
  }
}

function died(reason: string): BackupError {
  return new BackupError({
    code: 'UNAVAILABLE',
    tried: 'go on with',
    subject: 'the csync server',
    reason: `the server died: ${reason}`,
    remedy:
      'See its log. Cyrus dies so where it has no partition of the name that a mailbox is on: --partition NAME puts new ' +
      'mailboxes on another',
  });
}

/** For what no csync server says. */
export function unexpected(unit: Buffer, reason: string): BackupError {
  return new BackupError({
    code: 'UNAVAILABLE',
    tried: 'understand the line',
    subject: JSON.stringify(unit.toString('latin1', 0, 80)),
    reason,
    remedy: 'Check that the port belongs to a csync server',
  });
}

const CODE_MEANS: Record<string, ErrorCode> = {
  IMAP_INVALID_USER: 'NOT_FOUND',
  IMAP_MAILBOX_NONEXISTENT: 'NOT_FOUND',
  IMAP_MAILBOX_LOCKED: 'LOCKED',
  IMAP_PERMISSION_DENIED: 'PERMISSION_DENIED',
  IMAP_PROTOCOL_BAD_PARAMETERS: 'BAD_PARAMETERS',
};

/** A server's NO, BAD or BYE to a command, as it said it. */
export class CsyncRefusal extends BackupError {
  readonly reply: CsyncFinal;

  constructor(reply: CsyncFinal, command: string, server: string) {
    const locked = reply.code === 'IMAP_MAILBOX_LOCKED';
    super({
      code: CODE_MEANS[reply.code] ?? (reply.status === 'BAD' ? 'BAD_COMMAND' : 'UNAVAILABLE'),
      tried: command,
      subject: `at ${server}`,
      reason: `the server answered ${[reply.status, reply.code, reply.text].filter(Boolean).join(' ')}`,
      remedy: locked ? 'Another program works on this backup; try again later' : "See the server's log",
    });
    this.name = 'CsyncRefusal';
    this.reply = reply;
  }
}
