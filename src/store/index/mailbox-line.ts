/**
 * A MAILBOX line, applied while it streams in: each RECORD goes into the index when it is complete, so that
 * a mailbox of any size takes the same memory.
 */
import type { DlistSaxEvents, ScalarView } from '../../csync/dlist-sax.ts';
import type { ApplyObserver } from './apply-observer.ts';
import type { BackupIndex } from './backup-index.ts';
import { compareChecksum } from './checksum.ts';
import type { DlistText } from './dlist-text.ts';
import { dueMailboxes, noteLacking, noteWhole } from './lacking.ts';
import { MailboxHeader } from './mailbox-header.ts';
import { MailboxRows, type StoredMailbox } from './mailbox-rows.ts';
import { type ApplyOutcome, badParameters, type MailboxVerdict, type Rejection } from './outcome.ts';
import { bringsAll, type CameInParts, cameInParts, isAskedPart, isHidden, notePart } from './parts.ts';
import { mailboxMessages } from './queries.ts';
import { RecordReader } from './record-reader.ts';
import { type PendingMessageSource, RecordStore } from './record-store.ts';
import { sqlText } from './sql-text.ts';

const START = 0;
const HEADER = 1;
const RECORDS = 2;
const RECORD = 3;
const FLAGS = 4;
/** Inside a value that is kept as text, or passed over. */
const CAPTURE = 5;
const DONE = 6;

export class MailboxLine implements DlistSaxEvents {
  readonly #index: BackupIndex;
  readonly #observer: ApplyObserver | undefined;
  readonly #live: boolean;
  readonly #rows: MailboxRows;
  readonly #records: RecordStore;
  readonly #header = new MailboxHeader();
  readonly #reader = new RecordReader();
  #time = 0;
  #state = START;
  #key = '';
  #capture: DlistText | undefined;
  #captureDepth = 0;
  #afterCapture = HEADER;
  #rejection: Rejection | undefined;
  /** Set from the first RECORD on. */
  #mailbox: StoredMailbox | undefined;
  #recordsChanged = false;
  /** UIDs of the line, if it brings all of a mailbox that was here before, or a part of what was asked for. */
  #mentioned: number[] | undefined;
  /** Of such a mailbox: what parts before it have brought. */
  #came: CameInParts | undefined;

  constructor(
    index: BackupIndex,
    options: {
      chunkId: number;
      live: boolean;
      pending: PendingMessageSource | undefined;
      observer: ApplyObserver | undefined;
    },
  ) {
    this.#index = index;
    this.#observer = options.observer;
    this.#live = options.live;
    this.#rows = new MailboxRows(index, options.chunkId, options.live);
    this.#records = new RecordStore(index, options.chunkId, options.pending);
  }

  begin(time: number): void {
    this.#time = time;
    this.#state = START;
    this.#rejection = undefined;
    this.#mailbox = undefined;
    this.#recordsChanged = false;
    this.#header.reset();
  }

  beginKvlist(): void {
    if (this.#state === START) {
      this.#state = HEADER;
    } else if (this.#state === RECORDS) {
      this.#state = RECORD;
      this.#reader.begin();
    } else {
      this.#beginCapture(true);
    }
  }

  beginList(): void {
    if (this.#state === HEADER && this.#key === 'RECORD') {
      this.#state = RECORDS;
      this.#beginRecords();
    } else if (this.#state === RECORD && this.#key === 'FLAGS') {
      this.#state = FLAGS;
      this.#reader.flags.beginList();
    } else {
      this.#beginCapture(false);
    }
  }

