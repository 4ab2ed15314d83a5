/** A Maildir++, as Dovecot and Courier serve it. */
import fs from 'node:fs';
import path from 'node:path';
import { mailboxOwner, parseMailboxName } from '../../csync/mailbox-name.ts';
import type { PlannedMailbox, RestorePlan } from '../plan.ts';
import type { RestoreReport } from '../report.ts';
import type { StoredMailbox, StoredRecord } from '../source.ts';
import type { Conflict, RestoreTarget } from '../target.ts';
import { type KnownUidlist, parseUidlist, UidlistWriter } from './dovecot-uidlist.ts';
import { DurableFiles, isThere, namesIn, writeNames } from './durable-files.ts';
import { cutName, freeName } from './file-names.ts';
import {
  MaildirKeywords,
  maildirBase,
  maildirFlags,
  maildirFolder,
  parseMaildirName,
} from './maildir-names.ts';
import { remarkSettings } from './settings-remark.ts';
import { checkFolder, noteLoss, targetError } from './target-error.ts';

const UIDLIST = 'dovecot-uidlist';
const KEYWORDS = 'dovecot-keywords';
const SUBSCRIPTIONS = 'subscriptions';
/** Digits of a GUID that are kept for each message that is there: with the UID a number of 52 bits. */
const GUID_DIGITS = 5;

/**
 * `DIR/cur` is INBOX, `DIR/.Archive.2025/cur` the mailbox Archive/2025. A message keeps its flags and keywords, its
 * internal date as modification time, and by `dovecot-uidlist` its UID. Files are made in `tmp` and get their names in
 * `cur` when they are on disk (src/restore/files/durable-files.ts), the list behind the messages that it names.
 */
export class MaildirTarget implements RestoreTarget {
  readonly description: string;
  readonly #dir: string;

  constructor(dir: string) {
    this.#dir = path.resolve(dir);
    this.description = `maildir:${this.#dir}`;
  }

