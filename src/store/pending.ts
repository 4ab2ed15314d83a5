/**
 * Messages that lie in the open chunk behind everything committed: their MESSAGE line was written because the
 * client will most likely name them in a MAILBOX of this user next. A MAILBOX that names one claims it. What
 * nobody claims belongs to somebody else and must leave the file before anything is committed behind it.
 */
import type { MessageRef } from '../pipeline/messages.ts';

/** A message in the open chunk, as the index will know it. */
export interface PendingMessage {
  guid: string;
  partition: string;
  chunkId: number;
  /** Offset of its MESSAGE line in the chunk's content. */
  lineOffset: number;
  /** Offset of its first byte in the chunk's content. */
  contentOffset: number;
  size: number;
  /** The user asked for it by RESERVE, so it is this user's even before a MAILBOX names it. */
  reserved: boolean;
  claimed: boolean;
}

/** All pending messages of one backup, by GUID. */
export class PendingMessages {
  readonly #byGuid = new Map<string, PendingMessage>();

  get size(): number {
    return this.#byGuid.size;
  }

  get(guid: string): PendingMessage | undefined {
    return this.#byGuid.get(guid);
  }

  /** Adds the messages of a complete MESSAGE line. `textOffset`: where its text begins in the content. */
  add(
    line: { chunkId: number; lineOffset: number; textOffset: number },
    messages: readonly MessageRef[],
    isReserved: (guid: string) => boolean,
  ): void {
    for (const message of messages) {
      this.#byGuid.set(message.guid, {
        guid: message.guid,
        partition: message.partition,
        chunkId: line.chunkId,
        lineOffset: line.lineOffset,
        contentOffset: line.textOffset + message.offset,
        size: message.size,
        reserved: isReserved(message.guid),
        claimed: false,
      });
    }
  }

  /** The message with this GUID, now claimed by a MAILBOX of this user; undefined if it is not pending. */
  claim(guid: string): PendingMessage | undefined {
    const message = this.#byGuid.get(guid);
    if (message !== undefined) message.claimed = true;
    return message;
  }

  /** A MAILBOX of this user names them: they are the user's, though it cannot be taken yet. */
  keepClaimed(): void {
    for (const message of this.#byGuid.values()) if (message.claimed) message.reserved = true;
  }

  /** The index, in the open transaction, says of some of them that they lie here. */
  get hasClaimed(): boolean {
    return [...this.#byGuid.values()].some((message) => message.claimed);
  }

  /** The MAILBOX that claimed was refused after all. */
  unclaimAll(): void {
    for (const message of this.#byGuid.values()) message.claimed = false;
  }

  /** Reserved by this user but named by no MAILBOX yet: these stay, as messages without a mailbox. */
  kept(): PendingMessage[] {
    return [...this.#byGuid.values()].filter((message) => message.reserved && !message.claimed);
  }

  /** Neither claimed nor reserved: not known to be this user's. */
  strangers(): PendingMessage[] {
    return [...this.#byGuid.values()].filter((message) => !message.reserved && !message.claimed);
  }

  /** Everything pending, in the order written. */
  all(): PendingMessage[] {
    return [...this.#byGuid.values()];
  }

  clear(): void {
    this.#byGuid.clear();
  }
}
