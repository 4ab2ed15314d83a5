/**
 * What a backup holds at a moment, in the form in which all that restore reads it. Strings have one character per
 * byte (latin1), as everywhere below the command line; times are UNIX seconds.
 */
import { createHash } from 'node:crypto';
import { child, type Dlist, numberOf, parseDlist, textOf } from '../csync/dlist.ts';
import { BackupError } from '../platform/errors.ts';
import { ContentReader } from '../store/chunk/content-reader.ts';
import { readContent } from '../store/chunk/reader.ts';
import type { BackupIndex, ChunkRow, MessageLocation } from '../store/index/backup-index.ts';
import { damagedChunks } from '../store/index/damage.ts';
import {
  annotations,
  type MailboxRow,
  mailboxes,
  mailboxMessages,
  quotas,
  type RecordRow,
  type SeenRow,
  seenStates,
  sieveScripts,
  subscriptions,
} from '../store/index/queries.ts';
import type { OpenBackup } from '../store/open-backup.ts';
import { scriptText } from '../store/script-text.ts';
import { LinePlaces, type MessageReader, readMessage } from '../store/stored-message.ts';
import type { CsyncAnnotation } from './csync-mailbox.ts';

/** A mailbox as it stood; `deleted` says when it went, null for a live one. */
export interface StoredMailbox
  extends Pick<
    MailboxRow,
    | 'id'
    | 'uniqueid'
    | 'mboxname'
    | 'lastUid'
    | 'highestmodseq'
    | 'recentuid'
    | 'recenttime'
    | 'lastAppenddate'
    | 'pop3LastLogin'
    | 'uidvalidity'
    | 'partition'
    | 'acl'
    | 'options'
    | 'deleted'
  > {
  mboxtype: string | undefined;
  pop3ShowAfter: number | undefined;
  quotaroot: string | undefined;
  xconvmodseq: bigint | undefined;
  /** Fields of newer Cyrus releases, by upper-case key: `CREATEDMODSEQ`, `FOLDERMODSEQ`, `RACLMODSEQ`, ... */
  more: ReadonlyMap<string, Dlist>;
  /** Those that came with the mailbox and those that came by ANNOTATION. */
  annotations: CsyncAnnotation[];
}

/** A message in a mailbox. */
export interface StoredRecord {
  uid: number;
  modseq: bigint;
  lastUpdated: number;
  /** `\Seen` and so on with their backslash, then keywords; never `\Expunged`. */
  flags: string[];
  internaldate: number;
  /** SHA-1 of the message, 40 hex digits. */
  guid: string;
  /** In bytes; undefined where neither the client nor a stored message says it. */
  size: number | undefined;
  annotations: CsyncAnnotation[];
  /** When it was expunged; undefined for a live one. */
  expunged: number | undefined;
  /** Whether the backup has the message itself. */
  isHere: boolean;
  /** Fields of newer Cyrus releases, by upper-case key: `SAVEDATE`, `CREATEDMODSEQ`, ... */
  more: ReadonlyMap<string, Dlist>;
}

/** Limits of a quota root by resource: `STORAGE` in kB, `MESSAGE` and others as counts. None where there is no limit. */
export interface StoredQuota {
  root: string;
  limits: ReadonlyMap<string, number>;
  /** From Cyrus 3.10 on; undefined of older ones. */
  modseq: bigint | undefined;
}

export interface StoredScript {
  /** As `main.script`. */
  filename: string;
  lastUpdate: number;
  guid: string;
  /** @throws BackupError CHUNK_CORRUPT */
  content(): Buffer;
}

/** In which index a message is found. */
interface MessagePlace {
  index: BackupIndex;
  location: MessageLocation;
}

/** A message up to this size is read as a whole before any of it is handed out. */
const WHOLE_BYTES = 2 << 20;

