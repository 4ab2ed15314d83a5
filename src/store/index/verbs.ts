/** What each line but MAILBOX and MESSAGE does to the index; facts from Cyrus's `backup/lcb_indexw.c`. */
import { printString } from '../../csync/encoder.ts';
import type { BackupIndex } from './backup-index.ts';
import { changeSum } from './checksum.ts';
import { chunkAt, loseMessage, noteDamagedChunk } from './damage.ts';
import { badParameters, type Rejection } from './outcome.ts';
import { RecordStore } from './record-store.ts';
import { renameAnnotations } from './renamed-annotations.ts';
import type { SmallLine } from './small-line.ts';
import { sqlText } from './sql-text.ts';

export interface VerbContext {
  index: BackupIndex;
  line: SmallLine;
  chunkId: number;
  /** A request of a client, not history. */
  live: boolean;
  /** Of the line, in seconds. */
  time: number;
  /** Of the line, in the chunk's content. */
  lineOffset: number;
}

/** Applies the line; returns whether anything is different now. */
export type ApplyVerb = (context: VerbContext) => boolean | Rejection;

export const VERBS: ReadonlyMap<string, ApplyVerb> = new Map<string, ApplyVerb>([
  ['EXPUNGE', expunge],
  ['UNMAILBOX', unmailbox],
  ['RENAME', rename],
  ['SUB', subscribe],
  ['UNSUB', unsubscribe],
  ['SEEN', seen],
  ['SIEVE', sieve],
  ['UNSIEVE', unsieve],
  ['ACTIVATE_SIEVE', activateSieve],
  ['UNACTIVATE_SIEVE', unactivateSieve],
  ['QUOTA', quota],
  ['UNQUOTA', unquota],
  ['ANNOTATION', annotation],
  ['UNANNOTATION', unannotation],
  ['UNUSER', unuser],
  ['HEAL', heal],
  ['DAMAGE', damage],
  ['FORMER', former],
  ['COMPACTED', compacted],
]);

function expunge({ index, line, chunkId, live, time }: VerbContext): boolean | Rejection {
  const mboxname = field(line, 'MBOXNAME');
  const uniqueid = field(line, 'UNIQUEID');
  if (typeof mboxname !== 'string') return mboxname;
  if (typeof uniqueid !== 'string') return uniqueid;
  const sql =
    'SELECT id, mboxname = CAST(? AS TEXT) AS sameName FROM mailbox WHERE uniqueid = CAST(? AS TEXT)';
  const found = index.statement(sql).get(sqlText(mboxname), sqlText(uniqueid)) as
    | { id: number; sameName: number }
    | undefined;
  if (found === undefined || (live && found.sameName === 0)) {
    return {
      type: 'reject',
      code: 'IMAP_MAILBOX_NONEXISTENT',
      text: `no mailbox ${mboxname} with this UNIQUEID`,
    };
  }
  const records = new RecordStore(index, chunkId, undefined);
  records.open(found.id, time);
  if (!records.expunge(line.uids)) return false;
  // The checksums that came with the last MAILBOX hold no more.
  const stale = `INSERT INTO cb_mailbox(mailbox_id, crc_stale) VALUES (?, 1)
    ON CONFLICT(mailbox_id) DO UPDATE SET crc_stale = 1`;
  index.statement(stale).run(found.id);
  changeSum(index, found.id, records.sumChange);
  return true;
}

function unmailbox({ index, line, time }: VerbContext): boolean | Rejection {
  if (!line.atom) return badParameters('UNMAILBOX names no mailbox');
  const name = sqlText(line.atom);
  const mark = 'UPDATE mailbox SET deleted = ? WHERE mboxname = CAST(? AS TEXT) AND deleted IS NULL';
  const marked = index.statement(mark).run(time, name).changes > 0;
  return index.statement(DROP_NODE).run(name).changes > 0 || marked;
}

