/** mbox files, one for each mailbox. */
import fs from 'node:fs';
import path from 'node:path';
import { crashPoint } from '../../platform/crash-points.ts';
import { writeAllSync } from '../../platform/durable.ts';
import type { PlannedMailbox, RestorePlan } from '../plan.ts';
import type { RestoreReport } from '../report.ts';
import type { BackupSource, StoredRecord } from '../source.ts';
import type { Conflict, RestoreTarget } from '../target.ts';
import { attempt, DurableFiles, isThere, writeNames } from './durable-files.ts';
import { placeMailboxes } from './file-names.ts';
import { type LineEnds, type MboxBase, MboxQuoter, mboxHead } from './mbox-text.ts';
import { remarkDropped } from './output-file.ts';
import { remarkSettings } from './settings-remark.ts';
import { checkFolder, noteLoss, targetError } from './target-error.ts';

const SUFFIX = '.mbox';

/** `DIR/INBOX.mbox`, `DIR/INBOX/Sent.mbox`. A file gets its name when it is complete and on disk; it replaces one that is there. */
export class MboxTarget implements RestoreTarget {
  readonly description: string;
  readonly #dir: string;

  constructor(dir: string) {
    this.#dir = path.resolve(dir);
    this.description = `mbox:${this.#dir}`;
  }

  async conflicts(plan: RestorePlan): Promise<Conflict[]> {
    checkFolder(this.#dir);
    return [...placeMailboxes(plan).paths.values()]
      .map((names) => path.join(this.#dir, ...names) + SUFFIX)
      .filter(isThere)
      .map((what) => ({ what, effect: 'it is replaced' }));
  }

  async restore(plan: RestorePlan, report: RestoreReport): Promise<void> {
    remarkSettings(plan, report);
    const { paths, cut } = placeMailboxes(plan);
    const files = new DurableFiles(this.#dir);
    try {
      for (const planned of plan.mailboxes) {
        const file = path.join(this.#dir, ...paths.get(planned)!) + SUFFIX;
        const part = `${file}.part`;
        files.folder(path.dirname(file));
        if (fs.existsSync(part)) remarkDropped(report, file, 'mbox');
        const mbox = new MboxFile(part);
        try {
          writeMailbox(mbox, planned, plan.source, report);
          mbox.close();
        } catch (error) {
          mbox.discard();
          throw error;
        }
        files.add(part, file, mbox.size);
        report.mailboxes++;
        await files.settle();
      }
      writeNames(files, this.#dir, cut);
    } catch (error) {
      await files.abandon();
      throw error;
    }
    await files.finish();
  }

  async close(): Promise<void> {}
}

function writeMailbox(
  mbox: MboxFile,
  planned: PlannedMailbox,
  source: BackupSource,
  report: RestoreReport,
): void {
  let base: MboxBase | undefined = baseOf(planned);
  for (const record of planned.records()) {
    try {
      report.restored(mbox.append(record, source, base));
      base = undefined;
      crashPoint('restore-message-written');
    } catch (error) {
      noteLoss(report, planned, record, error);
    }
  }
}

function baseOf({ mailbox: { uidvalidity, lastUid }, records }: PlannedMailbox): MboxBase {
  const keywords = new Set<string>();
  let last = lastUid;
  for (const { flags, uid } of records()) {
    last = Math.max(last, uid);
    for (const flag of flags) if (!flag.startsWith('\\')) keywords.add(flag);
  }
  return { uidvalidity, lastUid: last, keywords: [...keywords] };
}

class MboxFile {
  size = 0;
  readonly #fd: number;
  readonly #path: string;
  readonly #failed = (error: unknown): Error => targetError(error, 'write', this.#path);

  constructor(path: string) {
    this.#path = path;
    this.#fd = attempt(() => fs.openSync(path, 'w', 0o600), this.#failed);
  }

  /**
   * @returns the size of the message
   * @throws BackupError as BackupSource.content() does; the file is as before then
   */
  append(record: StoredRecord, source: BackupSource, base: MboxBase | undefined): number {
    const begin = this.size;
    try {
      let head = {
        size: source.findMessage(record.guid)?.size ?? record.size ?? 0,
        ends: 'crlf' as LineEnds,
      };
      for (;;) {
        const { size, foundBareLf } = this.#write(record, source, base, head);
        const ends = foundBareLf ? 'asis' : head.ends;
        if (ends === head.ends && size === head.size) return size;
        // The head was wrong: with the right one once more.
        head = { size: ends === head.ends ? size : head.size, ends };
        this.#cut(begin);
      }
    } catch (error) {
      this.#cut(begin);
      throw error;
    }
  }

  close(): void {
    attempt(() => fs.closeSync(this.#fd), this.#failed);
  }

  discard(): void {
    fs.closeSync(this.#fd);
    fs.rmSync(this.#path, { force: true });
  }

  #write(
    record: StoredRecord,
    source: BackupSource,
    base: MboxBase | undefined,
    head: { size: number; ends: LineEnds },
  ): { size: number; foundBareLf: boolean } {
    this.#put(mboxHead(record, head.size, head.ends, base));
    const quoter = new MboxQuoter(head.ends, (bytes) => this.#put(bytes));
    let size = 0;
    for (const piece of source.content(record.guid)) {
      size += piece.length;
      if (!quoter.push(piece)) return { size, foundBareLf: true };
    }
    quoter.end();
    return { size, foundBareLf: quoter.foundBareLf };
  }

  #put(bytes: Uint8Array): void {
    this.size = attempt(() => writeAllSync(this.#fd, [bytes], this.size), this.#failed);
  }

  #cut(size: number): void {
    attempt(() => fs.ftruncateSync(this.#fd, size), this.#failed);
    this.size = size;
  }
}
