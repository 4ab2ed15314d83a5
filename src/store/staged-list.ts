/**
 * A staging file that says where messages of a session lie of which the main thread does not remember it (server/staged-messages.ts). Each
 * line is JSON: a string is the staging file that is meant in the lines behind it, `["guid","partition",offset,size]` a message in it.
 */
import fs from 'node:fs';
import { setImmediate as otherRequests } from 'node:timers/promises';
import type { StagedMessage } from '../pipeline/messages.ts';
import { hasErrno } from '../platform/errors.ts';

/** Read at a time. */
const BLOCK_BYTES = 1 << 20;
const GUID_AT = '["'.length;
const GUID_DIGITS = 40;

/** Lines for these messages, to be appended to a list. */
export function stagedListText(messages: readonly StagedMessage[]): string {
  let text = '';
  let file: string | undefined;
  for (const { guid, partition, path, offset, size } of messages) {
    if (path !== file) text += line(path);
    file = path;
    text += line([guid, partition, offset, size]);
  }
  return text;
}

/** In ASCII, whatever a partition or a folder is called. */
function line(value: unknown): string {
  const escaped = (char: string): string => `\\u${char.charCodeAt(0).toString(16).padStart(4, '0')}`;
  return `${JSON.stringify(value).replaceAll(/[\x7f-\uffff]/g, escaped)}\n`;
}

/** Those of the messages that the list names; none if there is no such file. */
export async function findListed(path: string, guids: readonly string[]): Promise<StagedMessage[]> {
  const wanted = new Set(guids);
  const found: StagedMessage[] = [];
  let fd: number;
  try {
    fd = fs.openSync(path, 'r');
  } catch (error) {
    if (hasErrno(error, 'ENOENT')) return found;
    throw error;
  }
  try {
    const block = Buffer.allocUnsafe(BLOCK_BYTES);
    let file = '';
    let rest = '';
    for (;;) {
      const length = fs.readSync(fd, block, 0, block.length, null);
      if (length === 0 || wanted.size === 0) return found;
      const lines = `${rest}${block.toString('latin1', 0, length)}`.split('\n');
      rest = lines.pop()!;
      for (const line of lines) {
        if (line.startsWith('"')) file = JSON.parse(line) as string;
        else if (wanted.delete(line.slice(GUID_AT, GUID_AT + GUID_DIGITS)))
          found.push(stagedMessage(line, file));
      }
      await otherRequests();
    }
  } finally {
    fs.closeSync(fd);
  }
}

function stagedMessage(line: string, path: string): StagedMessage {
  const [guid, partition, offset, size] = JSON.parse(line) as [string, string, number, number];
  return { guid, partition, path, offset, size };
}