function rename({ index, line, time }: VerbContext): boolean | Rejection {
  const oldName = field(line, 'OLDMBOXNAME');
  const newName = field(line, 'NEWMBOXNAME');
  const partition = field(line, 'PARTITION');
  const uidvalidity = number(line, 'UIDVALIDITY');
  if (typeof oldName !== 'string') return oldName;
  if (typeof newName !== 'string') return newName;
  if (oldName === newName) return movePartition(index, oldName, partition, uidvalidity);
  const [from, to] = [sqlText(oldName), sqlText(newName)];

  const find = 'SELECT id FROM mailbox WHERE mboxname = CAST(? AS TEXT) AND deleted IS NULL';
  const id = index.statement(find, 'pluck').get(from) as number | undefined;
  const findNode = 'SELECT 1 FROM cb_intermediate WHERE mboxname = CAST(? AS TEXT)';
  if (id === undefined && index.statement(findNode).get(from) === undefined) return false;
  // Nothing else can have the name: its former owner, a mailbox or an intermediate node, is gone.
  const evict = 'UPDATE mailbox SET deleted = ? WHERE mboxname = CAST(? AS TEXT) AND deleted IS NULL';
  index.statement(evict).run(time, to);
  index.statement(DROP_NODE).run(to);
  if (id === undefined) {
    const move = 'UPDATE cb_intermediate SET mboxname = CAST(? AS TEXT) WHERE mboxname = CAST(? AS TEXT)';
    index.statement(move).run(to, from);
    return true;
  }
  index.statement('UPDATE mailbox SET mboxname = CAST(? AS TEXT) WHERE id = ?').run(to, id);
  movePartition(index, newName, partition, uidvalidity);
  moveAnnotations(index, oldName, newName);
  renameAnnotations(index, id, oldName, newName);
  // A folder that is brought back from the deleted namespace brings its user back.
  if (isUsers(newName) && index.unuserAt() !== undefined) index.setUnuserAt(undefined);
  // A renamed user's quota root goes along; the client takes the old one away from a user who has none now.
  if (isUsers(newName) && userPart(oldName) !== userPart(newName)) moveQuota(index, oldName, newName);
  return true;
}

/** Annotations of a mailbox go along. */
function moveAnnotations(index: BackupIndex, oldName: string, newName: string): void {
  const find = `SELECT CAST(entry AS BLOB), CAST(userid AS BLOB), CAST(fields AS BLOB) FROM cb_annotation
    WHERE mboxname = CAST(? AS TEXT)`;
  const rows = index.statement(find, 'raw').all(sqlText(oldName)) as [Buffer, Buffer, Buffer][];
  if (rows.length === 0) return;
  index.statement('DELETE FROM cb_annotation WHERE mboxname = CAST(? AS TEXT)').run(sqlText(oldName));
  const put = `INSERT OR REPLACE INTO cb_annotation(mboxname, entry, userid, fields)
    VALUES (CAST(? AS TEXT), CAST(? AS TEXT), CAST(? AS TEXT), CAST(? AS TEXT))`;
  for (const [entry, userid, fields] of rows) {
    // The first of the fields, as all sync_clients send it; nothing before it can hold such a text.
    const moved = fields.toString('latin1').replace(MBOXNAME_FIELD, () => `MBOXNAME ${printString(newName)}`);
    index.statement(put).run(sqlText(newName), entry, userid, sqlText(moved));
  }
}

const MBOXNAME_FIELD = /\bMBOXNAME (?:"(?:[^"\\]|\\.)*"|[^\s()]+)/;

function moveQuota(index: BackupIndex, oldRoot: string, newRoot: string): void {
  const find = 'SELECT CAST(fields AS BLOB) FROM cb_quota WHERE root = CAST(? AS TEXT)';
  const fields = index.statement(find, 'pluck').get(sqlText(oldRoot)) as Buffer | undefined;
  if (fields === undefined) return;
  index.statement('DELETE FROM cb_quota WHERE root = CAST(? AS TEXT)').run(sqlText(oldRoot));
  const moved = fields
    .toString('latin1')
    .replace(`ROOT ${printString(oldRoot)}`, () => `ROOT ${printString(newRoot)}`);
  const put = 'INSERT OR REPLACE INTO cb_quota(root, fields) VALUES (CAST(? AS TEXT), CAST(? AS TEXT))';
  index.statement(put).run(sqlText(newRoot), sqlText(moved));
}

const USER_PART = /^(?:[^!]*!)?user\.[^.]*/;

/** Not shared, and not in the deleted namespace: what goes there has no quota of its own. */
function isUsers(mboxname: string): boolean {
  return USER_PART.test(mboxname);
}

