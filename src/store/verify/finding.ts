/** What is wrong with a backup, or worth saying about it. Codes are stable; docs/operations.md explains them. */
export type FindingCode =
  /** No gzip member begins where the index has a chunk. */
  | 'CHUNK_MISSING'
  /** The deflate stream is damaged; content up to the next place to start from is lost. */
  | 'CHUNK_CORRUPT'
  /** The chunk has no trailer. */
  | 'CHUNK_UNFINISHED'
  /** CRC-32 or length in the gzip trailer are not those of the content. */
  | 'CHUNK_CRC_WRONG'
  /** `length` or `data_sha1` of the index are not those of the content. */
  | 'CHUNK_LENGTH_WRONG'
  | 'CHUNK_SHA1_WRONG'
  /** `file_sha1` of the index is not that of the bytes before the chunk. */
  | 'FILE_SHA1_WRONG'
  /** Bytes of the data file that belong to no chunk of the index. */
  | 'DATA_NOT_INDEXED'
  /** A line is older than the one before it, as Cyrus's backupd writes it when the clock was set back. */
  | 'TIME_BACKWARDS'
  | 'LINE_MALFORMED'
  /** The index has a message that is not in the chunk and line that it says. */
  | 'MESSAGE_MISSING'
  /** The index has another size, or another place in the line. */
  | 'MESSAGE_PLACE_WRONG'
  /** The bytes of a message are not what its GUID says. */
  | 'MESSAGE_DAMAGED'
  /** A message in the data file that the index does not know. */
  | 'MESSAGE_NOT_INDEXED'
  /** The state of a mailbox is in no line of the chunk that the index says. */
  | 'MAILBOX_MISSING'
  /** The state of a message in a mailbox is in no line of the chunk that the index says. */
  | 'RECORD_MISSING'
  /** A live message in a mailbox whose bytes are not here: lost, or never sent by the client. */
  | 'CONTENT_MISSING'
  /** A segment start of the index is none. */
  | 'SEGMENT_START_WRONG'
  /** The index cannot be read, or says something else of the file as a whole. */
  | 'INDEX_STALE'
  /** An entry of backups.db names a file that does not exist. */
  | 'FILE_MISSING'
  /** An entry of backups.db names a file that is on no partition of the configuration. */
  | 'FILE_OUTSIDE'
  /** Two entries of backups.db name one file. */
  | 'FILE_SHARED'
  /** The mailboxes in the file are those of another user than backups.db has it for. */
  | 'FILE_OF_OTHER'
  /** A data file on a partition that no entry of backups.db names. */
  | 'FILE_NOT_IN_CATALOG'
  /** The client is asked for this mailbox as a whole and has not sent it yet. */
  | 'HEAL_PENDING'
  /** The file goes on behind what is indexed, as a crash leaves it: the next opening indexes it. */
  | 'RECOVERY_PENDING';

export interface Finding {
  code: FindingCode;
  /**
   * A notice is nothing that anybody has to do something about: the server puts it right by itself, or it is damage
   * that was noted before and of which the backup needs nothing any more.
   */
  severity: 'fault' | 'notice';
  /** A sentence for people. */
  text: string;
  /** Id of the chunk in the index. */
  chunk?: number;
  /** Offset in the data file. */
  fileOffset?: number;
  /** Offset of the line in the chunk's content. */
  lineOffset?: number;
  /** Internal name of the mailbox. */
  mailbox?: string;
  uniqueid?: string;
  uid?: number;
  guid?: string;
}

/** Finds that are kept of one chunk; what is more is only counted. */
export const MAX_FINDINGS_OF_CHUNK = 1000;

/** Findings of one chunk, in order. */
export class FindingList {
  readonly found: Finding[] = [];
  /** Those beyond MAX_FINDINGS_OF_CHUNK. */
  omitted = 0;
  readonly #common: Partial<Finding>;

  /** `common`: what all of them have. */
  constructor(common: Partial<Finding>) {
    this.#common = common;
  }

  add(code: FindingCode, text: string, where: Partial<Finding> = {}): void {
    if (this.found.length < MAX_FINDINGS_OF_CHUNK) {
      this.found.push({ code, severity: 'fault', text, ...this.#common, ...where });
    } else this.omitted++;
  }
}