export class BackupSource {
  readonly #backup: OpenBackup;
  readonly #findCopies: (() => BackupIndex) | undefined;
  readonly #findNow: (() => BackupIndex | undefined) | undefined;
  /** See the constructor; null: not asked for yet. */
  #now: BackupIndex | undefined | null = null;
  /** Where sound copies of messages lie; made when a message is found damaged. */
  #copies: BackupIndex | undefined;
  /** Most who read one message read its neighbours next. */
  readonly #reader: MessageReader;
  /** The same goes for their places. */
  #lastChunk: ChunkRow | undefined;
  /** A moment in the past, in seconds; undefined: the latest state. */
  readonly at: number | undefined;
  /** The data file ends before what its index describes, or a chunk of it is damaged: more is gone than can be named. */
  readonly isPartLost: boolean;

  /**
   * Whoever gives an index closes it.
   *
   * @param findCopies makes an index of all sound messages in the data file
   * @param findNow gives the index beside the data file where `backup` has another one, made from the file: where that is
   *   damaged only the first knows what lies behind it
   */
  constructor(
    backup: OpenBackup,
    at?: number,
    findCopies?: () => BackupIndex,
    isPartLost = false,
    findNow?: () => BackupIndex | undefined,
  ) {
    this.isPartLost = isPartLost;
    this.#findNow = findNow;
    this.#backup = backup;
    this.#findCopies = findCopies;
    this.#reader = { content: new ContentReader(backup.fd), lines: new LinePlaces() };
    this.at = at;
  }

  /** Of the data file. */
  get path(): string {
    return this.#backup.path;
  }

  /** For queries of one's own. */
  get backup(): OpenBackup {
    return this.#backup;
  }

