/** The last step of verify: rows of the index that were found nowhere in the data file. */
import type { BackupIndex } from '../store/index/backup-index.ts';
import { awaitedHeals, mailboxesUnderHeal } from '../store/index/damage.ts';
import { type MailboxRow, mailboxByUniqueid, mailboxes, messages } from '../store/index/queries.ts';
import { fromBlob } from '../store/index/sql-text.ts';
import type { ChunkReport } from '../store/verify/chunk-check.ts';
import type { Finding } from '../store/verify/finding.ts';
import type { RenameLine } from '../store/verify/line-checker.ts';
import { isAt, type MailboxPlace } from '../store/verify/mailbox-checker.ts';
import type { Marks } from '../store/verify/marks.ts';

const PAGE_ROWS = 1000;

/** A chunk and what its check reported, in the order of the file. */
export interface CheckedChunk {
  id: number;
  report: Pick<ChunkReport, 'renames' | 'renamed'>;
}

export function* missingRows(
  index: BackupIndex,
  marks: Marks,
  chunks: readonly CheckedChunk[],
  known: ReadonlyMap<number, number>,
): Generator<Finding, void> {
  const underHeal = mailboxesUnderHeal(index);
  /** Of what was lost in a chunk that is known to be damaged nobody needs more than is asked for already. */
  const severityOf = (chunk: number, uniqueid: string, isGone: boolean): Finding['severity'] =>
    known.has(chunk) && (isGone || underHeal.has(uniqueid)) ? 'notice' : 'fault';
  for (const message of messages(index)) {
    if (marks.has('message', message.id)) continue;
    const { guid, lineOffset, chunkId: chunk } = message;
    const text = `message ${guid} is not in the line at ${lineOffset} of chunk ${chunk}`;
    yield { code: 'MESSAGE_MISSING', severity: 'fault', text, chunk, lineOffset, guid };
  }
  const renames = new Renames(chunks);
  for (const row of mailboxes(index)) {
    if (marks.has('mailbox', row.id) || renames.explain(row)) continue;
    const { mboxname: mailbox, uniqueid, lastChunkId: chunk } = row;
    const text = `the state of ${mailbox} is in no line of chunk ${chunk}`;
    const severity = severityOf(chunk, uniqueid, row.deleted !== null);
    yield { code: 'MAILBOX_MISSING', severity, text, chunk, mailbox, uniqueid };
  }
  yield* missingRecords(index, marks, 'mailbox_message', SELECT_MAIN, severityOf);
  yield* missingRecords(index, marks, 'cb_record', SELECT_SIDE, severityOf);
  yield* missingContent(index);
}

function* missingRecords(
  index: BackupIndex,
  marks: Marks,
  table: 'mailbox_message' | 'cb_record',
  sql: string,
  severityOf: SeverityOf,
): Generator<Finding, void> {
  const page = index.statement(
    `SELECT id FROM ${table} WHERE id > ? ORDER BY id LIMIT ${PAGE_ROWS}`,
    'pluck',
  );
  for (let last = 0; ; ) {
    const ids = page.all(last) as number[];
    for (const id of ids) if (!marks.has(table, id)) yield recordFinding(index, sql, id, severityOf);
    if (ids.length < PAGE_ROWS) return;
    last = ids.at(-1)!;
  }
}

function recordFinding(index: BackupIndex, sql: string, id: number, severityOf: SeverityOf): Finding {
  const place = index.statement(sql).get(id) as RecordPlace & { isGone: number };
  const { uid, guid, chunk, mailbox: name } = place;
  const mailbox = fromBlob(name) ?? '';
  const uniqueid = fromBlob(place.uniqueid) ?? '';
  const text = `the state of UID ${uid} in ${mailbox} is in no line of chunk ${chunk}`;
  const severity = severityOf(chunk, uniqueid, place.isGone === 1);
  return { code: 'RECORD_MISSING', severity, text, chunk, mailbox, uniqueid, uid, guid: guid ?? '' };
}

type SeverityOf = (chunk: number, uniqueid: string, isGone: boolean) => Finding['severity'];

