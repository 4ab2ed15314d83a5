/**
 * Walks over the members of a data file, complete or not, and says of each how far it is good. It reads what
 * Cyrus wrote and what we wrote, and goes on behind damage.
 *
 * What can be wrong with a member, and what the scan makes of it:
 *
 * - **unfinished**: the bytes run out, at the end of the file or at the next member's header. A killed backupd
 *   leaves such members and appends the next one behind. Up to there the content is good to the byte.
 * - **corrupt**: the stream or its checksum is wrong. What was decoded before is reported, but which of it is
 *   good only the checksums inside it (message GUIDs) can tell. A changed bit can also hide the end of a stream, so
 *   that it seems to go on through the members behind it: their headers, which no decoder copies to the content,
 *   and the end of a finished member tell that from a torn one.
 *
 * The next member after damage is looked for from the last flush point on: a gzip header whose content begins
 * with the first line of every chunk. A message may hold such bytes too (somebody mails a backup); therefore
 * places that the caller knows (the chunk table of the index) are believed first, and members with something
 * else than a header behind the last of them are not believed if they can lie in a stored block, where a message stands as it is.
 *
 * Memory is bounded. It is one pass, but for members that are damaged or not finished, and for what lies behind
 * damage: those are decoded twice.
 */
import { fstatSync, readSync } from 'node:fs';
import { ResumableSha1 } from '../../platform/sha1.ts';
import { hashRange } from './hash-range.ts';
import { BOOT_TAG_BYTES, CHUNK_START, encodeMemberHeader, endsAsFinished } from './member.ts';
import {
  type ContentSink,
  DecoderBuffers,
  type Extent,
  findMemberHeader,
  isMemberHeader,
  MemberDecoder,
} from './member-decoder.ts';
import { findTail, type MemberTail } from './tail.ts';
import type { SegmentStart } from './writer.ts';

export interface ScannedMember {
  /** File offset of its first byte. */
  offset: number;
  /** File offset behind it: where the next member begins, or the end of the file. */
  end: number;
  /** See the head of this file. `complete`: the trailer is there and right. */
  state: 'complete' | 'unfinished' | 'corrupt';
  /** What is wrong, for people; empty if complete. */
  reason: string;
  /** Length of its header; 0 if there is none. */
  headerLength: number;
  /** Of the machine's boot in which we wrote it; absent in members by Cyrus. */
  bootTag?: Uint8Array;
  /** SHA-1 of all bytes of the file before it: hex, and as a state of ResumableSha1. */
  fileSha1: string;
  fileSha1State: Uint8Array;
  /** Bytes of content that were decoded, and their SHA-1 in hex. */
  contentLength: number;
  contentSha1: string;
  /** Offset in the content behind its last complete line. */
  lineEnd: number;
  /** Complete lines, comments not counted; those that are malformed (the one that is torn not counted). */
  lines: number;
  malformedLines: number;
  /** Seconds: times of the first and the last complete line; 0 if there is none. */
  firstTime: number;
  lastTime: number;
  /** Segment starts, sparse as those of ChunkWriter.segmentStarts(). */
  starts: SegmentStart[];
  /**
   * Where ChunkWriter.resume() can go on: flush points behind complete lines, in order (the last 32768 at least).
   * Empty if the member is complete.
   */
  cuts: SegmentStart[];
  /** Of a corrupt one: what can be read behind the damage. Content between `contentLength` and it is lost. */
  tail?: MemberTail;
  /** File offset behind the final deflate block, where only the footer (CRC-32, length) is missing or wrong. */
  streamEnd?: number;
}

export interface ScanOptions extends ContentSink {
  /** SHA-1 of the bytes before `from`; without it they are read. */
  fileSha1?: ResumableSha1;
  /** Offsets at which chunks begin according to the index. */
  known?: ReadonlySet<number>;
  /** Use no native code; for tests, which compare both ways. */
  exact?: boolean;
}

/** Length of its content, what is lost in it included. */
export function contentEnd(member: ScannedMember): number {
  return member.tail?.contentEnd ?? member.contentLength;
}

/** Bytes that may be decoded to find out whether places are to be believed; beyond, they are. */
const TRIAL_BUDGET_BYTES = 256 << 20;

/** The members from file offset `from` up to `size`, in order and without gaps. Never throws for what is in the file. */
export function* scanMembers(
  fd: number,
  from = 0,
  size: number = fstatSync(fd).size,
  options: ScanOptions = {},
): Generator<ScannedMember, void> {
  const scan = new Scan(fd, size, options);
  const fileSha1 = options.fileSha1?.clone() ?? hashRange(fd, 0, from, ResumableSha1.create());
  for (let offset = from; offset < size; ) {
    const member = scan.member(offset, fileSha1);
    yield member;
    if (member.end < size) hashRange(fd, offset, member.end, fileSha1);
    offset = member.end;
  }
}

let buffers: DecoderBuffers | undefined;

/** One for the thread: whatever is decoded in them is done with before anything else is. */
function threadBuffers(): DecoderBuffers {
  buffers ??= new DecoderBuffers(true);
  buffers.fast?.forget();
  return buffers;
}