  /** Live mailboxes, with `deleted` those that are gone too, in the order in which they came. */
  *mailboxes(options: { deleted?: boolean } = {}): Generator<StoredMailbox, void> {
    for (const row of mailboxes(this.#backup.index)) {
      if (row.deleted === null || options.deleted) yield this.#mailbox(row);
    }
  }

  /** Live messages of a mailbox by UID, with `expunged` those that are gone too. */
  *records(
    mailbox: Pick<StoredMailbox, 'id'>,
    options: { expunged?: boolean } = {},
  ): Generator<StoredRecord, void> {
    for (const row of mailboxMessages(this.#backup.index, mailbox.id)) {
      if (row.expunged !== null && !options.expunged) continue;
      const record = recordOf(row);
      const now = record.isHere ? undefined : this.#placeNow(record.guid);
      yield now === undefined ? record : { ...record, isHere: true, size: now.location.size };
    }
  }

  findMessage(guid: string): MessageLocation | undefined {
    return this.#backup.index.findMessage(guid, (id) => this.#chunk(id));
  }

  #chunk(id: number): ChunkRow | undefined {
    if (this.#lastChunk?.id !== id) this.#lastChunk = this.#backup.index.chunk(id);
    return this.#lastChunk;
  }

  /**
   * Bytes of a message; a piece is valid until the next is asked for. One that is damaged is read from another place in
   * the data file where it was stored too.
   *
   * @throws BackupError NOT_FOUND; CHUNK_CORRUPT, which may come behind the last piece: only then is it known
   *   whether the bytes are what the GUID says.
   */
  content(guid: string): Generator<Uint8Array, void> {
    const { fd, index, path } = this.#backup;
    const location = index.findMessage(guid);
    if (location !== undefined) return this.#read(location);
    // What was noted as lost may be there after all.
    const copy = damagedChunks(index).size > 0 ? this.#copyOf(guid) : undefined;
    if (copy !== undefined) return readMessage(fd, this.#copies!, copy, path);
    const now = this.#placeNow(guid);
    if (now !== undefined) return readMessage(fd, now.index, now.location, path);
    throw new BackupError({
      code: 'NOT_FOUND',
      tried: 'read',
      subject: `message ${guid} of ${path}`,
      reason: 'the backup has its envelope only: its content never came, or was lost to damage',
      remedy: 'See csync-backup verify; the mail server sends it again with the next sync if it still has it',
    });
  }

  *#read(location: MessageLocation): Generator<Uint8Array, void> {
    const { fd, index, path } = this.#backup;
    const hash = createHash('sha1');
    let handedOut = 0;
    try {
      if (location.size <= WHOLE_BYTES) {
        const pieces: Uint8Array[] = [];
        for (const piece of readMessage(fd, index, location, path, this.#reader))
          pieces.push(Uint8Array.from(piece));
        yield* pieces;
        return;
      }
      for (const piece of readMessage(fd, index, location, path, this.#reader)) {
        hash.update(piece);
        handedOut += piece.length;
        yield piece;
      }
    } catch (error) {
      if (!(error instanceof BackupError && error.code === 'CHUNK_CORRUPT')) throw error;
      const place = this.#soundPlace(location);
      if (place === undefined) throw error;
      yield* this.#goOn(place, handedOut, hash.digest(), error);
    }
  }

  /** Where a message can be read that could not be read in passing. */
  #soundPlace(location: MessageLocation): MessagePlace | undefined {
    const { fd, index, path } = this.#backup;
    // Behind damage the reader counts wrongly; from the segment start before it the message may be sound.
    const here = { index, location };
    if (isSound(readMessage(fd, index, location, path))) return here;
    const copy = this.#copyOf(location.guid);
    return copy === undefined ? this.#placeNow(location.guid) : { index: this.#copies!, location: copy };
  }

  /** The rest of a message from another place, if what was handed out of it is what it begins with there. */
  *#goOn(
    { index, location }: MessagePlace,
    handedOut: number,
    sha1: Buffer,
    error: BackupError,
  ): Generator<Uint8Array, void> {
    const { fd, path } = this.#backup;
    const hash = createHash('sha1');
    let at = 0;
    for (const piece of readMessage(fd, index, location, path)) {
      const known = Math.min(Math.max(handedOut - at, 0), piece.length);
      at += piece.length;
      if (known > 0) hash.update(piece.subarray(0, known));
      if (known > 0 && at >= handedOut && !hash.digest().equals(sha1)) throw error;
      if (known < piece.length) yield piece.subarray(known);
    }
  }

  /** Where the message is by the index beside the data file, if it is sound there. */
  #placeNow(guid: string): MessagePlace | undefined {
    if (this.#findNow === undefined) return undefined;
    if (this.#now === null) this.#now = this.#findNow();
    const index = this.#now;
    const location = index?.findMessage(guid);
    if (index === undefined || location === undefined) return undefined;
    const { fd, path } = this.#backup;
    return isSound(readMessage(fd, index, location, path)) ? { index, location } : undefined;
  }

  #copyOf(guid: string): MessageLocation | undefined {
    this.#copies ??= this.#findCopies?.();
    return this.#copies?.findMessage(guid);
  }

  /**
   * The whole message, verified.
   *
   * @throws BackupError as content() does
   */
  message(guid: string): Buffer {
    const content = this.content(guid);
    const { size } = (this.findMessage(guid) ?? this.#copyOf(guid) ?? this.#placeNow(guid)?.location)!;
    const whole = Buffer.allocUnsafe(size);
    let at = 0;
    for (const piece of content) {
      whole.set(piece, at);
      at += piece.length;
    }
    return whole.subarray(0, at);
  }

  /** Internal names of the mailboxes that the user is subscribed to. */
  subscriptions(): string[] {
    return subscriptions(this.#backup.index);
  }

  /** Of the user in mailboxes that do not carry it in their flags (shared ones, unless `\Seen` is shared). */
  seen(): SeenRow[] {
    return seenStates(this.#backup.index);
  }

  scripts(): StoredScript[] {
    return sieveScripts(this.#backup.index).map((script) => ({
      ...script,
      content: () => this.#script(script.filename),
    }));
  }

  /** File name of the active script, as `main.script`; undefined if none is. */
  activeScript(): string | undefined {
    return this.#backup.index.activeSieve()?.replace(/\.bc$/, '.script');
  }

  quotas(): StoredQuota[] {
    return quotas(this.#backup.index).map((text) => {
      const fields = parseText(text);
      const limits = new Map<string, number>();
      if (fields.kind === 'kvlist') {
        for (const [key, value] of fields.entries) {
          const limit = Number(textOf(value) ?? Number.NaN);
          if (NO_RESOURCES.has(key.toUpperCase()) || !Number.isFinite(limit)) continue;
          if (limit === UNLIMITED && key.toUpperCase() === 'LIMIT') continue;
          limits.set(quotaResource(key), limit);
        }
      }
      const modseq = numberOf(child(fields, 'MODSEQ'));
      return { root: textOf(child(fields, 'ROOT')) ?? '', limits, modseq };
    });
  }

  /** Annotations that came by ANNOTATION for this mailbox, or for the server: the empty name. */
  annotationsOf(mboxname: string): CsyncAnnotation[] {
    return annotations(this.#backup.index, mboxname).map((text) => annotationOf(parseText(text)));
  }

  #script(filename: string): Buffer {
    const { fd, index, path } = this.#backup;
    const at = index.findSieve(filename);
    if (at !== undefined) {
      const start = index.segmentBefore(at.chunk.id, at.lineOffset);
      const content = readContent(fd, { offset: at.chunk.offset, start, path }, at.lineOffset);
      const text = scriptText(content, at.lineOffset);
      if (text !== undefined) return text;
    }
    throw new BackupError({
      code: 'CHUNK_CORRUPT',
      tried: 'read',
      subject: `the Sieve script ${filename} of ${path}`,
      reason: 'it is not where the index says',
      remedy: 'Run csync-backup verify on this backup',
    });
  }

  #mailbox(row: MailboxRow): StoredMailbox {
    const merged = new Map<string, CsyncAnnotation>();
    for (const annotation of [...annotationsIn(row.annotations), ...this.annotationsOf(row.mboxname)]) {
      merged.set(`${annotation.entry}\n${annotation.userid}`, annotation);
    }
    return {
      ...row,
      mboxtype: row.mboxtype ?? undefined,
      pop3ShowAfter: row.pop3ShowAfter ?? undefined,
      quotaroot: row.quotaroot ?? undefined,
      xconvmodseq: row.xconvmodseq ?? undefined,
      more: fieldsOf(row.fields),
      annotations: [...merged.values()],
    };
  }
}

/** Fields of a QUOTA that limit nothing. */
const NO_RESOURCES: ReadonlySet<string> = new Set(['ROOT', 'MODSEQ']);

/** Cyrus always sends LIMIT: no limit on STORAGE, which is -1 there, as a number of 32 bits without a sign. */
export const UNLIMITED = 0xffff_ffff;

/** `LIMIT` alone is the form of old releases for STORAGE. */
function quotaResource(key: string): string {
  const name = key.toUpperCase();
  return name === 'LIMIT' ? 'STORAGE' : name;
}

function recordOf(row: RecordRow): StoredRecord {
  const flags = row.flags === '' ? undefined : parseText(row.flags);
  return {
    uid: row.uid,
    modseq: row.modseq,
    lastUpdated: row.lastUpdated,
    flags: flags?.kind === 'list' ? flags.items.map((flag) => textOf(flag) ?? '') : [],
    internaldate: row.internaldate,
    guid: row.guid,
    size: row.size ?? undefined,
    annotations: annotationsIn(row.annotations),
    expunged: row.expunged ?? undefined,
    isHere: row.messageId !== null,
    more: fieldsOf(row.fields ?? ''),
  };
}

function annotationsIn(text: string): CsyncAnnotation[] {
  if (text === '') return [];
  const parsed = parseText(text);
  return parsed.kind === 'list' ? parsed.items.map(annotationOf) : [];
}

function annotationOf(fields: Dlist): CsyncAnnotation {
  return {
    entry: textOf(child(fields, 'ENTRY')) ?? '',
    userid: textOf(child(fields, 'USERID')) ?? '',
    modseq: numberOf(child(fields, 'MODSEQ')) ?? 0n,
    value: textOf(child(fields, 'VALUE')) ?? null,
  };
}

function fieldsOf(text: string): Map<string, Dlist> {
  if (text === '') return new Map();
  const parsed = parseText(`%(${text})`);
  return new Map(
    parsed.kind === 'kvlist' ? parsed.entries.map(([key, value]) => [key.toUpperCase(), value]) : [],
  );
}

function parseText(text: string): Dlist {
  return parseDlist(Buffer.from(text, 'latin1'));
}

function isSound(message: Generator<Uint8Array, void>): boolean {
  try {
    for (const _ of message);
    return true;
  } catch (error) {
    if (error instanceof BackupError && error.code === 'CHUNK_CORRUPT') return false;
    throw error;
  }
}
