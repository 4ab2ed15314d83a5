/** Messages for targets that cannot take back what they have written. */
import type { BackupSource } from '../source.ts';

/** Up to this size a message is kept in memory until it is known to be whole. */
const MAX_KEPT_BYTES = 16 << 20;

export interface SoundMessage {
  size: number;
  /** A piece is valid until the next is asked for. */
  pieces: Iterable<Uint8Array>;
}

/**
 * The message, if it is whole: a large one is read twice for that.
 *
 * @throws BackupError NOT_FOUND, CHUNK_CORRUPT, before anything was handed out
 */
export function soundMessage(source: BackupSource, guid: string): SoundMessage {
  const kept: Uint8Array[] = [];
  let size = 0;
  for (const piece of source.content(guid)) {
    size += piece.length;
    if (size <= MAX_KEPT_BYTES) kept.push(Uint8Array.from(piece));
    else kept.length = 0;
  }
  return { size, pieces: size <= MAX_KEPT_BYTES ? kept : source.content(guid) };
}
