/**
 * What was appended to a backup while it was being compacted: whole members, taken over byte by byte. They may count
 * on messages that the compaction has dropped, since the server still had them then: those come before.
 */
import { readSync } from 'node:fs';
import { printFileHeader } from '../../csync/encoder.ts';
import { LineParser, NO_LINE_EVENTS } from '../../csync/line-parser.ts';
import { writeAllSync } from '../../platform/durable.ts';
import { hashRange } from '../../store/chunk/hash-range.ts';
import { type ScannedMember, scanMembers } from '../../store/chunk/scan.ts';
import type { BackupIndex } from '../../store/index/backup-index.ts';
import { feedMember, replayMember } from '../../store/replay.ts';
import { readMessage } from '../../store/stored-message.ts';
import type { Output } from './output.ts';

const DAMAGE_NOTES: ReadonlySet<string> = new Set(['DAMAGE']);

export interface CarryOverOptions {
  /** The old data file, and the state that the survey found in it. */
  fd: number;
  path: string;
  before: BackupIndex;
  /** The new data file, its index and who writes them. */
  newFd: number;
  newIndex: BackupIndex;
  output: Output;
}

/**
 * Takes over the complete members from `start` up to `end` of the old file.
 *
 * @returns where the first member begins that is not complete, or `end`
 */
export async function carryOver(options: CarryOverOptions, start: number, end: number): Promise<number> {
  for (const member of scanMembers(options.fd, start, end)) {
    if (member.state !== 'complete') return member.offset;
    await bringLacking(options, member);
    copyMember(options, member);
  }
  return end;
}

/** Messages that the member's RECORDs name, and that only the old file has. */
async function bringLacking(options: CarryOverOptions, member: ScannedMember): Promise<void> {
  const { fd, path, before, newIndex, output } = options;
  for (const guid of recordGuids(fd, member)) {
    if (newIndex.messageId(guid) !== undefined) continue;
    const location = before.findMessage(guid);
    if (location === undefined) continue;
    output.beginLine(output.lastTime);
    const head = `MESSAGE (${printFileHeader(location.partition, guid, location.size)}`;
    output.write(Buffer.from(head, 'latin1'));
    for (const block of readMessage(fd, before, location, path)) {
      output.write(block);
      await output.drain();
    }
    output.write(Buffer.from(')\r\n', 'latin1'));
  }
  await output.finish();
}

function recordGuids(fd: number, member: ScannedMember): Set<string> {
  const guids = new Set<string>();
  let [isMailbox, key] = [false, ''];
  const parser = new LineParser({
    ...NO_LINE_EVENTS,
    lineStart: ({ verb }) => {
      isMailbox = verb === 'MAILBOX';
    },
    key: (name) => {
      key = name;
    },
    scalar: (value) => {
      if (isMailbox && key === 'GUID' && value.held) guids.add(value.latin1().toLowerCase());
    },
  });
  feedMember(fd, member, member.contentLength, undefined, parser);
  return guids;
}

function copyMember({ fd, newFd, newIndex, output }: CarryOverOptions, member: ScannedMember): void {
  const { fileEnd, fileSha1 } = output;
  const id = newIndex.startChunk({
    offset: fileEnd,
    tsStart: member.firstTime,
    fileSha1: fileSha1.digestHex(),
  });
  for (const { contentOffset, fileOffset } of member.starts) {
    newIndex.addSegmentStart(id, contentOffset, fileOffset - member.offset + fileEnd);
  }
  // What is noted of damage speaks of chunks that have been moved.
  replayMember(fd, member, member.contentLength, newIndex, id, { ignoredNotes: DAMAGE_NOTES });
  newIndex.endChunk(id, {
    tsEnd: member.lastTime,
    length: member.contentLength,
    dataSha1: member.contentSha1,
  });
  copyRange(fd, member.offset, member.end, newFd, fileEnd);
  hashRange(fd, member.offset, member.end, fileSha1);
  output.adopt(fileEnd + member.end - member.offset, fileSha1, member.lastTime);
}

function copyRange(from: number, start: number, end: number, to: number, position: number): void {
  const buffer = Buffer.allocUnsafe(Math.min(1 << 20, end - start));
  for (let at = start; at < end; ) {
    const length = readSync(from, buffer, 0, Math.min(buffer.length, end - at), at);
    if (length === 0) throw new RangeError('the data file became shorter while it was read');
    writeAllSync(to, [buffer.subarray(0, length)], position + at - start);
    at += length;
  }
}
