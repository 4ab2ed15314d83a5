/** What an index says that the records of a mailbox add up to, and what they do. */
import type { BackupIndex } from '../../../src/store/index/backup-index.ts';
import { sumOfMailbox } from '../../../src/store/index/record-sum.ts';

/** As kept from change to change. */
export function storedSum(index: BackupIndex, uniqueid: string): number | 'not counted' {
  const sql = `SELECT coalesce(c.crc, m.sync_crc, 0) FROM mailbox m LEFT JOIN cb_mailbox c ON c.mailbox_id = m.id
    WHERE m.uniqueid = ?`;
  const sum = (index.statement(sql, 'pluck').get(uniqueid) as number | undefined) ?? 0;
  return sum === -1 ? 'not counted' : sum;
}

/** Of all of them. */
export function wholeSum(index: BackupIndex, uniqueid: string): number {
  const id = index.statement('SELECT id FROM mailbox WHERE uniqueid = ?', 'pluck').get(uniqueid);
  return id === undefined ? 0 : sumOfMailbox(index, id as number);
}