/** `user.anne` of `user.anne.Sent`; of other names the whole. */
function userPart(mboxname: string): string {
  return USER_PART.exec(mboxname)?.[0] ?? mboxname;
}

/** RENAME also says where the mailbox lies from now on. */
function movePartition(
  index: BackupIndex,
  mboxname: string,
  partition: string | Rejection,
  uidvalidity: number | undefined,
): boolean {
  const sql = `UPDATE mailbox SET partition = coalesce(CAST(? AS TEXT), partition),
      uidvalidity = coalesce(?, uidvalidity)
    WHERE mboxname = CAST(? AS TEXT) AND deleted IS NULL AND (partition IS NOT
      coalesce(CAST(? AS TEXT), partition) OR uidvalidity IS NOT coalesce(?, uidvalidity))`;
  const place = [typeof partition === 'string' ? sqlText(partition) : null, uidvalidity ?? null];
  return index.statement(sql).run(...place, sqlText(mboxname), ...place).changes > 0;
}

function subscribe({ index, line, chunkId }: VerbContext): boolean | Rejection {
  const mboxname = field(line, 'MBOXNAME');
  if (typeof mboxname !== 'string') return mboxname;
  const sql = `INSERT INTO subscription(last_chunk_id, mboxname) VALUES (?, CAST(? AS TEXT))
    ON CONFLICT(mboxname) DO UPDATE SET last_chunk_id = excluded.last_chunk_id, unsubscribed = NULL
    WHERE unsubscribed IS NOT NULL`;
  return index.statement(sql).run(chunkId, sqlText(mboxname)).changes > 0;
}

function unsubscribe({ index, line, chunkId, live, time }: VerbContext): boolean | Rejection {
  const mboxname = field(line, 'MBOXNAME');
  if (typeof mboxname !== 'string') return mboxname;
  const sql = `UPDATE subscription SET last_chunk_id = ?, unsubscribed = ?
    WHERE mboxname = CAST(? AS TEXT) AND unsubscribed IS NULL`;
  if (index.statement(sql).run(chunkId, time, sqlText(mboxname)).changes > 0) return true;
  if (live) return false;
  // History that Cyrus wrote: it keeps a row also of what was never subscribed.
  const insert = `INSERT OR IGNORE INTO subscription(last_chunk_id, mboxname, unsubscribed)
    VALUES (?, CAST(? AS TEXT), ?)`;
  return index.statement(insert).run(chunkId, sqlText(mboxname), time).changes > 0;
}

function seen({ index, line, chunkId }: VerbContext): boolean | Rejection {
  const uniqueid = field(line, 'UNIQUEID');
  if (typeof uniqueid !== 'string') return uniqueid;
  const numbers: number[] = [];
  for (const key of ['LASTREAD', 'LASTUID', 'LASTCHANGE']) {
    const value = number(line, key);
    if (value === undefined) return badParameters(`SEEN lacks the field ${key}`);
    numbers.push(value);
  }
  const seenuids = line.fields.get('SEENUIDS');
  if (seenuids === undefined) return badParameters('SEEN lacks the field SEENUIDS');
  const sql = `INSERT INTO seen(last_chunk_id, uniqueid, lastread, lastuid, lastchange, seenuids)
    VALUES (?, CAST(? AS TEXT), ?, ?, ?, CAST(? AS TEXT))
    ON CONFLICT(uniqueid) DO UPDATE SET last_chunk_id = excluded.last_chunk_id, lastread = excluded.lastread,
      lastuid = excluded.lastuid, lastchange = excluded.lastchange, seenuids = excluded.seenuids
    WHERE lastread IS NOT excluded.lastread OR lastuid IS NOT excluded.lastuid
      OR lastchange IS NOT excluded.lastchange OR seenuids IS NOT excluded.seenuids`;
  const insert = index.statement(sql);
  return insert.run(chunkId, sqlText(uniqueid), ...numbers, sqlText(seenuids ?? '')).changes > 0;
}

