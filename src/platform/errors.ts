/** What every error of the program says: what was tried, on what, why it failed and what to do next. */
export interface ErrorFacts {
  /** Stable and machine-readable, such as `LOCKED`; documented in docs/operations.md. */
  code: ErrorCode;
  /** What was tried, as a verb phrase: `open the backup`. */
  tried: string;
  /** On what: a path, a userid, an option. */
  subject: string;
  /** Why it failed, without the subject again. */
  reason: string;
  /** What the person reading it can do next. */
  remedy: string;
  cause?: unknown;
}

export type ErrorCode =
  | 'BAD_COMMAND'
  | 'BAD_PARAMETERS'
  | 'CATALOG_CORRUPT'
  | 'CHUNK_CORRUPT'
  | 'CONFIG_INVALID'
  | 'CREDENTIALS_INVALID'
  | 'EXISTS'
  | 'INDEX_STALE'
  | 'INTERNAL'
  | 'IO_ERROR'
  | 'LIMIT_EXCEEDED'
  | 'LOCKED'
  | 'NOT_FOUND'
  | 'NO_SPACE'
  | 'PERMISSION_DENIED'
  | 'TIMED_OUT'
  | 'UNAVAILABLE'
  | 'USAGE';

/** sysexits status for each code, as Cyrus's own tools use them. */
const EXIT_STATUS: Record<ErrorCode, number> = {
  BAD_COMMAND: 64,
  BAD_PARAMETERS: 64,
  CATALOG_CORRUPT: 65,
  CHUNK_CORRUPT: 65,
  CONFIG_INVALID: 78,
  CREDENTIALS_INVALID: 77,
  EXISTS: 64,
  INDEX_STALE: 65,
  INTERNAL: 70,
  IO_ERROR: 74,
  LIMIT_EXCEEDED: 69,
  LOCKED: 75,
  NOT_FOUND: 65,
  NO_SPACE: 75,
  PERMISSION_DENIED: 77,
  TIMED_OUT: 75,
  UNAVAILABLE: 69,
  USAGE: 64,
};

/** The one error class of the program; anything else that is thrown is a bug. */
export class BackupError extends Error {
  readonly code: ErrorCode;
  readonly tried: string;
  readonly subject: string;
  readonly reason: string;
  readonly remedy: string;

  constructor(facts: ErrorFacts) {
    super(`cannot ${facts.tried} ${facts.subject}: ${facts.reason}. ${facts.remedy}`, { cause: facts.cause });
    this.name = 'BackupError';
    this.code = facts.code;
    this.tried = facts.tried;
    this.subject = facts.subject;
    this.reason = facts.reason;
    this.remedy = facts.remedy;
  }

  /** The process exit status of a command that ends with this error (sysexits.h). */
  get exitStatus(): number {
    return EXIT_STATUS[this.code];
  }
}

/** True for an error of node:fs with this errno name, such as `ENOENT`. */
export function hasErrno(error: unknown, code: string): boolean {
  return error instanceof Error && (error as NodeJS.ErrnoException).code === code;
}