/** Of content in a stored block (RFC 1951, 3.2.4), whose header ends with its length and the complement of that. */
const MAX_STORED_BYTES = 0xffff;
/** Places at which it is looked for such a block; a hostile message may hold any number. */
const MAX_LOOKS = 1000;

/** How a member by us begins; one by Cyrus differs in the flags only. */
const MEMBER_START = encodeMemberHeader(new Uint8Array(BOOT_TAG_BYTES)).subarray(0, 10);

type Judgement = 'chain' | 'maybe' | 'no';

interface Verdict {
  state: ScannedMember['state'];
  end: number;
  reason: string;
  extent: Extent;
  tail?: MemberTail | undefined;
}

class Scan {
  readonly #fd: number;
  readonly #size: number;
  readonly #known: ReadonlySet<number>;
  readonly #sink: ContentSink;
  readonly #buffers: DecoderBuffers;
  readonly #judged = new Map<number, Judgement>();
  /** Where the complete members end that begin at a place which is judged `no`. */
  readonly #chainEnds = new Map<number, number>();
  #looks = 0;
  #trialBytes = 0;

  constructor(fd: number, size: number, options: ScanOptions) {
    this.#fd = fd;
    this.#size = size;
    this.#known = options.known ?? new Set();
    this.#sink = options;
    this.#buffers = options.exact ? new DecoderBuffers(false) : threadBuffers();
  }

  member(offset: number, fileSha1: ResumableSha1): ScannedMember {
    const decoder = new MemberDecoder(
      this.#fd,
      offset,
      this.#size,
      this.#known,
      true,
      this.#buffers,
      this.#sink,
    );
    const verdict = this.#judge(decoder);
    const { extent, tail } = verdict;
    const contentLength = Math.min(extent.contentLength, tail?.start.contentOffset ?? extent.contentLength);
    const complete = verdict.state === 'complete';
    const cuts = complete ? [] : decoder.cuts.filter((cut) => cut.fileOffset <= extent.fileOffset);
    const torn = extent.lineEnd < extent.contentLength ? 1 : 0;
    return {
      offset,
      end: verdict.end,
      state: verdict.state,
      reason: verdict.reason,
      headerLength: decoder.header.length,
      bootTag: decoder.header.bootTag,
      fileSha1: fileSha1.digestHex(),
      fileSha1State: fileSha1.save(),
      contentLength,
      contentSha1: extent.contentSha1.digest('hex'),
      lineEnd: Math.min(extent.lineEnd, contentLength),
      lines: extent.lines + (tail?.lines ?? 0),
      malformedLines: Math.max(decoder.malformedLines - torn, 0),
      firstTime: extent.lines > 0 ? decoder.firstTime : 0,
      lastTime: Math.max(extent.lastTime, tail?.lastTime ?? 0),
      starts: [
        ...decoder.starts.filter((start) => start.contentOffset < contentLength),
        ...(tail?.starts ?? []),
      ],
      cuts,
      ...(tail && { tail }),
      streamEnd: complete || verdict.end !== decoder.end ? undefined : decoder.streamEnd,
    };
  }