function sieve({ index, line, chunkId, time, lineOffset }: VerbContext): boolean | Rejection {
  const filename = field(line, 'FILENAME');
  if (typeof filename !== 'string') return filename;
  const lastUpdate = number(line, 'LAST_UPDATE');
  if (lastUpdate === undefined) return badParameters('SIEVE lacks the field LAST_UPDATE');
  const guid = line.contentSha1;
  if (guid === undefined) return badParameters('SIEVE lacks the field CONTENT');
  const name = sqlText(filename);
  const same = `SELECT 1 FROM sieve WHERE filename = CAST(? AS TEXT) AND deleted IS NULL AND guid = ?
    AND last_update = ?`;
  if (index.statement(same).get(name, guid, lastUpdate) !== undefined) return false;
  index.statement(DELETE_SIEVE).run(time, name);
  const insert = `INSERT INTO sieve(chunk_id, last_update, filename, guid, offset)
    VALUES (?, ?, CAST(? AS TEXT), ?, ?)`;
  index.statement(insert).run(chunkId, lastUpdate, name, guid, lineOffset);
  return true;
}

function unsieve({ index, line, time }: VerbContext): boolean | Rejection {
  const filename = field(line, 'FILENAME');
  if (typeof filename !== 'string') return filename;
  // sync_client says of a script that is no longer active only that its compiled form is gone.
  const wasActive = index.activeSieve() === filename;
  if (wasActive) index.setActiveSieve(undefined);
  return index.statement(DELETE_SIEVE).run(time, sqlText(filename)).changes > 0 || wasActive;
}

function activateSieve({ index, line }: VerbContext): boolean | Rejection {
  const filename = field(line, 'FILENAME');
  if (typeof filename !== 'string') return filename;
  if (index.activeSieve() === filename) return false;
  index.setActiveSieve(filename);
  return true;
}

function unactivateSieve({ index }: VerbContext): boolean {
  if (index.activeSieve() === undefined) return false;
  index.setActiveSieve(undefined);
  return true;
}

function quota({ index, line }: VerbContext): boolean | Rejection {
  const root = field(line, 'ROOT');
  if (typeof root !== 'string') return root;
  const sql = `INSERT INTO cb_quota(root, fields) VALUES (CAST(? AS TEXT), CAST(? AS TEXT))
    ON CONFLICT(root) DO UPDATE SET fields = excluded.fields WHERE fields IS NOT excluded.fields`;
  return index.statement(sql).run(sqlText(root), line.text.text()).changes > 0;
}

function unquota({ index, line }: VerbContext): boolean | Rejection {
  if (!line.atom) return badParameters('UNQUOTA names no quota root');
  return (
    index.statement('DELETE FROM cb_quota WHERE root = CAST(? AS TEXT)').run(sqlText(line.atom)).changes > 0
  );
}

function annotation({ index, line }: VerbContext): boolean | Rejection {
  const key = annotationKey(line);
  if (!Array.isArray(key)) return key;
  const sql = `INSERT INTO cb_annotation(mboxname, entry, userid, fields)
    VALUES (CAST(? AS TEXT), CAST(? AS TEXT), CAST(? AS TEXT), CAST(? AS TEXT))
    ON CONFLICT(mboxname, entry, userid) DO UPDATE SET fields = excluded.fields
    WHERE fields IS NOT excluded.fields`;
  return index.statement(sql).run(...key.map((part) => sqlText(part)), line.text.text()).changes > 0;
}

function unannotation({ index, line }: VerbContext): boolean | Rejection {
  const key = annotationKey(line);
  if (!Array.isArray(key)) return key;
  const sql = `DELETE FROM cb_annotation
    WHERE mboxname = CAST(? AS TEXT) AND entry = CAST(? AS TEXT) AND userid = CAST(? AS TEXT)`;
  return index.statement(sql).run(...key.map((part) => sqlText(part))).changes > 0;
}

/** Server annotations have an empty MBOXNAME, shared ones an empty USERID. */
function annotationKey(line: SmallLine): string[] | Rejection {
  const entry = field(line, 'ENTRY');
  if (typeof entry !== 'string') return entry;
  return [line.fields.get('MBOXNAME') ?? '', entry, line.fields.get('USERID') ?? ''];
}

/**
 * The user is gone: what belongs to the account is marked so. Folders in the deleted namespace stay as they
 * are, since the mail server still has them and goes on to report them.
 */
