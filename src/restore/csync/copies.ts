/** Where at the target a message may be found already, so that it is not sent. */
import { copiedMessages } from '../../store/index/queries.ts';
import type { BackupSource } from '../source.ts';

/** Mailboxes that are searched for each batch: the target reads through all records of each. */
const MAX_SEARCHED = 64;

export class Copies {
  readonly #existing: readonly string[];
  /** Messages that are in several mailboxes of the backup, and the mailbox in which they have come back first. */
  readonly #restored: Map<string, string | undefined>;

  /** @param existing mailboxes that the target had before */
  constructor(source: BackupSource, existing: readonly string[]) {
    this.#existing = existing.slice(0, MAX_SEARCHED);
    this.#restored = new Map(copiedMessages(source.backup.index).map((guid) => [guid, undefined]));
  }

  /** Names of mailboxes for RESERVE. */
  placesOf(guids: readonly string[]): string[] {
    const places = new Set(this.#existing);
    for (const guid of guids) {
      const place = this.#restored.get(guid);
      if (place !== undefined && places.size < 2 * MAX_SEARCHED) places.add(place);
    }
    return [...places];
  }

  /** These are in this mailbox now. */
  note(guids: readonly string[], mboxname: string): void {
    for (const guid of guids) {
      if (this.#restored.has(guid) && this.#restored.get(guid) === undefined)
        this.#restored.set(guid, mboxname);
    }
  }
}
