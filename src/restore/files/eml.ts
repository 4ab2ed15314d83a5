/** A folder of EML files: one for each message, in a folder for each mailbox. */
import fs from 'node:fs';
import path from 'node:path';
import type { PlannedMailbox, RestorePlan } from '../plan.ts';
import type { RestoreReport } from '../report.ts';
import type { StoredRecord } from '../source.ts';
import type { Conflict, RestoreTarget } from '../target.ts';
import { DurableFiles, isThere, writeNames } from './durable-files.ts';
import { placeMailboxes } from './file-names.ts';
import { remarkSettings } from './settings-remark.ts';
import { checkFolder, noteLoss } from './target-error.ts';

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
    checkFolder(this.#dir);
    return [...placeMailboxes(plan).paths.values()]
      .map((names) => path.join(this.#dir, ...names))
      .filter(isThere)
      .map((what) => ({ what, effect: 'messages that are there already stay as they are' }));
  }

  async restore(plan: RestorePlan, report: RestoreReport): Promise<void> {
    remarkSettings(plan, report);
    const places = placeMailboxes(plan);
    const files = new DurableFiles(this.#dir);
    try {
      for (const planned of plan.mailboxes) {
        const folder = path.join(this.#dir, ...places.paths.get(planned)!);
        await this.#mailbox(folder, planned, plan, report, files);
        report.mailboxes++;
      }
      writeNames(files, this.#dir, places.cut);
    } catch (error) {
      await files.abandon();
      throw error;
    }
    await files.finish();
  }

  async close(): Promise<void> {}

  async #mailbox(
    folder: string,
    planned: PlannedMailbox,
    { source }: RestorePlan,
    report: RestoreReport,
    files: DurableFiles,
  ): Promise<void> {
    files.folder(folder);
    for (const record of planned.records()) {
      const { guid, size, internaldate } = record;
      const file = path.join(folder, messageFile(record));
      const another = path.join(folder, messageFile(record, true));
      const there = fs.lstatSync(file, { throwIfNoEntry: false });
      if (there !== undefined && (isThisMessage(there, record) || isThere(another))) {
        report.wasPresent(size ?? 0);
        continue;
      }
      try {
        const free = there === undefined ? file : another;
        report.restored(files.write(`${free}.part`, free, source.content(guid), internaldate));
      } catch (error) {
        noteLoss(report, planned, record, error);
      }
      await files.settle();
    }
  }
}

/** In the order of UIDs when sorted by name; `another` where another message has this UID, from before a mailbox was made anew. */
export function messageFile({ uid, guid }: Pick<StoredRecord, 'uid' | 'guid'>, another = false): string {
  return `${String(uid).padStart(9, '0')}${another ? `-${guid}` : ''}.eml`;
}

function isThisMessage(there: fs.Stats, { size, internaldate }: StoredRecord): boolean {
  return there.size === size && Math.trunc(there.mtimeMs / 1000) === internaldate;
}