function unuser({ index, line, chunkId, live, time }: VerbContext): boolean | Rejection {
  if (!line.atom) return badParameters('UNUSER names no user');
  // A line that was stored counts also where compaction has left nothing else.
  if (live && index.statement(HAS_ANYTHING, 'pluck').get() !== 1) return false;
  let changed = index.unuserAt() === undefined;
  if (changed) index.setUnuserAt(time);
  const steps: [sql: string, parameters: unknown[]][] = [
    [
      `UPDATE mailbox SET deleted = ? WHERE deleted IS NULL
        AND (mboxname GLOB 'user.*' OR mboxname GLOB '*!user.*')`,
      [time],
    ],
    ["DELETE FROM cb_intermediate WHERE mboxname GLOB 'user.*' OR mboxname GLOB '*!user.*'", []],
    [
      'UPDATE subscription SET last_chunk_id = ?, unsubscribed = ? WHERE unsubscribed IS NULL',
      [chunkId, time],
    ],
    ['UPDATE sieve SET deleted = ? WHERE deleted IS NULL', [time]],
    ['DELETE FROM cb_quota', []],
    ['DELETE FROM seen', []],
  ];
  for (const [sql, parameters] of steps) {
    if (index.statement(sql).run(...parameters).changes > 0) changed = true;
  }
  if (index.activeSieve() !== undefined) {
    index.setActiveSieve(undefined);
    changed = true;
  }
  return changed;
}

/** Our own note that the client was asked for a mailbox as a whole: all of it, though parts of it may have come. */
function heal({ index, line }: VerbContext): boolean | Rejection {
  const uniqueid = field(line, 'UNIQUEID');
  if (typeof uniqueid !== 'string') return uniqueid;
  if (index.healMark(uniqueid) !== undefined && !index.isComingInParts(uniqueid)) return false;
  index.markForHeal(uniqueid, []);
  return true;
}

/** Our own note that a chunk was found damaged, and that these messages of it are lost. */
function damage({ index, line, time }: VerbContext): boolean | Rejection {
  const offset = number(line, 'OFFSET');
  const end = number(line, 'END');
  const tsStart = number(line, 'START');
  if (offset === undefined || end === undefined || tsStart === undefined) {
    return badParameters('OFFSET, END or START is missing');
  }
  // Compaction moves chunks: what the note speaks of is no longer there then.
  const chunkId = chunkAt(index, { offset, end, tsStart });
  if (chunkId === undefined) return false;
  let changed = noteDamagedChunk(index, chunkId, time);
  if (index.isMadeAnew) return changed;
  for (const guid of (line.fields.get('GUIDS') ?? '').split(',')) {
    if (loseMessage(index, guid, chunkId)) changed = true;
  }
  return changed;
}

/** Our own line: somebody else had this userid before, whose backup is in the catalog under KEY. */
function former({ index, line }: VerbContext): boolean | Rejection {
  const key = field(line, 'KEY');
  if (typeof key !== 'string') return key;
  index.addFormerKey(key);
  return true;
}

/** Our own line: what is older than this was compacted into a snapshot, so that states before it cannot be had. */
function compacted({ index, line }: VerbContext): boolean | Rejection {
  const time = number(line, 'TIME');
  if (time === undefined) return badParameters('COMPACTED lacks the field TIME');
  if (time <= (index.historySince() ?? 0)) return false;
  index.setHistorySince(time);
  return true;
}

const HAS_ANYTHING = `SELECT EXISTS (SELECT 1 FROM mailbox) OR EXISTS (SELECT 1 FROM message)
  OR EXISTS (SELECT 1 FROM subscription) OR EXISTS (SELECT 1 FROM seen) OR EXISTS (SELECT 1 FROM sieve)
  OR EXISTS (SELECT 1 FROM cb_quota) OR EXISTS (SELECT 1 FROM cb_intermediate)`;
const DROP_NODE = 'DELETE FROM cb_intermediate WHERE mboxname = CAST(? AS TEXT)';
const DELETE_SIEVE = 'UPDATE sieve SET deleted = ? WHERE filename = CAST(? AS TEXT) AND deleted IS NULL';

function field(line: SmallLine, key: string): string | Rejection {
  const value = line.fields.get(key);
  return value ? value : badParameters(`the field ${key} is missing`);
}

function number(line: SmallLine, key: string): number | undefined {
  const value = line.fields.get(key);
  if (typeof value !== 'string' || !/^\d{1,15}$/.test(value)) return undefined;
  return Number(value);
}
