/**
 * Says again what no MAILBOX says and what the lines of a damaged chunk may have said: subscriptions, seen states,
 * quotas, annotations, the active script. The index still knows it, so that nobody has to be asked. Only the text
 * of a Sieve script is nowhere else: one that cannot be read is forgotten, and the client sends it again.
 */
import { printString } from '../csync/encoder.ts';
import type { BackupIndex } from './index/backup-index.ts';
import { fromBlob } from './index/sql-text.ts';
import { writeNote } from './notes.ts';
import type { OpenChunk } from './open-chunk.ts';

/** @param isScriptReadable whether the text of the script whose SIEVE line begins there is what its GUID says */
export function restateSmall(
  index: BackupIndex,
  chunk: OpenChunk,
  userid: string,
  damaged: readonly number[],
  isScriptReadable: (script: { chunkId: number; lineOffset: number; guid: string }) => boolean,
): void {
  const line = (text: string): void => {
    chunk.beginLine();
    chunk.appendText(Buffer.from(`${text}\r\n`, 'latin1'));
  };
  const note = (verb: string, value: string): void =>
    writeNote(chunk, verb, { bytes: Buffer.from(value, 'latin1') });
  const user = `USERID ${printString(userid)}`;
  for (const id of damaged) {
    for (const [mboxname, unsubscribed] of rows(index, SUBSCRIPTIONS, id) as [Buffer, number | null][]) {
      line(
        `${unsubscribed === null ? 'SUB' : 'UNSUB'} %(${user} MBOXNAME ${printString(fromBlob(mboxname))})`,
      );
    }
    for (const [uniqueid, lastread, lastuid, lastchange, uids] of rows(index, SEEN, id) as SeenValues[]) {
      const seen = `LASTREAD ${lastread} LASTUID ${lastuid} LASTCHANGE ${lastchange}`;
      const of = `${user} UNIQUEID ${printString(fromBlob(uniqueid))}`;
      line(`SEEN %(${of} ${seen} SEENUIDS ${printString(fromBlob(uids) ?? '')})`);
    }
    for (const table of ['subscription', 'seen']) {
      index.statement(`UPDATE ${table} SET last_chunk_id = ? WHERE last_chunk_id = ?`).run(chunk.id, id);
    }
    for (const [script, lineOffset, guid] of rows(index, SCRIPTS, id) as [number, number, string][]) {
      if (isScriptReadable({ chunkId: id, lineOffset, guid })) continue;
      index.statement('DELETE FROM sieve WHERE id = ?').run(script);
    }
  }
  // Of these nobody knows where they were said.
  for (const [fields] of rows(index, QUOTAS) as [Buffer][]) note('QUOTA', fromBlob(fields));
  for (const [fields] of rows(index, ANNOTATIONS) as [Buffer][]) note('ANNOTATION', fromBlob(fields));
  const active = index.activeSieve();
  if (active !== undefined) note('ACTIVATE_SIEVE', `%(${user} FILENAME ${printString(active)})`);
}

type SeenValues = [
  uniqueid: Buffer,
  lastread: number,
  lastuid: number,
  lastchange: number,
  uids: Buffer | null,
];

function rows(index: BackupIndex, sql: string, ...parameters: unknown[]): unknown[] {
  return index.statement(sql, 'raw').all(...parameters);
}

const SUBSCRIPTIONS =
  'SELECT CAST(mboxname AS BLOB), unsubscribed FROM subscription WHERE last_chunk_id = ? ORDER BY id';
const SEEN = `SELECT CAST(uniqueid AS BLOB), lastread, lastuid, lastchange, CAST(seenuids AS BLOB) FROM seen
  WHERE last_chunk_id = ? ORDER BY id`;
const SCRIPTS = 'SELECT id, offset, guid FROM sieve WHERE chunk_id = ? AND deleted IS NULL ORDER BY id';
const QUOTAS = 'SELECT CAST(fields AS BLOB) FROM cb_quota ORDER BY root';
const ANNOTATIONS = 'SELECT CAST(fields AS BLOB) FROM cb_annotation ORDER BY mboxname, entry, userid';
