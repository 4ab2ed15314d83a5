/** What changed in a backup when, told while its lines are replayed: one pass, in bounded memory. */
import { parseDlist, textOf } from '../csync/dlist.ts';
import type { LineStart } from '../csync/line-parser.ts';
import { isDeletedMailbox, type NameRules } from '../csync/mailbox-name.ts';
import type { ApplyObserver } from '../store/index/apply-observer.ts';
import type { BackupIndex } from '../store/index/backup-index.ts';
import type { MailboxHeader } from '../store/index/mailbox-header.ts';
import type { StoredMailbox } from '../store/index/mailbox-rows.ts';
import { mailboxByUniqueid } from '../store/index/queries.ts';
import type { RecordFields } from '../store/index/record-store.ts';
import type { SmallLine } from '../store/index/small-line.ts';
import { fromBlob, type SqlText, sqlText } from '../store/index/sql-text.ts';
import type { LinePlace } from '../store/past-index.ts';
import type { FieldChange, HistoryChange, HistoryEvent, MailboxField } from './history-event.ts';
import { type ReplayWatcher, replayLines, type SourceOptions } from './open-source.ts';

export interface HistoryOptions extends SourceOptions {
  rules: NameRules;
}

/**
 * Tells what changed up to the moment, in the order in which it did.
 *
 * @returns when the history begins, in seconds (0: there is none): what is older was compacted, and only its result is
 *   known; and whether a part of it is lost to damage
 */
export async function readHistory(
  dataPath: string,
  options: HistoryOptions,
  onEvent: (event: HistoryEvent) => void,
): Promise<{ since: number; isCompacted: boolean; isPartLost: boolean }> {
  let compacted: number | undefined;
  const past = await replayLines(dataPath, options, (index) => {
    return new HistoryObserver(index, options.rules, (event) => {
      compacted ??= index.historySince() ?? 0; // its line is the first one
      if (event.time > compacted) onEvent(event); // the snapshot is no history
    });
  });
  const { firstTime, historySince = 0, damagedChunks } = past;
  return {
    since: Math.max(historySince, firstTime),
    isCompacted: historySince > 0,
    isPartLost: damagedChunks.length > 0,
  };
}

/** A line with more changes has some of them told before it is known to be whole. */
const MAX_HELD = 1000;

class HistoryObserver implements ReplayWatcher, ApplyObserver {
  readonly observer: ApplyObserver = this;
  readonly #index: BackupIndex;
  readonly #rules: NameRules;
  readonly #emit: (event: HistoryEvent) => void;
  #time = 0;
  #place: LinePlace = { chunkOffset: 0, lineOffset: 0 };
  /** Of the line under way. */
  #held: HistoryChange[] = [];
  /** Of the MAILBOX under way: whether its name was looked at. */
  #isNamed = false;

  constructor(index: BackupIndex, rules: NameRules, emit: (event: HistoryEvent) => void) {
    this.#index = index;
    this.#rules = rules;
    this.#emit = emit;
  }

  onLine({ time, offset: lineOffset }: LineStart, chunkOffset: number): void {
    this.#held = []; // of a line that was not whole
    this.#isNamed = false;
    this.#time = time;
    this.#place = { chunkOffset, lineOffset };
  }

  // MAILBOX

  record(mailbox: StoredMailbox, header: MailboxHeader, record: RecordFields): void {
    if (!this.#isNamed) this.#name(mailbox, header);
    const before = mailbox.row === undefined ? undefined : this.#recordBefore(mailbox.id, record.uid);
    const { uniqueid, mboxname } = header;
    const { uid, guid } = record;
    const flags = flagsOf(bytesText(record.flags));
    const of = { kind: 'message', mboxname, uniqueid, uid } as const;
    const told = { ...of, guid, size: record.size ?? undefined, flags };
    if (before !== undefined && before.guid !== guid && before.expunged === null) {
      const { guid: old, size, flags: oldFlags } = before;
      this.#hold({ ...of, change: 'expunged', guid: old, size, flags: flagsOf(oldFlags) });
    }
    if (before === undefined || before.guid !== guid) {
      if (!record.expunged) this.#hold({ ...told, change: 'added' });
      return;
    }
    if (record.expunged) {
      if (before.expunged === null) this.#hold({ ...told, change: 'expunged' });
      return;
    }
    if (before.expunged !== null) this.#hold({ ...told, change: 'restored' });
    else if (before.flags !== bytesText(record.flags)) {
      this.#hold({ ...told, change: 'flags', flagsBefore: flagsOf(before.flags) });
    }
    if (before.annotations !== bytesText(record.annotations)) this.#hold({ ...told, change: 'annotated' });
  }

