/** Brings an index up to date with members of the data file: what recovery and rebuilding have in common. */
import { createHash, type Hash } from 'node:crypto';
import { LineParser } from '../csync/line-parser.ts';
import { BackupError } from '../platform/errors.ts';
import { LineReplay } from './apply-line.ts';
import { readContent } from './chunk/reader.ts';
import type { ScannedMember } from './chunk/scan.ts';
import type { BackupIndex } from './index/backup-index.ts';

/** Result of replaying one member. */
export interface ReplayedMember {
  /** Offset in the content behind the last line that changes state: what follows are unclaimed messages. */
  stateEnd: number;
  /** Offset behind the last complete line. */
  lineEnd: number;
  lastTime: number;
}

/**
 * Parses the content of a member up to `limit` bytes, without touching the index.
 *
 * @returns where its good lines end: those before the first message whose bytes are not what its GUID says.
 */
export function measureMember(fd: number, member: ScannedMember, limit: number): ReplayedMember {
  const result: ReplayedMember = { stateEnd: 0, lineEnd: 0, lastTime: 0 };
  let verb = '';
  let time = 0;
  let isGood = true;
  let guid = '';
  let sha1: Hash | undefined;
  const nothing = () => {};
  const parser = new LineParser({
    beginList: nothing,
    beginKvlist: nothing,
    end: nothing,
    key: nothing,
    scalar: nothing,
    file: (file) => {
      guid = file.guid;
      sha1 = createHash('sha1');
    },
    fileBytes: (bytes, start, end) => sha1?.update(bytes.subarray(start, end)),
    fileEnd: () => {
      if (sha1?.digest('hex') !== guid) isGood = false;
    },
    malformed: () => {
      isGood = false;
    },
    lineStart: (line) => {
      verb = line.verb;
      time = line.time;
    },
    lineEnd: (offset) => {
      if (!isGood) return;
      result.lineEnd = offset;
      result.lastTime = Math.max(result.lastTime, time);
      if (verb !== 'MESSAGE') result.stateEnd = offset;
    },
  });
  feed(fd, member, limit, parser);
  return result;
}

/** Applies the lines of a member, up to `limit` bytes of its content, to the index. */
export function replayMember(
  fd: number,
  member: ScannedMember,
  limit: number,
  index: BackupIndex,
  chunkId: number,
): void {
  const parser = new LineParser(new LineReplay(index, chunkId));
  feed(fd, member, limit, parser);
}

function feed(fd: number, member: ScannedMember, limit: number, parser: LineParser): void {
  parser.reset(0);
  let left = limit;
  try {
    for (const block of readContent(fd, { offset: member.offset, end: member.end })) {
      parser.push(block, 0, Math.min(block.length, left));
      left -= block.length;
      if (left <= 0) break;
    }
  } catch (error) {
    // Damage behind the good part: the scan has said so already, and what came before it was taken.
    if (!(error instanceof BackupError && error.code === 'CHUNK_CORRUPT')) throw error;
  }
  parser.end();
}
