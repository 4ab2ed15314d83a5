/** The head of a stored message, and its fields. */
import type { BackupIndex, MessageLocation } from './index/backup-index.ts';
import { readMessage } from './stored-message.ts';

/** Heads that are longer are cut: they are no mail's. */
const MAX_HEAD_BYTES = 1 << 20;

/**
 * The bytes before the first empty line, the last header's line end not included; the whole message if it has none.
 *
 * @throws BackupError CHUNK_CORRUPT where the chunk is damaged before that.
 */
export function readHead(fd: number, index: BackupIndex, location: MessageLocation, path: string): Buffer {
  let head: Buffer = Buffer.alloc(0);
  for (const piece of readMessage(fd, index, location, path)) {
    head = Buffer.concat([head, piece]);
    const end = endOfHead(head);
    if (end !== undefined) return head.subarray(0, end);
    if (head.length >= MAX_HEAD_BYTES) return head.subarray(0, MAX_HEAD_BYTES);
  }
  return trimLineEnd(head);
}

/** Fields by name, in the order in which they first come, each with its values unfolded. Bytes are latin1 characters. */
export function headerFields(head: Buffer): Map<string, string[]> {
  const fields = new Map<string, string[]>();
  const text = head.toString('latin1');
  for (const line of text.split(/\r?\n(?![ \t])/)) {
    const colon = line.search(/[:\r\n]/);
    if (colon === -1 || line[colon] !== ':') continue;
    const name = line.slice(0, colon);
    const value = line
      .slice(colon + 1)
      .replace(/^[ \t]+/, '')
      .replaceAll(/\r?\n/g, '');
    const values = fields.get(name);
    if (values === undefined) fields.set(name, [value]);
    else values.push(value);
  }
  return fields;
}

function endOfHead(bytes: Buffer): number | undefined {
  if (bytes[0] === 0x0a || (bytes[0] === 0x0d && bytes[1] === 0x0a)) return 0;
  const ends = [bytes.indexOf('\r\n\r\n'), bytes.indexOf('\n\n')].filter((at) => at !== -1);
  return ends.length === 0 ? undefined : Math.min(...ends);
}

function trimLineEnd(bytes: Buffer): Buffer {
  let end = bytes.length;
  if (bytes[end - 1] === 0x0a) end--;
  if (bytes[end - 1] === 0x0d) end--;
  return bytes.subarray(0, end);
}
