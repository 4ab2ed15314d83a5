/**
 * Messages that lie in staging files of a session, by GUID. So many as fit into the share of memory that is for them are known here;
 * where the others lie is listed in a staging file, too (store/staged-list.ts), so that there is no limit to what a client may send in one batch.
 */
import type { StagedMessage } from '../pipeline/messages.ts';
import { type GuidBudget, GuidMap } from './guid-map.ts';

interface StagedPlace {
  path: string;
  partition: string;
  offset: number;
  size: number;
}

/** More are listed in the file. */
const MAX_KNOWN = 50_000;

export class StagedMessages {
  /** Where some lie could not be listed: what is not found may have been sent. */
  isIncomplete = false;
  /** Some are listed in a file. */
  hasList = false;
  readonly #max: number;
  readonly #numbers: GuidMap;
  readonly #places: StagedPlace[] = [];
  #toList: StagedMessage[] = [];

  constructor(budget: GuidBudget, max = MAX_KNOWN) {
    this.#numbers = new GuidMap(budget);
    this.#max = max;
  }

  add(message: StagedMessage): void {
    const { guid, path, partition, offset, size } = message;
    const number = this.#places.length;
    if (number >= this.#max || !this.#numbers.setIfRoom(guid, number)) {
      this.#toList.push(message);
      return;
    }
    this.#places.push({ path, partition, offset, size });
  }

  /** Undefined if it is not known here. */
  get(guid: string): StagedMessage | undefined {
    const number = this.#numbers.get(guid);
    return number === undefined ? undefined : { guid, ...this.#places[number]! };
  }

  /** Those that are to be listed in a file and are not yet. */
  takeToList(): StagedMessage[] {
    const messages = this.#toList;
    if (messages.length > 0) this.#toList = [];
    return messages;
  }

  clear(): void {
    this.isIncomplete = false;
    this.hasList = false;
    this.#numbers.clear();
    this.#places.length = 0;
    this.#toList = [];
  }
}
