/**
 * Checks the lines of one chunk against the index while they stream by: messages against their GUIDs and
 * rows, MAILBOX lines against the states of mailboxes and records. Rows that are found are marked; what is
 * still unmarked when all chunks were read is missing.
 */
import { createHash, type Hash } from 'node:crypto';
import type { ScalarView } from '../../csync/dlist-sax.ts';
import type { FileHeader } from '../../csync/file-header.ts';
import type { LineEvents, LineStart, MalformedLine } from '../../csync/line-parser.ts';
import type { BackupIndex } from '../index/backup-index.ts';
import type { FindingList } from './finding.ts';
import { MailboxChecker, type RenamedState } from './mailbox-checker.ts';
import type { MarkSet } from './marks.ts';

/** A RENAME in the chunk. Numbers are decimal text. */
export interface RenameLine {
  lineOffset: number;
  from: string;
  to: string;
  partition: string | undefined;
  uidvalidity: string | undefined;
}

/** A message that is stored elsewhere too: where this copy lies in the chunk's content. */
export type MessageCopy = [guid: string, lineOffset: number, contentOffset: number, size: number];

export class LineChecker implements LineEvents {
  messages = 0;
  lines = 0;
  /** Seconds; 0 before the first line. */
  firstTime = 0;
  lastTime = 0;
  readonly renames: RenameLine[] = [];
  /** GUIDs of messages that are not what the index means by them, at the place where it looks for them. */
  readonly lost: string[] = [];
  /** Sound messages that the index reads from another place. */
  readonly copies: MessageCopy[] = [];
  readonly #index: BackupIndex | undefined;
  readonly #chunkId: number | undefined;
  readonly #marks: MarkSet | undefined;
  readonly #findings: FindingList;
  readonly #placesAreCurrent: boolean;
  readonly #mailbox: MailboxChecker | undefined;
  #line: LineStart | undefined;
  #handler: 'message' | 'mailbox' | 'rename' | undefined;
  #file: { header: FileHeader; contentOffset: number; hash: Hash } | undefined;
  readonly #fields = new Map<string, string>();
  #key = '';

  /** `of`: what the chunk is to be compared with; undefined for a chunk that the index does not know. */
  constructor(
    of: { index: BackupIndex; chunkId: number; marks: MarkSet; placesAreCurrent: boolean } | undefined,
    findings: FindingList,
  ) {
    this.#index = of?.index;
    this.#chunkId = of?.chunkId;
    this.#marks = of?.marks;
    this.#placesAreCurrent = of?.placesAreCurrent ?? false;
    this.#findings = findings;
    this.#mailbox = of && new MailboxChecker(of.index, of.chunkId, of.marks);
  }

  /** Mailboxes whose rows fit but for what a RENAME changes. */
  get renamed(): RenamedState[] {
    return this.#mailbox?.renamed ?? [];
  }

  lineStart(line: LineStart): void {
    this.#line = line;
    this.#handler = undefined;
    this.#file = undefined;
    if (line.time < this.lastTime) {
      const text = `the line of ${line.time} stands behind one of ${this.lastTime}`;
      this.#findings.add('TIME_BACKWARDS', text, { lineOffset: line.offset, severity: 'notice' });
    }
    if (this.lines++ === 0) this.firstTime = line.time;
    this.lastTime = Math.max(this.lastTime, line.time);
    // As whoever makes an index of it does, whatever damage has made of the word before the verb.
    if (line.verb === 'MESSAGE') this.#handler = 'message';
    if (line.verb === 'RENAME') {
      this.#handler = 'rename';
      this.#fields.clear();
    }
    if (line.verb === 'MAILBOX' && this.#mailbox !== undefined) {
      this.#handler = 'mailbox';
      this.#mailbox.begin(line.offset);
    }
  }

  lineEnd(): void {
    if (this.#handler === 'mailbox') this.#mailbox?.finish();
    if (this.#handler === 'rename') this.#noteRename();
    this.#handler = undefined;
  }

  malformed(line: MalformedLine): void {
    this.#handler = undefined;
    this.#findings.add('LINE_MALFORMED', `the line is malformed: ${line.reason}`, {
      lineOffset: line.offset,
    });
  }

