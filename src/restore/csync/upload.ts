/** Messages of a backup on their way to the target: only those that it lacks, in the order of the data file. */
import { BackupError } from '../../platform/errors.ts';
import type { MessageLocation } from '../../store/index/backup-index.ts';
import { messagesInOrder } from '../../store/messages-in-order.ts';
import { type CsyncClient, MAX_MESSAGES_PER_COMMAND } from '../csync-client.ts';
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
  for (const guid of missing) {
    const location = source.findMessage(guid);
    if (location !== undefined) locations.push(location);
    else lost.set(guid, 'the backup has its envelope only');
  }
  const { fd, index, path } = source.backup;
  let [messages, bytes] = [0, 0];
  for (const read of messagesInOrder(locations, { fd, index, path, maxBytes: MAX_HELD_BYTES })) {
    const { guid, size } = read.location;
    const damage = read.damage ?? (read.bytes === undefined ? damageOf(source, guid) : undefined);
    if (damage !== undefined) {
      lost.set(guid, damage.reason);
      continue;
    }
    await client.addMessage(partition, { guid, size, content: read.bytes ?? source.content(guid) });
    messages++;
    bytes += size;
    if (messages >= MAX_MESSAGES_PER_COMMAND || bytes >= COMMAND_BYTES) {
      await client.endMessages();
      [messages, bytes] = [0, 0];
    }
  }
  await client.endMessages();
  return lost;
}

/** Whether it can be read: half of a message cannot be taken back. */
function damageOf(source: BackupSource, guid: string): BackupError | undefined {
  try {
    for (const _ of source.content(guid));
    return undefined;
  } catch (error) {
    if (error instanceof BackupError && (error.code === 'CHUNK_CORRUPT' || error.code === 'NOT_FOUND'))
      return error;
    throw error;
  }
}
