/** What came back and what did not. */

/** Something that could not be given back, or not in full. */
export interface Shortfall {
  /** `damaged`: the backup has lost it; `refused`: the target did not take it. */
  kind: 'damaged' | 'refused';
  /** What it is: a mailbox by its name, a message by mailbox, UID and GUID, `quota user.anne`, ... */
  what: string;
  mailbox?: string;
  uid?: number;
  guid?: string;
  reason: string;
}

/** More are counted but not kept. */
const MAX_KEPT = 10_000;

export class RestoreReport {
  mailboxes = 0;
  messages = 0;
  /** Of the messages. */
  bytes = 0;
  /** Messages that the target had already. */
  present = 0;
  damaged = 0;
  refused = 0;
  readonly shortfalls: Shortfall[] = [];
  /** Ways around what the target is unfit for, said once each. */
  readonly remarks: string[] = [];
  readonly #onProgress: (bytes: number) => void;

  /** @param onProgress gets the size of each message that is done with */
  constructor(onProgress: (bytes: number) => void = () => {}) {
    this.#onProgress = onProgress;
  }

  restored(bytes: number): void {
    this.messages++;
    this.bytes += bytes;
    this.#onProgress(bytes);
  }

  wasPresent(bytes: number): void {
    this.present++;
    this.#onProgress(bytes);
  }

  /** Done with a message that is in the shortfalls. */
  passed(bytes: number): void {
    this.#onProgress(bytes);
  }

  shortfall(shortfall: Shortfall): void {
    this[shortfall.kind]++;
    if (this.shortfalls.length < MAX_KEPT) this.shortfalls.push(shortfall);
  }

  remark(text: string): void {
    if (!this.remarks.includes(text)) this.remarks.push(text);
  }
}
