/** Which messages of a plan the target has already. */
import type { ImapClient } from '../../imap/client.ts';
import { BackupError } from '../../platform/errors.ts';
import type { PlannedMailbox } from '../plan.ts';
import type { BackupSource, StoredRecord } from '../source.ts';
import { Fingerprint, headerFingerprint } from './fingerprint.ts';
import { Doubts, type Inventory } from './inventory.ts';
import { fetchEach } from './mailbox.ts';

/** Headers that are asked for at once. */
const WINDOW = 200;
/** Of a message that is compared as a whole. Some servers read from its beginning to find a piece. */
const PIECE_BYTES = 8 * 1024 * 1024;

/**
 * Tells the messages of a mailbox that have to be sent from those that the target has. By SHA-1 where the server tells it
 * (Cyrus); else by size, internal date and a hash of the header; where two different messages of the backup agree in size
 * and date, by the whole message.
 */
export class PresentMessages {
  readonly #client: ImapClient;
  readonly #source: BackupSource;
  readonly #inventory: Inventory;
  readonly #doubts: Doubts | undefined;

  /** The mailbox is selected, until `missing` is through. */
  constructor(client: ImapClient, source: BackupSource, planned: PlannedMailbox, inventory: Inventory) {
    this.#client = client;
    this.#source = source;
    this.#inventory = inventory;
    if (inventory.length > 0 && !inventory.hasDigests) this.#doubts = new Doubts(planned.records());
  }

  /** Those that are missing, in order. @param onPresent gets the others */
  async *missing(
    records: Iterable<StoredRecord>,
    onPresent: (record: StoredRecord) => void,
  ): AsyncGenerator<StoredRecord, void> {
    if (this.#inventory.length === 0) {
      yield* records;
      return;
    }
    let window: StoredRecord[] = [];
    for (const record of records) {
      window.push(record);
      if (window.length < WINDOW) continue;
      yield* await this.#sift(window, onPresent);
      window = [];
    }
    yield* await this.#sift(window, onPresent);
  }

  async #sift(window: StoredRecord[], onPresent: (record: StoredRecord) => void): Promise<StoredRecord[]> {
    const missing: StoredRecord[] = [];
    /** Those that the target may have. */
    const open: { record: StoredRecord; ours: Ours; uids: number[] }[] = [];
    for (const record of window) {
      if (this.#inventory.takeDigest(record.guid)) {
        onPresent(record);
        continue;
      }
      const found = record.isHere ? this.#candidates(record) : undefined;
      if (found === undefined) missing.push(record);
      else open.push(found);
    }
    const headers = await this.#headers([...new Set(open.flatMap(({ uids }) => uids))]);
    for (const { record, ours } of open) {
      const uid = await this.#match(record, ours, headers);
      if (uid === undefined) missing.push(record);
      else {
        this.#inventory.take(ours.size, record.internaldate, uid);
        onPresent(record);
      }
    }
    return missing.sort((a, b) => a.uid - b.uid);
  }

  /** Undefined if the target cannot have it. */
  #candidates(record: StoredRecord): { record: StoredRecord; ours: Ours; uids: number[] } | undefined {
    const { internaldate } = record;
    const size = this.#source.findMessage(record.guid)?.size ?? record.size ?? 0;
    const uids = this.#inventory.candidates(size, internaldate);
    // With CRLF at the end of each line it would be longer; to find out costs reading the message, so only where
    // there is something of its date.
    if (uids.length === 0 && !this.#inventory.hasDate(internaldate)) return undefined;
    const ours = this.#fingerprint(record, size, uids.length > 0 && !this.#isDoubtful(size, internaldate));
    // A server that tells SHA-1s has it only if it has changed it.
    if (ours === undefined || (this.#inventory.hasDigests && !ours.mayChange)) return undefined;
    if (uids.length > 0) return { record, ours, uids };
    const longer = this.#inventory.candidates(ours.sizeWithCrlf, internaldate);
    return longer.length === 0
      ? undefined
      : { record, ours: { ...ours, size: ours.sizeWithCrlf }, uids: longer };
  }

  #isDoubtful(size: number, date: number): boolean {
    return this.#doubts?.has(size, date) ?? true;
  }

  async #match(record: StoredRecord, ours: Ours, headers: Map<number, string>): Promise<number | undefined> {
    for (const uid of this.#inventory.candidates(ours.size, record.internaldate)) {
      if (headers.get(uid) !== ours.header) continue;
      if (ours.whole === undefined) return uid;
      if ((await this.#whole(uid, ours.size)) === ours.whole) return uid;
    }
    return undefined;
  }

  /** @param headerOnly the rest need not be read */
  #fingerprint(record: StoredRecord, size: number, headerOnly: boolean): Ours | undefined {
    const fingerprint = new Fingerprint();
    try {
      for (const piece of this.#source.content(record.guid)) {
        fingerprint.push(piece);
        if (headerOnly && fingerprint.isHeaderComplete) break;
      }
    } catch (error) {
      // Whoever sends it finds out too, and says so.
      if (error instanceof BackupError && (error.code === 'CHUNK_CORRUPT' || error.code === 'NOT_FOUND'))
        return undefined;
      throw error;
    }
    const { sizeWithCrlf } = fingerprint;
    const isChanged = fingerprint.has8BitHeader || fingerprint.hasNul;
    return {
      header: fingerprint.header(),
      whole: headerOnly ? undefined : fingerprint.whole(),
      size,
      sizeWithCrlf: headerOnly ? size : sizeWithCrlf,
      mayChange: isChanged || (!headerOnly && sizeWithCrlf !== size),
    };
  }

  async #headers(uids: number[]): Promise<Map<number, string>> {
    const found = new Map<number, string>();
    for (let from = 0; from < uids.length; from += WINDOW) {
      const set = uids.slice(from, from + WINDOW).join(',');
      await fetchEach(this.#client, set, 'UID BODY.PEEK[HEADER]', (fields) => {
        const header = fields.get('BODY[HEADER]');
        if (typeof header === 'string') {
          found.set(Number(fields.get('UID')), headerFingerprint(Buffer.from(header, 'latin1')));
        }
      });
    }
    return found;
  }

  async #whole(uid: number, size: number): Promise<string> {
    const fingerprint = new Fingerprint();
    for (let from = 0; from < size; from += PIECE_BYTES) {
      await fetchEach(this.#client, String(uid), `UID BODY.PEEK[]<${from}.${PIECE_BYTES}>`, (fields) => {
        const piece = fields.get(`BODY[]<${from}>`);
        if (typeof piece === 'string') fingerprint.push(Buffer.from(piece, 'latin1'));
      });
    }
    return fingerprint.whole();
  }
}

/** A message of the backup as a server may have it. */
interface Ours {
  header: string;
  /** Of all of it; undefined where the header tells enough. */
  whole: string | undefined;
  /** As the target says it. */
  size: number;
  sizeWithCrlf: number;
  /** A server may have written some of its bytes otherwise. */
  mayChange: boolean;
}
