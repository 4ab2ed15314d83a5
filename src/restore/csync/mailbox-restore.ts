/**
 * One mailbox on its way back by replication: as it was (APPLY MAILBOX, with unique id, UIDs, modseqs), or its messages added
 * to a mailbox as if they were delivered (RESTORE MAILBOX).
 */
import { randomUUID } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { printString } from '../../csync/encoder.ts';
import type { CsyncClient } from '../csync-client.ts';
import { CrcSum } from '../csync-crc.ts';
import {
  type CsyncMailboxFields,
  type CsyncRecord,
  printApplyMailbox,
  printRecords,
  type SyncCrcs,
} from '../csync-mailbox.ts';
import { CsyncRefusal, type CsyncReply } from '../csync-reply.ts';
import type { ServerMailbox } from '../csync-server-state.ts';
import type { RestoreReport } from '../report.ts';
import type { BackupSource, StoredMailbox, StoredRecord } from '../source.ts';
import type { Copies } from './copies.ts';
import { readFullMailbox } from './full-mailbox.ts';
import { LaneQueue, type Lanes } from './lanes.ts';
import { fieldsOf, recordOf } from './mailbox-fields.ts';
import { mailboxesAt, standingOf } from './standing.ts';
import { uploadMessages } from './upload.ts';

export interface RestoredMailbox {
  mailbox: StoredMailbox;
  /** Internal name at the target. */
  mboxname: string;
  /** In place of its own, for a mailbox that is made. */
  acl?: string;
  /** Where it is made; that of the user's INBOX there, or its own in the backup, if absent. */
  partition?: string;
  /** With unique id, UIDVALIDITY, UIDs and modseqs where the target has no other mailbox of the name. */
  keepsIdentity: boolean;
  /** Those that are wanted, by UID. */
  records(): Iterable<StoredRecord>;
  /** What becomes of expunged ones that are added: messages like others, or messages that are expunged there as well. */
  expungedBecome: 'live' | 'expunged';
  /** What comes of expunged ones with identity, where they stay expunged. */
  expungedWithIdentity: 'nothing' | 'envelope' | 'all';
}

export interface MailboxRestoreOptions {
  source: BackupSource;
  report: RestoreReport;
  copies: Copies;
  /** For new mailboxes that say nothing else. */
  partition?: string;
  /** Above all modseqs of the user at the target. */
  nextModseq: bigint;
  /** No mupdate: LOCAL_MAILBOX. */
  isLocalOnly?: boolean;
  lanes: Lanes;
}

/**
 * Records sent at once: what an interruption costs, and what the target holds in its staging. It reads through the whole
 * mailbox for each, so a large one is not cut into small parts.
 */
const BATCH_RECORDS = { atLeast: 256, atMost: 4096 };
const BATCH_BYTES = 64 << 20;
const LOCK_TRIES = 5;
const LOCK_WAIT_MS = 2000;
const ENVELOPE_ONLY = 'the backup has its envelope only';
const OURS = { nonSynchronising: true };
/** Counts changes of the old user's mailboxes. */
const CREATED_MODSEQ = '/vendor/cmu/cyrus-imapd/createdmodseq';
const UNKNOWN: SyncCrcs = { basic: 0, annot: 0 };

export class MailboxRestore {
  readonly #client: CsyncClient;
  readonly #options: MailboxRestoreOptions;

  constructor(client: CsyncClient, options: MailboxRestoreOptions) {
    this.#client = client;
    this.#options = options;
  }

  /**
   * @param known the mailbox of this name that the target has
   * @throws CsyncRefusal where the target does not take it; what it took before stays. BackupError UNAVAILABLE
   */
  async restore(item: RestoredMailbox, known: ServerMailbox | undefined): Promise<void> {
    this.#options.report.mailboxes++;
    if (!item.keepsIdentity) return await this.#append(item, known);
    const standing = await standingOf(this.#client, this.#options.source, item.mailbox, known);
    if (standing.kind === 'other') return await this.#append(item, known);
    if (standing.kind === 'complete') return this.#allPresent(item);
    const part = standing.kind === 'part' ? standing : { lastUid: 0, isExact: true };
    await this.#apply(item, known, part);
    // Deleted there since: their UIDs cannot be had again.
    if (!part.isExact)
      await this.#append(item, (await mailboxesAt(this.#client, [item.mboxname])).get(item.mboxname));
  }

  #allPresent({ mailbox }: RestoredMailbox): void {
    const { source, report } = this.#options;
    for (const record of source.records(mailbox)) {
      if (record.isHere) report.wasPresent(record.size ?? 0);
      else this.#lost(mailbox, record, ENVELOPE_ONLY);
    }
  }