  #judge(decoder: MemberDecoder): Verdict {
    const { outcome, offset, end } = decoder;
    const extent = decoder.extent();
    if (outcome === 'complete') return { state: 'complete', end, reason: '', extent };
    if (outcome === 'torn-header' || outcome === 'no-header') {
      const next = this.#findBelievable(offset + 1);
      if (outcome === 'torn-header' && next === this.#size && !endsAsFinished(this.#fd, this.#size)) {
        return { state: 'unfinished', end: next, reason: 'the file ends inside its header', extent };
      }
      const tail = findTail(this.#fd, { offset, end: next, from: offset, contentLength: 0, headless: true });
      return { state: 'corrupt', end: next, reason: 'it has no gzip header', extent, tail };
    }
    const torn = outcome === 'mismatch' && this.#known.has(end) ? undefined : this.#choose(decoder);
    if (torn !== undefined) {
      const reason = 'another chunk begins before its end';
      return { state: 'unfinished', end: torn.fileOffset, reason, extent: torn };
    }
    if (outcome === 'mismatch' && this.#fits(end)) {
      return { state: 'corrupt', end, reason: 'its checksum or length is not that of its content', extent };
    }
    if (outcome === 'out') return this.#endless(decoder, extent);
    const reason = `its stream is damaged at or before byte ${extent.fileOffset} of the file`;
    // Without any flush point the header itself may be wrong about its length.
    const trusted = decoder.flushPoint.contentOffset > 0;
    const next = this.#findBelievable(trusted ? extent.fileOffset : offset + 1);
    if (next < extent.fileOffset) return { state: 'corrupt', end: next, reason, extent: decoder.nothing };
    const { contentOffset: contentLength, fileOffset } = decoder.flushPoint;
    const from = trusted ? fileOffset : offset;
    const tail = findTail(this.#fd, { offset, end: next, from, contentLength, headless: !trusted });
    return { state: 'corrupt', end: next, reason, extent, tail };
  }

  /** A member that does not end before the file does: torn, or its end has become unreadable. */
  #endless(decoder: MemberDecoder, extent: Extent): Verdict {
    if (decoder.header.bootTag !== undefined) {
      const reason = 'its stream is damaged: it goes on behind its end';
      const swallowed = [...decoder.earlier, ...decoder.candidates].find(
        ({ isCopied, fileOffset }) => !isCopied && this.#judgePlace(fileOffset) !== 'no',
      );
      if (swallowed !== undefined) {
        return { state: 'corrupt', end: swallowed.fileOffset, reason, extent: swallowed };
      }
      const isFinished = endsAsFinished(this.#fd, this.#size);
      if (isFinished && !extent.isCopied) return { state: 'corrupt', end: this.#size, reason, extent };
    }
    return { state: 'unfinished', end: this.#size, reason: 'the file ends before it does', extent };
  }

  /** Where another member begins before the decoder came to its end, or undefined. */
  #choose(decoder: MemberDecoder): Extent | undefined {
    const { candidates, earlier } = decoder;
    const known = [...earlier, ...candidates].find((candidate) => this.#known.has(candidate.fileOffset));
    // Behind what we left unfinished nobody appends, unless the index says so.
    if (known !== undefined || (decoder.outcome === 'out' && decoder.header.bootTag !== undefined))
      return known;
    return (
      earlier.find((candidate) => this.#isOther(candidate)) ??
      candidates.find((candidate) => this.#judgePlace(candidate.fileOffset) !== 'no')
    );
  }

  /** Whether a header that lies before a flush point is that of another member: no stream but a damaged one runs over it. */
  #isOther({ fileOffset, isCopied }: Extent): boolean {
    const judgement = this.#judgePlace(fileOffset);
    return judgement === 'chain' || (judgement === 'maybe' && !isCopied);
  }

  /** Next member at or behind `from`, or the end of the file. */
  #findBelievable(from: number): number {
    for (let at = from; ; at++) {
      const found = findMemberHeader(this.#fd, at, this.#size);
      if (found === undefined) return this.#size;
      if (this.#judgePlace(found) !== 'no' || this.#standsAlone(from, found)) return found;
      at = found;
    }
  }

  /**
   * Whether a member begins here that is not just part of a message. `chain`: complete members follow up to the
   * end of the file. `maybe`: something torn or damaged follows. `no`: behind a complete member stands something else.
   */
  #judgePlace(offset: number): Judgement {
    if (this.#known.has(offset)) return 'chain';
    const walked: number[] = [];
    let chainEnd = offset;
    let judgement: Judgement | undefined;
    for (let at = offset; judgement === undefined; ) {
      judgement = at >= this.#size ? 'chain' : this.#judged.get(at);
      if (judgement !== undefined) break;
      if (this.#trialBytes > TRIAL_BUDGET_BYTES) {
        judgement = walked.length > 0 ? 'chain' : 'maybe';
        break;
      }
      walked.push(at);
      const trial = new MemberDecoder(this.#fd, at, this.#size, this.#known, false, this.#buffers);
      this.#trialBytes += trial.extent().contentLength + CHUNK_START.length;
      if (trial.outcome !== 'complete') judgement = 'maybe';
      else if (!this.#fits(trial.end)) judgement = this.#wasHeader(trial.end) ? 'maybe' : 'no';
      chainEnd = at = trial.end;
    }
    chainEnd = this.#chainEnds.get(chainEnd) ?? chainEnd;
    for (const place of walked) {
      this.#judged.set(place, judgement);
      this.#chainEnds.set(place, chainEnd);
    }
    return judgement;
  }

  /**
   * Whether complete members, behind which something else stands, are no content of the damaged member that begins before
   * them. A message lies in the file as it is only inside a stored block, whose header says how long it is; if that is what
   * was damaged, whole chunks would be lost for what hardly anybody mails.
   */
  #standsAlone(from: number, offset: number): boolean {
    const end = this.#chainEnds.get(offset);
    if (end === undefined || ++this.#looks > MAX_LOOKS) return false;
    const begin = Math.max(from, offset - MAX_STORED_BYTES - 4);
    const bytes = Buffer.alloc(offset - begin);
    readSync(this.#fd, bytes, 0, bytes.length, begin);
    for (let at = 0; at + 4 <= bytes.length; at++) {
      const length = bytes.readUInt16LE(at);
      if ((length ^ bytes.readUInt16LE(at + 2)) === MAX_STORED_BYTES && begin + at + 4 + length >= end)
        return false;
    }
    return true;
  }

  /** A header that is damaged, or text behind it: most of its first bytes are right, or none were ever written. */
  #wasHeader(offset: number): boolean {
    const bytes = Buffer.alloc(MEMBER_START.length, 1);
    readSync(this.#fd, bytes, 0, bytes.length, offset);
    const right = bytes.reduce((count, byte, i) => count + (byte === MEMBER_START[i] ? 1 : 0), 0);
    return right >= MEMBER_START.length - 2 || bytes.every((byte) => byte === 0);
  }

  /** The file ends here, or another member begins. */
  #fits(offset: number): boolean {
    return offset >= this.#size || isMemberHeader(this.#fd, offset, this.#size);
  }
}
