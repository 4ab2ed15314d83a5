/**
 * A backup at rest is two files of which a copy opens without recovery: the chunk has its trailer, the index is
 * committed, both are synced, nobody has the lock. Sessions need not notice: what they had put into the file
 * for a MAILBOX that is still to come lies in a staging file afterwards, and is asked for from there.
 */
import type { StagedMessage } from '../pipeline/messages.ts';
import { fdatasync } from '../platform/durable.ts';
import type { Backup } from './backup.ts';
import { exportPending, type SpoolFile } from './line-text.ts';

/**
 * Finishes chunk and index, syncs both files and gives up the lock. Expects that no command is half received.
 *
 * @param openSpool makes a staging file of the session that has the backup; called only if one is needed
 * @returns messages that lay in the file as nobody's yet, where they lie now
 */
export async function bringToRest(backup: Backup, openSpool: () => SpoolFile): Promise<StagedMessage[]> {
  const { chunk } = backup;
  let staged: StagedMessage[] = [];
  // Those that the user reserved stay in the file when a chunk ends; see OpenChunk.finish().
  if (chunk !== undefined && chunk.pending.strangers().length > 0) {
    const spool = openSpool();
    try {
      staged = exportPending(chunk, spool);
    } finally {
      spool.close();
    }
    chunk.rollbackToCommitted();
  }
  await backup.endChunk();
  // The trailer too: not needed for what was acknowledged, but a copy without it would have to be mended.
  if (chunk !== undefined && !backup.file.staged) await fdatasync(backup.file.fd);
  await backup.release();
  return staged;
}