  mailbox(mailbox: StoredMailbox, header: MailboxHeader): void {
    if (!this.#isNamed) this.#name(mailbox, header);
    const { row } = mailbox;
    if (row !== undefined && row.deleted === null) {
      const { uniqueid, mboxname } = header;
      const fields: FieldChange[] = [];
      const compare = (field: MailboxField, before: string | number | null, after: string): void => {
        const old = String(before ?? '');
        if (old !== after) fields.push({ field, before: old, after });
      };
      compare('acl', row.acl, header.text('ACL') ?? '');
      compare('partition', row.partition, header.text('PARTITION') ?? '');
      compare('uidvalidity', row.uidvalidity, header.text('UIDVALIDITY') ?? '');
      compare('options', row.options, header.text('OPTIONS') ?? '');
      compare('quotaroot', row.quotaroot, header.text('QUOTAROOT') ?? '');
      compare('type', row.mboxtype, header.text('MBOXTYPE') ?? '');
      compare('annotations', row.annotations, header.annotations.latin1());
      if (fields.length > 0) this.#hold({ kind: 'mailbox', change: 'changed', mboxname, uniqueid, fields });
    }
    this.#flush();
  }

  #name({ row }: StoredMailbox, { mboxname, uniqueid }: MailboxHeader): void {
    this.#isNamed = true;
    for (const other of this.#liveByName(mboxname)) {
      // Two mailboxes cannot have one name.
      if (other !== uniqueid) this.#hold({ kind: 'mailbox', change: 'deleted', mboxname, uniqueid: other });
    }
    if (row === undefined || row.deleted !== null) {
      this.#hold({ kind: 'mailbox', change: 'created', mboxname, uniqueid });
    } else if (row.mboxname !== mboxname) this.#renamed(uniqueid, row.mboxname, mboxname);
  }

  #renamed(uniqueid: string, from: string, to: string): void {
    const isDeletion = isDeletedMailbox(to, this.#rules) && !isDeletedMailbox(from, this.#rules);
    const change = isDeletion ? 'deleted' : 'renamed';
    this.#hold({ kind: 'mailbox', change, mboxname: isDeletion ? from : to, uniqueid, from, to });
  }

  // Lines of other verbs

  small(verb: string, line: SmallLine): void {
    const field = (key: string): string => line.fields.get(key) ?? '';
    const mboxname = field('MBOXNAME');
    switch (verb) {
      case 'EXPUNGE':
        for (const uid of line.uids) this.#expunged(field('UNIQUEID'), uid);
        return;
      case 'UNMAILBOX':
        for (const uniqueid of this.#liveByName(line.atom ?? '')) {
          this.#hold({ kind: 'mailbox', change: 'deleted', mboxname: line.atom ?? '', uniqueid });
        }
        return;
      case 'RENAME':
        this.#rename(line);
        return;
      case 'SUB':
      case 'UNSUB':
        this.#hold({ kind: 'subscription', change: verb === 'SUB' ? 'added' : 'removed', mboxname });
        return;
      case 'SEEN': {
        const uniqueid = field('UNIQUEID');
        const of = mailboxByUniqueid(this.#index, uniqueid)?.mboxname ?? '';
        const [lastuid, seenuids] = [Number(field('LASTUID')), field('SEENUIDS')];
        this.#hold({ kind: 'seen', change: 'changed', mboxname: of, uniqueid, lastuid, seenuids });
        return;
      }
      case 'SIEVE':
      case 'UNSIEVE':
      case 'ACTIVATE_SIEVE': {
        const filename = field('FILENAME').replace(/\.bc$/, '.script');
        const isCompiled = filename !== field('FILENAME');
        if (verb === 'SIEVE') this.#hold({ kind: 'sieve', change: 'stored', filename });
        else if (verb === 'ACTIVATE_SIEVE') this.#hold({ kind: 'sieve', change: 'activated', filename });
        else if (isCompiled) this.#hold({ kind: 'sieve', change: 'deactivated' });
        else this.#hold({ kind: 'sieve', change: 'removed', filename });
        return;
      }
      case 'UNACTIVATE_SIEVE':
        this.#hold({ kind: 'sieve', change: 'deactivated' });
        return;
      case 'QUOTA':
      case 'UNQUOTA':
        this.#quota(verb, line);
        return;
      case 'ANNOTATION':
      case 'UNANNOTATION': {
        const [entry, userid] = [field('ENTRY'), field('USERID')];
        const isSet = verb === 'ANNOTATION';
        const value = isSet ? (line.fields.get('VALUE') ?? null) : null;
        this.#hold({ kind: 'annotation', change: isSet ? 'set' : 'removed', mboxname, entry, userid, value });
        return;
      }
      case 'UNUSER':
        this.#hold({ kind: 'user', change: 'deleted', userid: line.atom ?? '' });
    }
  }

  applied(changed: boolean): void {
    if (changed) this.#flush();
    this.#held = [];
  }

  #expunged(uniqueid: string, uid: number): void {
    const mailbox = mailboxByUniqueid(this.#index, uniqueid);
    const before = mailbox && this.#recordBefore(mailbox.id, uid);
    if (mailbox === undefined || before === undefined || before.expunged !== null) return;
    const { guid, size, flags } = before;
    const { mboxname } = mailbox;
    this.#hold({
      kind: 'message',
      change: 'expunged',
      mboxname,
      uniqueid,
      uid,
      guid,
      size,
      flags: flagsOf(flags),
    });
  }