/** Mailboxes that the client is asked for. */
export function* pendingHeals(index: BackupIndex): Generator<Finding, void> {
  for (const [uniqueid, missing] of awaitedHeals(index)) {
    const mailbox = mailboxByUniqueid(index, uniqueid)?.mboxname ?? uniqueid;
    const why = missing === 0 ? '' : `, since ${missing} of its messages are missing`;
    const text = `the mail server is asked for all of ${mailbox} when it syncs next${why}`;
    yield { code: 'HEAL_PENDING', severity: 'notice', text, mailbox, uniqueid };
  }
}

function* missingContent(index: BackupIndex): Generator<Finding, void> {
  const page = index.statement(`${SELECT_WITHOUT_CONTENT} LIMIT ${PAGE_ROWS}`);
  for (let last = 0; ; ) {
    const rows = page.all(last) as (RecordPlace & { id: number })[];
    for (const { uid, guid, mailbox: name, uniqueid } of rows) {
      const mailbox = fromBlob(name) ?? '';
      const text = `the bytes of UID ${uid} in ${mailbox} are not here: they were lost, or the client never sent them`;
      const where = { mailbox, uniqueid: fromBlob(uniqueid) ?? '', uid, guid: guid ?? '' };
      yield { code: 'CONTENT_MISSING', severity: 'notice', text, ...where };
    }
    if (rows.length < PAGE_ROWS) return;
    last = rows.at(-1)!.id;
  }
}

/** A mailbox may have been renamed since its last MAILBOX line: RENAME changes its row, not its chunk. */
class Renames {
  readonly #chunks: readonly CheckedChunk[];
  readonly #positions: Map<number, number>;

  constructor(chunks: readonly CheckedChunk[]) {
    this.#chunks = chunks;
    this.#positions = new Map(chunks.map(({ id }, i) => [id, i]));
  }

  /**
   * Whether the RENAMEs after the mailbox's last line lead to where its row says it is. One that is gone has stayed
   * where it was then: from there on the name was another one's.
   */
  explain(row: MailboxRow): boolean {
    const position = this.#positions.get(row.lastChunkId);
    if (position === undefined) return false;
    const state = this.#chunks[position]!.report.renamed.find(({ mailboxId }) => mailboxId === row.id);
    if (state === undefined) return false;
    let place = state.place;
    for (let i = position; i < this.#chunks.length; i++) {
      for (const rename of this.#chunks[i]!.report.renames) {
        if (i === position && rename.lineOffset <= state.lineOffset) continue;
        place = applyRename(place, rename);
        if (row.deleted !== null && isAt(row, place)) return true;
      }
    }
    return isAt(row, place);
  }
}

function applyRename(place: MailboxPlace, rename: RenameLine): MailboxPlace {
  if (rename.from !== place.mboxname) return place;
  return {
    mboxname: rename.to,
    partition: rename.partition ?? place.partition,
    uidvalidity: rename.uidvalidity ?? place.uidvalidity,
  };
}

interface RecordPlace {
  uid: number;
  guid: string | null;
  chunk: number;
  mailbox: Buffer | null;
  uniqueid: Buffer | null;
}

const COLUMNS = `r.uid, r.last_chunk_id AS chunk, CAST(b.mboxname AS BLOB) AS mailbox,
  CAST(b.uniqueid AS BLOB) AS uniqueid`;
const IS_GONE = '(r.expunged IS NOT NULL OR b.deleted IS NOT NULL)';
const SELECT_MAIN = `SELECT ${COLUMNS}, m.guid, ${IS_GONE} AS isGone FROM mailbox_message r
  LEFT JOIN mailbox b ON b.id = r.mailbox_id LEFT JOIN message m ON m.id = r.message_id WHERE r.id = ?`;
const SELECT_SIDE = `SELECT ${COLUMNS}, r.guid, ${IS_GONE} OR r.replaced > 0 AS isGone FROM cb_record r LEFT JOIN mailbox b ON b.id = r.mailbox_id
  WHERE r.id = ?`;
const SELECT_WITHOUT_CONTENT = `SELECT r.id, ${COLUMNS}, r.guid FROM cb_record r
  LEFT JOIN mailbox b ON b.id = r.mailbox_id
  WHERE r.id > ? AND r.expunged IS NULL AND r.replaced = 0
    AND NOT EXISTS (SELECT 1 FROM message m WHERE m.guid = r.guid)
  ORDER BY r.id`;