  end(): void {
    switch (this.#state) {
      case HEADER:
        this.#state = DONE;
        return;
      case RECORDS:
        this.#state = HEADER;
        return;
      case RECORD:
        this.#state = RECORDS;
        this.#endRecord();
        return;
      case FLAGS:
        this.#state = RECORD;
        this.#reader.flags.end();
        return;
      case CAPTURE:
        this.#capture?.end();
        if (--this.#captureDepth === 0) this.#state = this.#afterCapture;
    }
  }

  key(key: string): void {
    if (this.#state === CAPTURE) this.#capture?.key(key);
    else this.#key = key;
  }

  scalar(value: ScalarView): void {
    if (!value.held)
      this.#rejection ??= badParameters(`a value of ${value.size} bytes in MAILBOX is too long`);
    switch (this.#state) {
      case HEADER:
        this.#header.scalar(this.#key, value);
        return;
      case RECORD:
        this.#reader.scalar(this.#key, value);
        return;
      case FLAGS:
        this.#reader.flag(value);
        return;
      case CAPTURE:
        this.#capture?.scalar(value);
        return;
      default:
        this.#rejection ??= badParameters('MAILBOX is not a list of named fields');
    }
  }

  file(): void {
    this.#rejection ??= badParameters('MAILBOX holds a file');
  }

  finish(acceptMissing: boolean): ApplyOutcome {
    const header = this.#header;
    this.#rejection ??=
      this.#state === DONE ? undefined : badParameters('MAILBOX is not a list of named fields');
    if (this.#rejection !== undefined) return this.#rejection;
    if (header.isIntermediate) return this.#finishIntermediate();
    const problem = header.problem();
    if (problem !== undefined) return problem;
    if (this.#mailbox === undefined) this.#openMailbox();
    this.#rejection ??= this.#checkSince();
    if (this.#rejection !== undefined) return this.#rejection;

    this.#records.recheckMissing();
    const { guids, count } = this.#records.missing;
    const { stillMissing } = this.#records;
    if (this.#live && !acceptMissing && count + stillMissing.length > 0) {
      return { type: 'need', uniqueid: header.uniqueid, guids, missingCount: count, stillMissing };
    }
    if (this.#expungeAbove()) this.#recordsChanged = true;
    this.#observer?.mailbox(this.#mailbox!, header);
    const mailbox = this.#mailbox!;
    let changed = this.#rows.finish(mailbox, header, this.#time, this.#recordsChanged);
    if (isAskedPart(mailbox, header)) {
      notePart(this.#index, mailbox, header, this.#came, this.#mentioned ?? []);
      changed = true;
    }
    this.#noteLacking(mailbox, count);
    const differs = compareChecksum(this.#index, {
      mailbox,
      header,
      sumChange: this.#records.sumChange,
      said: this.#said(),
      changed,
      time: this.#time,
      live: this.#live,
    });
    const verdict = differs ?? this.#dueAgain(header.uniqueid);
    if (verdict === undefined) return { type: 'ok', changed, command: 'APPLY' };
    const { uniqueid, mboxname } = header;
    return { type: 'ok', changed, command: 'APPLY', verdict: { uniqueid, mboxname, ...verdict } };
  }

  #noteLacking(mailbox: StoredMailbox, missingCount: number): void {
    if (missingCount > 0) noteLacking(this.#index, mailbox.id, this.#time);
    else if (mailbox.row?.underHeal === true && !this.#header.isPart)
      noteWhole(this.#index, mailbox.id, this.#time);
  }

  /** Of clients that trust their own memory: whoever asks GET sees that the mailbox is not there (ask-again.ts). */
  #dueAgain(uniqueid: string): MailboxVerdict | undefined {
    if (!this.#live) return undefined;
    const when = { time: this.#time, isAlone: true };
    const [due] = dueMailboxes(this.#index, when, (mailbox) => mailbox.uniqueid === uniqueid);
    return due && { type: 'again', guids: due.guids, since: due.since };
  }

  /** Whether a UID stood in the line or a part before it; undefined if not all of the mailbox has come. */
  #said(): ((uid: number) => boolean) | undefined {
    if (this.#mentioned === undefined || this.#header.isPart) return undefined;
    const mentioned = new Set(this.#mentioned);
    const came = this.#came ?? { lastUid: 0, unsaid: mentioned };
    return (uid) => mentioned.has(uid) || (uid <= came.lastUid && !came.unsaid.has(uid));
  }

  /**
   * What a mail server had before it was put back to an older state it has no more. Of a part of a mailbox nothing is
   * to be concluded: what lies above may come yet, and the last part has the checksum again.
   */
  #expungeAbove(): boolean {
    const { id, row } = this.#mailbox!;
    const lastUid = this.#header.number('LAST_UID');
    if (row === undefined || lastUid === undefined) return false;
    const wasPart = row.syncCrc === 0 && row.syncCrcAnnot === null;
    if (lastUid >= (wasPart ? this.#records.lastUidBefore : row.lastUid) || this.#header.isPart) return false;
    const gone = [...mailboxMessages(this.#index, id, Number(lastUid))].filter(
      ({ expunged }) => expunged === null,
    );
    for (const record of gone) {
      const { flags, annotations } = record;
      const texts = { flags: sqlText(flags), annotations: sqlText(annotations), extra: undefined };
      this.#observer?.record(this.#mailbox!, this.#header, { ...record, ...texts, expunged: true });
    }
    return this.#records.expunge(gone.map(({ uid }) => uid));
  }

  #finishIntermediate(): ApplyOutcome {
    const problem = this.#header.intermediateProblem();
    if (problem !== undefined) return problem;
    return { type: 'ok', changed: this.#rows.putIntermediate(this.#header, this.#time), command: 'NOTE' };
  }

  #beginRecords(): void {
    if (this.#header.hasRecords) {
      this.#rejection ??= badParameters('MAILBOX has two lists of RECORDs');
      return;
    }
    this.#header.hasRecords = true;
    if (this.#header.uniqueid === '' || this.#header.mboxname === '') {
      this.#rejection ??= badParameters('MAILBOX has no UNIQUEID and MBOXNAME before its RECORDs');
      return;
    }
    this.#openMailbox();
    this.#rejection ??= this.#checkSince();
  }

  #openMailbox(): void {
    this.#mailbox = this.#rows.open(this.#header);
    this.#records.open(this.#mailbox.id, this.#time, this.#mailbox.row?.underHeal);
    // Of history, too, it is to be known how far it came; what is gone stands there in an EXPUNGE.
    const isPart = isAskedPart(this.#mailbox, this.#header);
    const isCounted = isPart || (this.#live && bringsAll(this.#mailbox, this.#header));
    this.#mentioned = isCounted ? [] : undefined;
    this.#came = isCounted ? cameInParts(this.#index, this.#mailbox.row!) : undefined;
  }

  #endRecord(): void {
    if (this.#rejection !== undefined) return;
    const record = this.#reader.finish();
    if ('type' in record) {
      // Of a stored line everything is kept that can be.
      if (this.#live) this.#rejection = record;
      return;
    }
    this.#observer?.record(this.#mailbox!, this.#header, record);
    this.#mentioned?.push(record.uid);
    if (this.#records.put(record)) this.#recordsChanged = true;
  }

  /**
   * Clients that trust their own memory say on which state the change builds. As in Cyrus (sync_support.c,
   * mailbox_crceq) a CRC of 0 stands for one that is not known.
   */
  #checkSince(): Rejection | undefined {
    const since = this.#header.number('SINCE_MODSEQ');
    if (!this.#live) return undefined;
    const wentBack = this.#checkOlder();
    if (wentBack !== undefined) return wentBack;
    if (this.#mailbox!.row?.underHeal === true && this.#index.told?.has(this.#header.uniqueid) === true)
      return checksum(`${this.#header.mboxname} is to be sent as a whole`);
    if (since === undefined || since === 0n) return undefined;
    const { mboxname } = this.#header;
    const { row } = this.#mailbox!;
    if (row === undefined || row.deleted !== null) return checksum(`${mboxname} is not in the backup`);
    if (isHidden(row)) return checksum(`${mboxname} is to be sent as a whole`);
    if (row.highestmodseq !== since) {
      return checksum(`${mboxname} is at modseq ${row.highestmodseq}, not ${since}`);
    }
    const crcs = [
      [this.#header.number('SINCE_CRC'), row.syncCrc],
      [this.#header.number('SINCE_CRC_ANNOT'), row.syncCrcAnnot],
    ] as const;
    for (const [sent, stored] of crcs) {
      const kept = row.crcStale ? 0n : BigInt(stored ?? 0);
      if (sent !== undefined && sent !== 0n && kept !== 0n && sent !== kept) {
        // The client would go on with what is above our modseq only, and hide the difference for ever.
        return { ...checksum(`${mboxname} has another checksum in the backup`), heal: row.uniqueid };
      }
    }
    return undefined;
  }

  /**
   * A mail server that was put back to an older state sends what is above our modseq, which is nothing that it has
   * now: the backup would go on showing what was done since, and take what was expunged then for gone.
   */
  #checkOlder(): Rejection | undefined {
    const { row } = this.#mailbox!;
    if (row === undefined || row.deleted !== null || isHidden(row)) return undefined;
    const numbers = [
      ['HIGHESTMODSEQ', row.highestmodseq],
      ['LAST_UID', BigInt(row.lastUid)],
    ] as const;
    for (const [key, stored] of numbers) {
      const sent = this.#header.number(key);
      if (sent === undefined || sent >= stored) continue;
      const text = `${this.#header.mboxname} was at ${key} ${stored} and is at ${sent} now: all of it is needed`;
      return { ...checksum(text), heal: row.uniqueid };
    }
    return undefined;
  }

  #beginCapture(kvlist: boolean): void {
    if (this.#state !== CAPTURE) {
      this.#captureDepth = 0;
      this.#afterCapture = this.#state;
      this.#capture = this.#captureTarget();
      this.#state = CAPTURE;
    }
    this.#captureDepth++;
    if (kvlist) this.#capture?.beginKvlist();
    else this.#capture?.beginList();
  }

  #captureTarget(): DlistText | undefined {
    const from = this.#state === HEADER ? this.#header : this.#state === RECORD ? this.#reader : undefined;
    if (from === undefined || this.#key === 'RECORD') {
      this.#rejection ??= badParameters('MAILBOX is not a list of named fields');
      return undefined;
    }
    if (this.#key === 'ANNOTATIONS') return from.annotations.length === 0 ? from.annotations : undefined;
    from.extra.key(this.#key);
    return from.extra;
  }
}

function checksum(text: string): Rejection {
  return { type: 'reject', code: 'IMAP_SYNC_CHECKSUM', text };
}
