/** A folder of EML files: one for each message, in a folder for each mailbox. */
import fs from 'node:fs';
import path from 'node:path';
import { decodeMailboxName } from '../../csync/modified-utf7.ts';
import { writeAllSync } from '../../platform/durable.ts';
import { BackupError } from '../../platform/errors.ts';
import { ioError } from '../../platform/io-error.ts';
import type { PlannedMailbox, RestorePlan } from '../plan.ts';
import type { RestoreReport } from '../report.ts';
import type { Conflict, RestoreTarget } from '../target.ts';
import { folderPath } from './folder-path.ts';

/**
 * `DIR/INBOX/Sent/000001234.eml`: the message byte for byte, named by its UID, its modification time the internal
 * date. Flags have no place in an EML file; the targets maildir and json keep them.
 */
export class EmlTarget implements RestoreTarget {
  readonly description: string;
  readonly #dir: string;

  constructor(dir: string) {
    this.#dir = path.resolve(dir);
    this.description = `eml:${this.#dir}`;
  }

  async conflicts(plan: RestorePlan): Promise<Conflict[]> {
    return plan.mailboxes
      .map((planned) => this.#folderOf(planned))
      .filter((folder) => fs.existsSync(folder))
      .map((what) => ({ what, effect: 'messages that are there already stay as they are' }));
  }

  async restore(plan: RestorePlan, report: RestoreReport): Promise<void> {
    for (const planned of plan.mailboxes) {
      const folder = this.#folderOf(planned);
      fs.mkdirSync(folder, { recursive: true, mode: 0o700 });
      report.mailboxes++;
      for (const { uid, guid, size, internaldate } of planned.records()) {
        const file = path.join(folder, `${String(uid).padStart(9, '0')}.eml`);
        if (fs.existsSync(file)) {
          report.wasPresent(size ?? 0);
          continue;
        }
        try {
          report.restored(writeMessage(file, plan.source.content(guid), internaldate));
        } catch (error) {
          if (!(error instanceof BackupError)) throw ioError(error, 'write', file);
          if (error.code !== 'CHUNK_CORRUPT' && error.code !== 'NOT_FOUND') throw error;
          const mailbox = planned.mailbox.mboxname;
          const what = `message ${uid} of ${mailbox}`;
          report.shortfall({ kind: 'damaged', what, mailbox, uid, guid, reason: error.reason });
        }
      }
    }
  }

  async close(): Promise<void> {}

  #folderOf({ folders }: PlannedMailbox): string {
    return path.join(this.#dir, folderPath(['INBOX', ...folders.map(decodeMailboxName)]));
  }
}

/** Under another name until it is whole. @returns its size */
function writeMessage(file: string, content: Iterable<Uint8Array>, time: number): number {
  const part = `${file}.part`;
  const fd = fs.openSync(part, 'w', 0o600);
  let size = 0;
  try {
    for (const piece of content) {
      writeAllSync(fd, [piece], size);
      size += piece.length;
    }
    fs.futimesSync(fd, time, time);
  } catch (error) {
    fs.rmSync(part, { force: true });
    throw error;
  } finally {
    fs.closeSync(fd);
  }
  fs.renameSync(part, file);
  return size;
}
