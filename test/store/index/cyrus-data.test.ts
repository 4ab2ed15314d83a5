/** Data files that Cyrus wrote, indexed by us, against the indexes that Cyrus made of them. */
import { readFileSync } from 'node:fs';
import path from 'node:path';
import zlib from 'node:zlib';
import Database from 'better-sqlite3';
import { expect, test } from 'vitest';
import { LineParser } from '../../../src/csync/line-parser.ts';
import type { BackupIndex } from '../../../src/store/index/backup-index.ts';
import { IndexRig } from './index-rig.ts';

const SAMPLE = path.join(import.meta.dirname, '../../fixtures/backup-sample');

/** The members between the chunk offsets of Cyrus's index, applied one after the other. */
function indexAnew(
  data: Buffer,
  chunks: { offset: number; ts_start: number; file_sha1: string }[],
  index: BackupIndex,
) {
  for (const [at, { offset, ts_start, file_sha1 }] of chunks.entries()) {
    const content = zlib.gunzipSync(data.subarray(offset, chunks[at + 1]?.offset ?? data.length));
    const chunkId = index.startChunk({ offset, tsStart: ts_start, fileSha1: file_sha1 });
    const applier = index.applier({ chunkId, live: false });
    const parser = new LineParser({
      lineStart: ({ verb, command, time, offset: lineOffset }) =>
        applier.beginLine({ verb, command, time, lineOffset }),
      lineEnd: () => expect(applier.endLine()).toMatchObject({ type: 'ok' }),
      malformed: (line) => expect.unreachable(line.reason),
      beginList: (o) => applier.beginList(o),
      beginKvlist: (o) => applier.beginKvlist(o),
      end: (o) => applier.end(o),
      key: (key, o) => applier.key(key, o),
      scalar: (value, o) => applier.scalar(value, o),
      file: (file, o) => applier.file(file, o),
    });
    parser.reset(0);
    for (let from = 0; from < content.length; from += 5000) {
      parser.push(content, from, Math.min(content.length, from + 5000));
    }
    parser.end();
  }
}

const TABLES = [
  'SELECT id, ts_start, offset, file_sha1 FROM chunk ORDER BY id',
  'SELECT guid, partition, chunk_id, offset, size FROM message ORDER BY guid',
  `SELECT last_chunk_id, uniqueid, mboxname, mboxtype, last_uid, highestmodseq, recentuid, recenttime,
    last_appenddate, pop3_last_login, pop3_show_after, uidvalidity, partition, acl, options, sync_crc,
    sync_crc_annot, coalesce(xconvmodseq, 0), annotations, deleted FROM mailbox ORDER BY uniqueid`,
  `SELECT b.uniqueid, m.guid, r.last_chunk_id, r.uid, r.modseq, r.last_updated, r.flags, r.internaldate,
      r.annotations, r.expunged
    FROM mailbox_message r JOIN mailbox b ON b.id = r.mailbox_id JOIN message m ON m.id = r.message_id
    ORDER BY b.uniqueid, r.uid`,
  // Not last_chunk_id: Cyrus takes the newest repeat of a SUB, for us the line that changed something counts.
  'SELECT mboxname, unsubscribed FROM subscription ORDER BY mboxname',
  'SELECT last_chunk_id, uniqueid, lastread, lastuid, lastchange, seenuids FROM seen ORDER BY uniqueid',
  'SELECT chunk_id, last_update, filename, guid, offset, deleted FROM sieve ORDER BY id',
];

test.each(['carol_fQAmPe', 'erik_em7N7U'])('%s: our rows are those of Cyrus', (name) => {
  const theirs = new Database(path.join(SAMPLE, `${name}.index`), { readonly: true });
  const rig = new IndexRig();
  rig.index.rollback();
  rig.index.begin();
  const chunks = theirs.prepare('SELECT offset, ts_start, file_sha1 FROM chunk ORDER BY id').all();
  indexAnew(readFileSync(path.join(SAMPLE, name)), chunks as never, rig.index);
  for (const sql of TABLES) {
    expect(rig.index.statement(sql).all()).toEqual(theirs.prepare(sql).all());
  }
  theirs.close();
  rig.remove();
});
