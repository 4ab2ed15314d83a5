/** The records of a mailbox at the target, one after the other: there may be a million. */
import { DlistSax, type ScalarView } from '../../csync/dlist-sax.ts';
import { printString } from '../../csync/encoder.ts';
import type { AnswerPiece } from '../csync-answers.ts';
import type { CsyncClient } from '../csync-client.ts';
import { CsyncRefusal } from '../csync-reply.ts';

export interface TargetRecord {
  uid: number;
  guid: string;
  isExpunged: boolean;
}

/**
 * GET FULLMAILBOX.
 *
 * @param onRecord gets each by UID; the object is used again for the next
 * @throws CsyncRefusal, such as IMAP_MAILBOX_NONEXISTENT
 */
export async function readFullMailbox(
  client: CsyncClient,
  mboxname: string,
  onRecord: (record: Readonly<TargetRecord>) => void,
): Promise<void> {
  const command = `GET FULLMAILBOX ${printString(mboxname, { nonSynchronising: true })}`;
  const answer = new MailboxAnswer(onRecord);
  const final = await client.requestPieces(command, (piece) => answer.push(piece));
  if (final.status !== 'OK') throw new CsyncRefusal(final, command.slice(0, 80), client.server);
}

/** `* MAILBOX %(... RECORD (%(UID n ... GUID g) ...))` in pieces. */
class MailboxAnswer {
  readonly #sax: DlistSax;
  #isBegun = false;

  constructor(onRecord: (record: Readonly<TargetRecord>) => void) {
    const record: TargetRecord = { uid: 0, guid: '', isExpunged: false };
    let depth = 0;
    let key = '';
    /** Key of the list of which each item is a record. */
    let isRecords = false;
    this.#sax = new DlistSax({
      key: (name) => {
        key = name;
      },
      beginKvlist: () => {
        depth++;
        if (isRecords && depth === RECORD_DEPTH)
          Object.assign(record, { uid: 0, guid: '', isExpunged: false });
      },
      beginList: () => {
        depth++;
        if (depth === LIST_DEPTH) isRecords = key === 'RECORD';
      },
      end: () => {
        if (isRecords && depth === RECORD_DEPTH) onRecord(record);
        depth--;
      },
      scalar: (value: ScalarView) => {
        if (!isRecords || depth < RECORD_DEPTH) return;
        if (depth > RECORD_DEPTH) {
          if (key === 'FLAGS' && value.held && value.latin1() === '\\Expunged') record.isExpunged = true;
        } else if (key === 'UID') record.uid = value.number() ?? 0;
        else if (key === 'GUID') record.guid = value.latin1();
      },
      file: () => {},
    });
  }

  push({ bytes, isLast }: AnswerPiece): void {
    let start = 0;
    if (!this.#isBegun) {
      start = bytes.indexOf(' ', 2) + 1;
      this.#sax.begin(0);
      this.#isBegun = true;
    }
    this.#sax.push(bytes, start, bytes.length);
    if (isLast) this.#isBegun = false;
  }
}

/** `%(`, `RECORD (`, `%(`. */
const LIST_DEPTH = 2;
const RECORD_DEPTH = 3;