  /** @param part what is there already */
  async #apply(
    item: RestoredMailbox,
    known: ServerMailbox | undefined,
    part: { lastUid: number; isExact: boolean },
  ): Promise<void> {
    const { source, report } = this.#options;
    const { mailbox, mboxname } = item;
    const isSame = known?.uniqueid === mailbox.uniqueid;
    const partition = (isSame ? known?.partition : undefined) ?? this.#partitionFor(item);
    const fields = fieldsOf(mailbox, mboxname, partition);
    if (isSame && known!.highestmodseq > mailbox.highestmodseq) fields.highestmodseq = known!.highestmodseq;
    if (isSame && !part.isExact) fields.acl = known!.acl;
    const sum = new CrcSum();
    const batch = this.#newBatch(mailbox);
    const queue = new LaneQueue<UploadedRecord[]>(this.#options.lanes);
    const flush = async (lastUid: number): Promise<void> => {
      const wanted = batch.take();
      await queue.add(
        (client) => this.#upload(client, item, partition, wanted, true),
        async (client, records) => {
          for (const { csync } of records) sum.add(csync);
          const sent = records.map(({ csync }) => csync);
          await this.#applyMailbox(client, { ...fields, lastUid }, sent, part.isExact ? sum.crcs : UNKNOWN);
          for (const { stored } of records)
            if (stored.expunged === undefined) report.restored(stored.size ?? 0);
          await client.restart();
        },
      );
    };
    const expunged = item.expungedWithIdentity !== 'nothing';
    let beyond = 0;
    await queue.run(async () => {
      for (const record of source.records(mailbox, { expunged })) {
        // Expunged ones, of a mail server that was put back: others are to get their UIDs, and sync_server dies of them.
        if (record.uid > mailbox.lastUid) beyond++;
        else if (record.uid > part.lastUid) {
          if (batch.isFull) await flush(batch.lastUid);
          batch.add(record);
        } else if (record.expunged === undefined && part.isExact) {
          if (!record.isHere) this.#lost(mailbox, record, ENVELOPE_ONLY);
          else {
            sum.add(recordOf(record, false));
            report.wasPresent(record.size ?? 0);
          }
        }
      }
      await flush(mailbox.lastUid);
    });
    if (beyond > 0 && item.expungedWithIdentity === 'all') {
      const reason =
        `${beyond} expunged messages have UIDs above its last one, since the mail server was put back: without --identity they come ` +
        'as new mail (--only-deleted)';
      report.shortfall({ kind: 'refused', what: `mailbox ${mboxname}`, mailbox: mailbox.mboxname, reason });
    }
  }

  async #applyMailbox(
    client: CsyncClient,
    fields: CsyncMailboxFields,
    records: CsyncRecord[],
    crcs: SyncCrcs,
  ): Promise<void> {
    const { mboxname } = fields;
    const reply = await this.#request(client, () => this.#printApply(fields, records, crcs));
    if (reply.code === 'IMAP_SYNC_CHECKSUM') {
      // It says so before it has taken anything, or after all of it.
      const now = (await mailboxesAt(client, [mboxname])).get(mboxname);
      if (
        now?.uniqueid === fields.uniqueid &&
        now.lastUid === BigInt(fields.lastUid) &&
        now.crcs.basic === crcs.basic
      ) {
        this.#options.report.remark(
          `The target counts annotations of messages in other ways than the backup: its checksums of them differ, as for ${mboxname}`,
        );
        return;
      }
    }
    if (reply.status !== 'OK') throw new CsyncRefusal(reply, `restore ${mboxname}`, client.server);
  }

  *#printApply(fields: CsyncMailboxFields, records: CsyncRecord[], crcs: SyncCrcs): Generator<string> {
    let isFirst = this.#options.isLocalOnly ?? false;
    for (const piece of printApplyMailbox(fields, records, crcs)) {
      yield isFirst ? piece.replace('APPLY MAILBOX', 'APPLY LOCAL_MAILBOX') : piece;
      isFirst = false;
    }
  }

  async #append(item: RestoredMailbox, known: ServerMailbox | undefined): Promise<void> {
    const { report } = this.#options;
    const { mailbox, expungedBecome } = item;
    const present = known === undefined ? new Map<string, number>() : await this.#presentIn(item);
    const partition = known?.partition ?? this.#partitionFor(item);
    if (known === undefined) await this.#create(item, partition);
    const batch = this.#newBatch(mailbox);
    const queue = new LaneQueue<UploadedRecord[]>(this.#options.lanes);
    const flush = async (): Promise<void> => {
      if (batch.isEmpty) return;
      const wanted = batch.take();
      const mboxtype = known === undefined ? mailbox.mboxtype : known.mboxtype;
      await queue.add(
        (client) => this.#upload(client, item, partition, wanted, false),
        async (client, records) => {
          const sent = records.map(({ csync }) => csync);
          await this.#restoreMailbox(client, item, partition, mboxtype, sent);
          for (const { stored } of records) report.restored(stored.size ?? 0);
          await client.restart();
        },
      );
    };
    await queue.run(async () => {
      for (const record of item.records()) {
        const count = present.get(record.guid) ?? 0;
        if (count > 0) {
          present.set(record.guid, count - 1);
          report.wasPresent(record.size ?? 0);
          continue;
        }
        // Nobody misses the envelope of what is expunged.
        if (!record.isHere && record.expunged !== undefined && expungedBecome === 'expunged') continue;
        if (batch.isFull) await flush();
        batch.add(record);
      }
      await flush();
    });
  }

  #newBatch({ lastUid }: StoredMailbox): Batch {
    const { atLeast, atMost } = BATCH_RECORDS;
    const share = Math.ceil(lastUid / (2 * this.#options.lanes.most));
    return new Batch(Math.min(Math.max(share, atLeast), atMost));
  }

  /** How often each message is in the mailbox at the target. */
  async #presentIn({ mboxname, expungedBecome }: RestoredMailbox): Promise<Map<string, number>> {
    const present = new Map<string, number>();
    await readFullMailbox(this.#client, mboxname, ({ guid, isExpunged }) => {
      if (!isExpunged || expungedBecome === 'expunged') present.set(guid, (present.get(guid) ?? 0) + 1);
    });
    return present;
  }

  /** With RESTORE, Cyrus 3.6.1's sync_server dies on an assertion where it has to make the mailbox. */
  async #create(item: RestoredMailbox, partition: string): Promise<void> {
    const { report, nextModseq } = this.#options;
    const { mailbox, mboxname, acl } = item;
    const fields: CsyncMailboxFields = {
      uniqueid: randomUUID(),
      mboxname,
      mboxtype: mailbox.mboxtype,
      lastUid: 0,
      highestmodseq: nextModseq,
      recentuid: 0,
      recenttime: 0,
      lastAppenddate: 0,
      pop3LastLogin: 0,
      uidvalidity: Math.floor(Date.now() / 1000),
      partition,
      acl: acl ?? mailbox.acl,
      options: mailbox.options,
      createdmodseq: nextModseq,
      foldermodseq: nextModseq,
      annotations: mailbox.annotations,
    };
    await this.#applyMailbox(this.#client, fields, [], UNKNOWN);
    report.remark(
      'Mailboxes that the target did not have were made with APPLY MAILBOX before messages were added to them: sync_server ' +
        'of Cyrus 3.6 dies on an assertion where RESTORE has to make one',
    );
  }

  async #restoreMailbox(
    client: CsyncClient,
    { mboxname }: RestoredMailbox,
    partition: string,
    mboxtype: string | undefined,
    records: CsyncRecord[],
  ): Promise<void> {
    if (records.length === 0) return;
    const verb = this.#options.isLocalOnly ? 'LOCAL_MAILBOX' : 'MAILBOX';
    const type = mboxtype === undefined || mboxtype === '' ? '' : ` MBOXTYPE ${printString(mboxtype, OURS)}`;
    const head = `RESTORE ${verb} %(MBOXNAME ${printString(mboxname, OURS)}${type}`;
    const reply = await this.#request(client, function* () {
      yield `${head} PARTITION ${printString(partition, OURS)} RECORD (`;
      yield* printRecords(records);
      yield '))';
    });
    if (reply.status !== 'OK') throw new CsyncRefusal(reply, `restore ${mboxname}`, client.server);
  }

  /** Has the target know the messages of the batch. @returns those records that have one now, or need none */
  async #upload(
    client: CsyncClient,
    item: RestoredMailbox,
    partition: string,
    records: StoredRecord[],
    isAsItWas: boolean,
  ): Promise<UploadedRecord[]> {
    const { source, copies } = this.#options;
    const { mailbox, mboxname, expungedWithIdentity, expungedBecome } = item;
    const keepsExpunged = expungedWithIdentity === 'all';
    const wanted = records.filter(
      ({ expunged, isHere }) =>
        expunged === undefined || (isAsItWas ? isHere && keepsExpunged : isHere || expungedBecome === 'live'),
    );
    const guids = wanted.map(({ guid }) => guid);
    const reserveIn = copies.placesOf(guids);
    const lost = await uploadMessages(client, source, { partition, guids, reserveIn });
    const uploaded: UploadedRecord[] = [];
    for (const stored of records) {
      const isExpunged = stored.expunged !== undefined && (isAsItWas || expungedBecome === 'expunged');
      const reason = lost.get(stored.guid);
      if (reason !== undefined && !isExpunged) this.#lost(mailbox, stored, reason);
      else uploaded.push({ stored, csync: addedOrNot(recordOf(stored, isExpunged), isAsItWas) });
    }
    copies.note(guids, mboxname);
    return uploaded;
  }

  #partitionFor({ partition, mailbox }: RestoredMailbox): string {
    return partition ?? this.#options.partition ?? mailbox.partition;
  }

  #lost({ mboxname: mailbox }: StoredMailbox, { uid, guid }: StoredRecord, reason: string): void {
    const what = `message ${uid} of ${mailbox}`;
    this.#options.report.shortfall({ kind: 'damaged', what, mailbox, uid, guid, reason });
  }

  /** Again a few times while another has the mailbox. */
  async #request(client: CsyncClient, text: () => Iterable<string>): Promise<CsyncReply> {
    for (let tries = 1; ; tries++) {
      const reply = await client.request(text());
      if (reply.code !== 'IMAP_MAILBOX_LOCKED' || tries === LOCK_TRIES) return reply;
      await sleep(LOCK_WAIT_MS);
    }
  }
}

/** One that is added is new to the user's other clients. */
function addedOrNot(record: CsyncRecord, isAsItWas: boolean): CsyncRecord {
  if (isAsItWas) return record;
  return { ...record, annotations: record.annotations?.filter(({ entry }) => entry !== CREATED_MODSEQ) };
}

interface UploadedRecord {
  stored: StoredRecord;
  csync: CsyncRecord;
}

class Batch {
  readonly #most: number;
  #records: StoredRecord[] = [];
  #bytes = 0;

  /** @param most records */
  constructor(most: number) {
    this.#most = most;
  }

  get isFull(): boolean {
    return this.#records.length >= this.#most || this.#bytes >= BATCH_BYTES;
  }

  get isEmpty(): boolean {
    return this.#records.length === 0;
  }

  get lastUid(): number {
    return this.#records.at(-1)?.uid ?? 0;
  }

  add(stored: StoredRecord): void {
    this.#records.push(stored);
    this.#bytes += stored.size ?? 0;
  }

  take(): StoredRecord[] {
    const records = this.#records;
    this.#records = [];
    this.#bytes = 0;
    return records;
  }
}