  #rename({ fields }: SmallLine): void {
    const [from, to] = [fields.get('OLDMBOXNAME') ?? '', fields.get('NEWMBOXNAME') ?? ''];
    const [uniqueid] = this.#liveByName(from);
    if (uniqueid === undefined) return;
    if (from !== to) {
      for (const other of this.#liveByName(to)) {
        this.#hold({ kind: 'mailbox', change: 'deleted', mboxname: to, uniqueid: other });
      }
      this.#renamed(uniqueid, from, to);
    }
    const row = mailboxByUniqueid(this.#index, uniqueid)!;
    const changes: FieldChange[] = [];
    for (const [field, key, before] of [
      ['partition', 'PARTITION', row.partition],
      ['uidvalidity', 'UIDVALIDITY', String(row.uidvalidity)],
    ] as const) {
      const after = fields.get(key);
      if (after && after !== before) changes.push({ field, before, after });
    }
    if (changes.length > 0)
      this.#hold({ kind: 'mailbox', change: 'changed', mboxname: to, uniqueid, fields: changes });
  }

  #quota(verb: 'QUOTA' | 'UNQUOTA', { fields, atom }: SmallLine): void {
    const limits: Record<string, string> = {};
    for (const [key, value] of fields) {
      if (!['ROOT', 'MODSEQ', 'LIMIT'].includes(key) && value !== null) limits[key] = value;
    }
    const isSet = verb === 'QUOTA';
    const root = isSet ? (fields.get('ROOT') ?? '') : (atom ?? '');
    this.#hold({ kind: 'quota', change: isSet ? 'set' : 'removed', root, limits });
  }

  /** Unique ids of the live mailboxes of this name: of Cyrus's histories there may be more than one. */
  #liveByName(mboxname: string): string[] {
    const rows = this.#index.statement(LIVE_BY_NAME, 'pluck').all(sqlText(mboxname)) as Buffer[];
    return rows.map((uniqueid) => fromBlob(uniqueid));
  }

  #recordBefore(
    mailboxId: number,
    uid: number,
  ):
    | { guid: string; size: number | undefined; flags: string; annotations: string; expunged: number | null }
    | undefined {
    const row = this.#index.statement(RECORD, 'raw').get(mailboxId, uid, mailboxId, uid) as
      | [string, number | null, Buffer | null, Buffer | null, number | null]
      | undefined;
    if (row === undefined) return undefined;
    const [guid, size, flags, annotations, expunged] = row;
    return {
      guid,
      size: size ?? undefined,
      flags: fromBlob(flags) ?? '',
      annotations: fromBlob(annotations) ?? '',
      expunged,
    };
  }

  #hold(change: HistoryChange): void {
    this.#held.push(change);
    if (this.#held.length > MAX_HELD) this.#flush();
  }

  #flush(): void {
    const [time, place] = [this.#time, this.#place];
    for (const change of this.#held) this.#emit({ ...change, time, place });
    this.#held = [];
  }
}

function bytesText(text: SqlText): string {
  return typeof text === 'string' ? text : text.toString('latin1');
}

function flagsOf(text: string): string[] {
  if (text === '') return [];
  const parsed = parseDlist(Buffer.from(text, 'latin1'));
  return parsed.kind === 'list' ? parsed.items.map((flag) => textOf(flag) ?? '') : [];
}

const LIVE_BY_NAME =
  'SELECT CAST(uniqueid AS BLOB) FROM mailbox WHERE mboxname = CAST(? AS TEXT) AND deleted IS NULL ORDER BY id DESC';
const RECORD = `SELECT m.guid, m.size, CAST(r.flags AS BLOB), CAST(r.annotations AS BLOB), r.expunged
    FROM mailbox_message r JOIN message m ON m.id = r.message_id WHERE r.mailbox_id = ? AND r.uid = ?
  UNION ALL SELECT guid, size, CAST(flags AS BLOB), CAST(annotations AS BLOB), expunged
    FROM cb_record WHERE mailbox_id = ? AND uid = ? AND replaced = 0 LIMIT 1`;
