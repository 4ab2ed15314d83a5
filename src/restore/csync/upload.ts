/** Messages of a backup on their way to the target: only those that it lacks, in the order of the data file. */
import { BackupError } from '../../platform/errors.ts';
import type { MessageLocation } from '../../store/index/backup-index.ts';
import { messagesInOrder } from '../../store/messages-in-order.ts';
import { type CsyncClient, MAX_MESSAGES_PER_COMMAND, type OutgoingMessage } from '../csync-client.ts';
import type { BackupSource } from '../source.ts';

/** Longer messages are read twice, once to see whether they are whole, and never held. */
const MAX_HELD_BYTES = 1 << 20;
/** Of one APPLY MESSAGE, so that the target answers before anybody loses patience. */
const COMMAND_BYTES = 32 << 20;

export interface UploadOptions {
  partition: string;
  guids: Iterable<string>;
  /** Mailboxes of the target in which the messages may be already. */
  reserveIn: readonly string[];
}

/**
 * Stages messages at the target, where they wait for the MAILBOX that names them, until RESTART.
 *
 * @returns for those that the backup has lost, why; they were not sent
 * @throws CsyncRefusal, BackupError UNAVAILABLE
 */
export async function uploadMessages(
  client: CsyncClient,
  source: BackupSource,
  { partition, guids, reserveIn }: UploadOptions,
): Promise<Map<string, string>> {
  const unique = [...new Set(guids)];
  const lost = new Map<string, string>();
  if (unique.length === 0) return lost;
  const missing = reserveIn.length === 0 ? unique : await client.reserve(partition, reserveIn, unique);
  const locations: MessageLocation[] = [];
  /** Not where the index says, but perhaps elsewhere in the file. */
  const others: string[] = [];
  for (const guid of missing) {
    const location = source.findMessage(guid);
    if (location === undefined) others.push(guid);
    else locations.push(location);
  }
  const command = new MessageCommand(client, partition);
  const { fd, index, path } = source.backup;
  for (const { location, bytes, damage } of messagesInOrder(locations, {
    fd,
    index,
    path,
    maxBytes: MAX_HELD_BYTES,
  })) {
    const { guid, size } = location;
    if (bytes !== undefined) await command.add(guid, size, bytes);
    else if (damage !== undefined) others.push(guid);
    else {
      const reason = damageOf(source, guid);
      if (reason === undefined) await command.add(guid, size, source.content(guid));
      else lost.set(guid, reason);
    }
  }
  for (const guid of others) {
    const pieces: Buffer[] = [];
    const reason = damageOf(source, guid, (piece) => pieces.push(Buffer.from(piece)));
    const whole = Buffer.concat(pieces);
    if (reason === undefined) await command.add(guid, whole.length, whole);
    else lost.set(guid, reason);
  }
  await command.end();
  return lost;
}

/** Messages of one partition, in commands that are not too long. */
class MessageCommand {
  readonly #client: CsyncClient;
  readonly #partition: string;
  #messages = 0;
  #bytes = 0;

  constructor(client: CsyncClient, partition: string) {
    this.#client = client;
    this.#partition = partition;
  }

  async add(guid: string, size: number, content: OutgoingMessage['content']): Promise<void> {
    await this.#client.addMessage(this.#partition, { guid, size, content });
    this.#messages++;
    this.#bytes += size;
    if (this.#messages >= MAX_MESSAGES_PER_COMMAND || this.#bytes >= COMMAND_BYTES) await this.end();
  }

  async end(): Promise<void> {
    await this.#client.endMessages();
    [this.#messages, this.#bytes] = [0, 0];
  }
}

/** Why it cannot be read: half of a message cannot be taken back. */
function damageOf(
  source: BackupSource,
  guid: string,
  onPiece: (piece: Uint8Array) => void = () => {},
): string | undefined {
  try {
    for (const piece of source.content(guid)) onPiece(piece);
    return undefined;
  } catch (error) {
    if (error instanceof BackupError && (error.code === 'CHUNK_CORRUPT' || error.code === 'NOT_FOUND'))
      return error.reason;
    throw error;
  }
}
