/** A tar archive of EML files, in a file or on standard output. */
import path from 'node:path';
import { crashPoint } from '../../platform/crash-points.ts';
import type { PlannedMailbox, RestorePlan } from '../plan.ts';
import type { RestoreReport } from '../report.ts';
import type { StoredRecord } from '../source.ts';
import type { Conflict, RestoreTarget } from '../target.ts';
import { messageFile } from './eml.ts';
import { NAMES_FILE, namesTable, placeMailboxes } from './file-names.ts';
import { checkOutput, OutputFile, remarkDropped, STANDARD_OUTPUT } from './output-file.ts';
import { remarkSettings } from './settings-remark.ts';
import { soundMessage } from './sound-message.ts';
import { encodeEntry, endOfArchive, padding } from './tar-header.ts';
import { noteLoss } from './target-error.ts';

/**
 * `INBOX/Sent/000001234.eml`, as the target eml has it, with UID, GUID, flags and so on as extended attributes. A
 * damaged message is not in it: what has been written cannot be taken back, so each is checked before.
 */
export class TarTarget implements RestoreTarget {
  readonly description: string;
  readonly usesStandardOutput: boolean;
  readonly #file: string;

  /** @param file a path, or `-` */
  constructor(file: string) {
    this.usesStandardOutput = file === STANDARD_OUTPUT;
    this.#file = this.usesStandardOutput ? file : path.resolve(file);
    this.description = `tar:${this.#file}`;
  }

  async conflicts(): Promise<Conflict[]> {
    return checkOutput(this.#file) ? [{ what: this.#file, effect: 'it is replaced' }] : [];
  }

  async restore(plan: RestorePlan, report: RestoreReport): Promise<void> {
    remarkSettings(plan, report);
    const { paths, cut } = placeMailboxes(plan);
    const archive = new TarArchive(this.#file);
    if (archive.dropsPart) remarkDropped(report, this.#file, 'tar');
    try {
      for (const planned of plan.mailboxes) {
        writeMailbox(archive, paths.get(planned)!.join('/'), planned, plan, report);
        report.mailboxes++;
      }
      if (cut.size > 0) {
        const table = namesTable(cut);
        archive.file(NAMES_FILE, { size: table.length, pieces: [table] }, Math.floor(Date.now() / 1000), {});
      }
      archive.finish();
    } catch (error) {
      archive.discard();
      throw error;
    }
  }

  async close(): Promise<void> {}
}

function writeMailbox(
  archive: TarArchive,
  folder: string,
  planned: PlannedMailbox,
  { source }: RestorePlan,
  report: RestoreReport,
): void {
  const { mboxname, uniqueid, uidvalidity, lastAppenddate } = planned.mailbox;
  archive.folder(folder, lastAppenddate, { mboxname, uniqueid, uidvalidity: String(uidvalidity) });
  for (const record of planned.records()) {
    try {
      const message = soundMessage(source, record.guid);
      archive.file(`${folder}/${messageFile(record)}`, message, record.internaldate, attributesOf(record));
      report.restored(message.size);
      crashPoint('restore-message-written');
    } catch (error) {
      noteLoss(report, planned, record, error);
    }
  }
}

function attributesOf({ uid, guid, modseq, flags, expunged }: StoredRecord): Record<string, string> {
  return {
    uid: String(uid),
    guid,
    modseq: String(modseq),
    ...(flags.length > 0 && { flags: flags.join(' ') }),
    ...(expunged !== undefined && { expunged: String(expunged) }),
  };
}

class TarArchive {
  readonly #output: OutputFile;
  #size = 0;
  readonly #folders = new Set<string>();

  constructor(file: string) {
    this.#output = new OutputFile(file);
  }

  get dropsPart(): boolean {
    return this.#output.dropsPart;
  }

  /** With those around it, unless they are there. */
  folder(name: string, mtime: number, attributes: Record<string, string>): void {
    const parent = path.posix.dirname(name);
    if (parent !== '.' && !this.#folders.has(parent)) this.folder(parent, mtime, {});
    this.#folders.add(name);
    this.#put(encodeEntry({ path: name, type: 'folder', size: 0, mtime, attributes }));
  }

  file(
    name: string,
    { size, pieces }: { size: number; pieces: Iterable<Uint8Array> },
    mtime: number,
    attributes: Record<string, string>,
  ): void {
    this.#put(encodeEntry({ path: name, type: 'file', size, mtime, attributes }));
    for (const piece of pieces) this.#put(piece);
    this.#put(padding(size));
  }

  finish(): void {
    this.#put(endOfArchive(this.#size));
    this.#output.finish();
  }

  discard(): void {
    this.#output.discard();
  }

  #put(bytes: Uint8Array): void {
    this.#output.write(bytes);
    this.#size += bytes.length;
  }
}
