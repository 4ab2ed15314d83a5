/**
 * Speed of the index alone: RECORDs a second into it (new messages, then their update) and out of it
 * (FULLMAILBOX), by CPU time. `node bench/index.ts [RECORDS]`, 100000 if not said otherwise.
 */
import { createHash } from 'node:crypto';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { DlistSax } from '../src/csync/dlist-sax.ts';
import { answer } from '../src/store/index/answers.ts';
import { BackupIndex, type NewMessage } from '../src/store/index/backup-index.ts';
import type { LineApplier } from '../src/store/index/line-applier.ts';

const PIECE_BYTES = 64 * 1024;
const count = Number(process.argv[2] ?? 100_000);
const guids = Array.from({ length: count }, (_, at) => createHash('sha1').update(String(at)).digest('hex'));

function mailboxText(updated: number, annotated: boolean): Buffer {
  const records = guids.map((guid, at) => {
    const annotations = annotated
      ? ` ANNOTATIONS (%(ENTRY /vendor/cmu/cyrus-imapd/savedate USERID "" MODSEQ 0 VALUE ${updated}))`
      : '';
    return (
      `%(UID ${at + 1} MODSEQ ${at + 2} LAST_UPDATED ${updated} FLAGS (\\Seen $Forwarded) ` +
      `INTERNALDATE ${1_700_000_000 + at} SIZE 3403 GUID ${guid}${annotations})`
    );
  });
  return Buffer.from(
    `%(UNIQUEID u1 MBOXNAME user.anne SYNC_CRC 1 SYNC_CRC_ANNOT 1 LAST_UID ${count} HIGHESTMODSEQ ${count + 2} ` +
      'RECENTUID 9 RECENTTIME 5 LAST_APPENDDATE 5 POP3_LAST_LOGIN 0 UIDVALIDITY 5 PARTITION default ACL "" ' +
      `OPTIONS P RECORD (${records.join(' ')}))`,
    'latin1',
  );
}

function apply(applier: LineApplier, text: Buffer, time: number): void {
  const sax = new DlistSax(applier);
  applier.beginLine({ verb: 'MAILBOX', command: 'APPLY', time, lineOffset: 29 });
  sax.begin(0);
  for (let at = 0; at < text.length; at += PIECE_BYTES) {
    sax.push(text, at, Math.min(text.length, at + PIECE_BYTES));
  }
  const outcome = applier.endLine();
  if (outcome.type !== 'ok' || !outcome.changed) throw new Error(`not applied: ${JSON.stringify(outcome)}`);
}

/** Records a second of CPU time. */
function rate(work: () => void): string {
  const before = process.cpuUsage();
  work();
  const { user, system } = process.cpuUsage(before);
  return `${Math.round((count / (user + system)) * 1000)} k/s`;
}

const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'csync-bench-'));
const table: Record<string, Record<string, string>> = {};
for (const annotated of [false, true]) {
  const file = path.join(folder, `${annotated}.index`);
  const index = BackupIndex.open(file, { create: true });
  const fresh = mailboxText(1_700_000_000, annotated);
  const changed = mailboxText(1_700_000_001, annotated);
  index.begin();
  const chunkId = index.startChunk({ offset: 0, tsStart: 5, fileSha1: '' });
  const place = { partition: 'default', chunkId, lineOffset: 29, size: 3403 };
  const pending = new Map<string, NewMessage>(
    guids.map((guid, at) => [guid, { ...place, guid, contentOffset: 100 + at * 3500 }]),
  );
  const claim = (guid: string): NewMessage | undefined => {
    const message = pending.get(guid);
    pending.delete(guid);
    return message;
  };
  const applier = index.applier({ chunkId, live: true, pending: { claim } });
  const row: Record<string, string> = {};
  row['new messages'] = rate(() => apply(applier, fresh, 5));
  row.updates = rate(() => apply(applier, changed, 6));
  index.commit();
  row.FULLMAILBOX = rate(() => {
    let bytes = 0;
    for (const piece of answer(index, { what: 'FULLMAILBOX', mboxname: 'user.anne' })!) bytes += piece.length;
    if (bytes < count * 100) throw new Error('the answer is too short');
  });
  index.close();
  row['bytes a record'] = String(Math.round(fs.statSync(file).size / count));
  table[annotated ? 'with annotations' : 'without annotations'] = row;
}
fs.rmSync(folder, { recursive: true });
console.table(table);