  async conflicts(plan: RestorePlan): Promise<Conflict[]> {
    checkFolder(this.#dir);
    return [...this.#places(plan).folders.values()]
      .filter((folder) => isThere(path.join(folder, 'cur')))
      .map((what) => ({ what, effect: 'messages that are there stay, those that are not are added' }));
  }

  async restore(plan: RestorePlan, report: RestoreReport): Promise<void> {
    remarkSettings(plan, report, ['subscriptions']);
    const { folders, cut } = this.#places(plan);
    const files = new DurableFiles(this.#dir);
    try {
      // Without it the folder is no Maildir, whatever is below it.
      this.#makeMaildir(files, this.#dir);
      for (const planned of plan.mailboxes) {
        const folder = folders.get(planned)!;
        this.#makeMaildir(files, folder);
        if (folder !== this.#dir) this.#touch(path.join(folder, 'maildirfolder'));
        await new MaildirWriter(folder, planned, plan, report, files).run();
        report.mailboxes++;
      }
      if (plan.withSettings) this.#subscribe(plan, report, files);
      writeNames(files, this.#dir, cut);
    } catch (error) {
      await files.abandon();
      throw error;
    }
    await files.finish();
  }

  async close(): Promise<void> {}

  #places(plan: RestorePlan): { folders: Map<PlannedMailbox, string>; cut: Map<string, string> } {
    const folders = new Map<PlannedMailbox, string>();
    const cut = new Map<string, string>();
    const taken = new Set<string>();
    for (const planned of plan.mailboxes) {
      const full = maildirFolder(planned.folders);
      const name = freeName(cutName(full), taken);
      if (name !== full) cut.set(name, full);
      folders.set(planned, path.join(this.#dir, name));
    }
    return { folders, cut };
  }

  #makeMaildir(files: DurableFiles, folder: string): void {
    for (const name of ['cur', 'new', 'tmp']) files.folder(path.join(folder, name));
  }

  #touch(file: string): void {
    try {
      fs.closeSync(fs.openSync(file, 'a', 0o600));
    } catch (error) {
      throw targetError(error, 'write', file);
    }
  }

  /** Dovecot's list of subscribed mailboxes: their names with dots, as those of the folders without the first. */
  #subscribe({ source, userid, rules, into }: RestorePlan, report: RestoreReport, files: DurableFiles): void {
    const file = path.join(this.#dir, SUBSCRIPTIONS);
    const before = fs.existsSync(file) ? fs.readFileSync(file, 'latin1').split('\n').filter(Boolean) : [];
    const names = new Set(before);
    const others: string[] = [];
    for (const mboxname of source.subscriptions()) {
      const parsed = parseMailboxName(mboxname, rules);
      if (mailboxOwner(mboxname, rules) !== userid) others.push(mboxname);
      else {
        const folders = into === undefined ? parsed.folders : [into, ...parsed.folders];
        names.add(folders.length === 0 ? 'INBOX' : cutName(maildirFolder(folders)).slice(1));
      }
    }
    if (others.length > 0) {
      report.remark(`subscriptions to mailboxes of others have no place in a Maildir: ${others.join(', ')}`);
    }
    if (names.size === before.length) return;
    const text = [...names].map((name) => `${name}\n`).join('');
    files.write(`${file}.part`, file, [Buffer.from(text, 'latin1')]);
  }
}

/** One mailbox. */
class MaildirWriter {
  readonly #folder: string;
  readonly #planned: PlannedMailbox;
  readonly #mailbox: StoredMailbox;
  readonly #plan: RestorePlan;
  readonly #report: RestoreReport;
  readonly #files: DurableFiles;
  readonly #keywords: MaildirKeywords;

  constructor(
    folder: string,
    planned: PlannedMailbox,
    plan: RestorePlan,
    report: RestoreReport,
    files: DurableFiles,
  ) {
    this.#folder = folder;
    this.#planned = planned;
    this.#mailbox = planned.mailbox;
    this.#plan = plan;
    this.#report = report;
    this.#files = files;
    this.#keywords = new MaildirKeywords(this.#textOf(KEYWORDS));
  }

  async run(): Promise<void> {
    this.#writeKeywords();
    const present = this.#present();
    const uidlist = this.#openUidlist();
    let added = 0;
    try {
      for (const record of this.#planned.records()) {
        const { uid, size } = record;
        if (present.has(presenceKey(record))) {
          this.#report.wasPresent(size ?? 0);
          if (size !== undefined) uidlist?.add(uid, `${maildirBase(record)},S=${size}`);
          continue;
        }
        const written = this.#message(record);
        if (written === undefined) continue;
        added++;
        uidlist?.add(uid, `${maildirBase(record)},S=${written}`);
        await this.#files.settle();
      }
    } catch (error) {
      uidlist?.discard();
      throw error;
    }
    this.#finish(uidlist, added);
  }

  /** @returns its size; undefined if the backup has lost it */
  #message(record: StoredRecord): number | undefined {
    const base = maildirBase(record);
    const part = path.join(this.#folder, 'tmp', base);
    const flags = maildirFlags(record.flags, this.#keywords);
    const nameFor = (size: number): string => path.join(this.#folder, 'cur', `${base},S=${size}:2,${flags}`);
    try {
      const content = this.#plan.source.content(record.guid);
      const size = this.#files.write(part, nameFor, content, record.internaldate);
      this.#report.restored(size);
      return size;
    } catch (error) {
      noteLoss(this.#report, this.#planned, record, error);
      return undefined;
    }
  }

  #finish(uidlist: UidlistWriter | undefined, added: number): void {
    const { mboxname } = this.#mailbox;
    const list = path.join(this.#folder, UIDLIST);
    if (uidlist === undefined) {
      if (added > 0) {
        this.#report.remark(
          `${this.#folder} has UIDs of its own, by Dovecot or from another time: the ${added} messages that were added get new ones`,
        );
      }
    } else if (added === 0 && isThere(list)) uidlist.discard();
    else {
      this.#files.add(uidlist.part, list, uidlist.finish());
      if (uidlist.clashes > 0) {
        this.#report.remark(`${uidlist.clashes} messages of ${mboxname} get new UIDs: others have theirs`);
      }
    }
  }

  /** Gets its name before any message does, since letters of a message mean nothing without. */
  #writeKeywords(): void {
    const uses = new Map<string, number>();
    for (const { flags } of this.#planned.records()) {
      for (const flag of flags) if (!flag.startsWith('\\')) uses.set(flag, (uses.get(flag) ?? 0) + 1);
    }
    // The letters are for those that are used most.
    for (const [keyword] of [...uses].sort(([, a], [, b]) => b - a)) this.#keywords.letter(keyword);
    if (this.#keywords.changed) {
      const file = path.join(this.#folder, KEYWORDS);
      this.#files.write(`${file}.part`, file, [Buffer.from(this.#keywords.text, 'latin1')]);
    }
    const { lost } = this.#keywords;
    if (lost.size === 0) return;
    this.#report.remark(
      `${this.#mailbox.mboxname} has more than the ${MaildirKeywords.MAX} keywords that a Maildir can hold; left out: ${[...lost].join(' ')}`,
    );
  }

  /** What came from a backup before, whatever flags it has got since. */
  #present(): Set<number> {
    const present = new Set<number>();
    for (const name of ['cur', 'new']) {
      for (const file of namesIn(path.join(this.#folder, name))) {
        const parsed = parseMaildirName(file);
        if (parsed !== undefined) present.add(presenceKey(parsed));
      }
    }
    return present;
  }

  /** Undefined: a list is there that is not ours to change, since Dovecot or its clients know what it says. */
  #openUidlist(): UidlistWriter | undefined {
    const { uidvalidity, lastUid } = this.#mailbox;
    const text = this.#textOf(UIDLIST);
    let known: KnownUidlist | undefined;
    if (text !== undefined) {
      known = parseUidlist(text);
      if (known?.uidvalidity !== uidvalidity || isThere(path.join(this.#folder, 'dovecot.index.log'))) {
        return undefined;
      }
    } else if (isThere(path.join(this.#folder, 'dovecot.index.log'))) return undefined;
    const part = path.join(this.#folder, 'tmp', `${UIDLIST}.csync-backup`);
    return new UidlistWriter(part, uidvalidity, lastUid, known);
  }

  #textOf(name: string): string | undefined {
    const file = path.join(this.#folder, name);
    try {
      return fs.readFileSync(file, 'latin1');
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
      throw targetError(error, 'read', file);
    }
  }
}

function presenceKey({ uid, guid }: { uid: number; guid: string }): number {
  return uid * 16 ** GUID_DIGITS + Number.parseInt(guid.slice(0, GUID_DIGITS), 16);
}