  beginList(): void {
    if (this.#handler === 'mailbox') this.#mailbox?.beginList();
  }

  beginKvlist(): void {
    if (this.#handler === 'mailbox') this.#mailbox?.beginKvlist();
  }

  end(): void {
    if (this.#handler === 'mailbox') this.#mailbox?.end();
  }

  key(key: string): void {
    this.#key = key;
    if (this.#handler === 'mailbox') this.#mailbox?.key(key);
  }

  scalar(value: ScalarView): void {
    if (this.#handler === 'mailbox') this.#mailbox?.scalar(value);
    else if (this.#handler === 'rename' && value.held && !value.isNil) {
      this.#fields.set(this.#key, value.latin1());
    }
  }

  file(header: FileHeader, contentOffset: number): void {
    this.#file = { header, contentOffset, hash: createHash('sha1') };
  }

  fileBytes(bytes: Uint8Array, start: number, end: number): void {
    this.#file?.hash.update(bytes.subarray(start, end));
  }

  fileEnd(): void {
    const { header, contentOffset, hash } = this.#file!;
    this.#file = undefined;
    if (this.#handler !== 'message') return;
    this.messages++;
    const { guid, size } = header;
    const lineOffset = this.#line!.offset;
    const actual = hash.digest('hex');
    const row = this.#index?.statement(SELECT_MESSAGE, 'raw').get(guid) as MessageRow | undefined;
    const isMeant = row !== undefined && row[1] === this.#chunkId && row[2] === lineOffset;
    if (actual !== guid) {
      const text = `message ${guid}: the SHA-1 of its bytes is ${actual}`;
      // That the chunk is known to be damaged explains no message that the backup counts on.
      const where = { lineOffset, guid, ...(isMeant && { severity: 'fault' as const }) };
      this.#findings.add('MESSAGE_DAMAGED', text, where);
      if (isMeant) this.lost.push(guid);
    } else if (row === undefined && this.#marks !== undefined) {
      this.#findings.add('MESSAGE_NOT_INDEXED', `message ${guid} is not in the index`, { lineOffset, guid });
    }
    // One that was stored again is read from its newer place; this is the older.
    if (row !== undefined && !isMeant && actual === guid)
      this.copies.push([guid, lineOffset, contentOffset, size]);
    if (isMeant) this.#compareRow(row, guid, lineOffset, contentOffset, size);
  }

  #compareRow(row: MessageRow, guid: string, lineOffset: number, contentOffset: number, size: number): void {
    if (this.#marks === undefined) return;
    const [id, , , indexedSize, indexedContent] = row;
    const placeDiffers =
      this.#placesAreCurrent && indexedContent !== null && indexedContent !== contentOffset;
    // The same message twice in one line: the index can mean the other.
    if (placeDiffers && this.#marks.has('message', id)) return;
    this.#marks.set('message', id);
    if (indexedSize === size && !placeDiffers) return;
    const text = `message ${guid} has ${size} bytes at ${contentOffset}, the index says ${indexedSize} at ${indexedContent}`;
    // Perhaps only the index is wrong; whoever takes note of losses reads it once more.
    this.lost.push(guid);
    this.#findings.add('MESSAGE_PLACE_WRONG', text, { lineOffset, guid, severity: 'fault' });
  }

  #noteRename(): void {
    const from = this.#fields.get('OLDMBOXNAME');
    const to = this.#fields.get('NEWMBOXNAME');
    if (from === undefined || to === undefined) return;
    const partition = this.#fields.get('PARTITION');
    const uidvalidity = this.#fields.get('UIDVALIDITY');
    this.renames.push({ lineOffset: this.#line!.offset, from, to, partition, uidvalidity });
  }
}

type MessageRow = [
  id: number,
  chunkId: number,
  lineOffset: number,
  size: number,
  contentOffset: number | null,
];

const SELECT_MESSAGE = `SELECT m.id, m.chunk_id, m.offset, m.size, c.content_offset
  FROM message m LEFT JOIN cb_message c ON c.message_id = m.id WHERE m.guid = ?`;
