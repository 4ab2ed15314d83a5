/** Brings an index up to date with members of the data file: what recovery and rebuilding have in common. */
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
 * @returns where its lines end.
 */
export function measureMember(fd: number, member: ScannedMember, limit: number): ReplayedMember {
  const result: ReplayedMember = { stateEnd: 0, lineEnd: 0, lastTime: 0 };
  let verb = '';
  let time = 0;
  const nothing = () => {};
  const parser = new LineParser({
    beginList: nothing,
    beginKvlist: nothing,
    end: nothing,
    key: nothing,
    scalar: nothing,
    file: nothing,
    malformed: nothing,
    lineStart: (line) => {
      verb = line.verb;
      time = line.time;
    },
    lineEnd: (offset) => {
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
