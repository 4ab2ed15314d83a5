/**
 * The state of a backup at a moment, as an index of its own that is made from the data file's lines up to there. Only
 * reads the data file, and needs no lock: what is complete in it never changes.
 */
import type { LineStart } from '../csync/line-parser.ts';
import { ResumableSha1 } from '../platform/sha1.ts';
import { enterChunk, isTorn } from './apply-members.ts';
import { contentEnd, type ScannedMember, scanMembers } from './chunk/scan.ts';
import type { ApplyObserver } from './index/apply-observer.ts';
import type { BackupIndex } from './index/backup-index.ts';
import { type MemberReaders, type ReadMember, readMembers } from './member-source.ts';
import { replayMember } from './replay.ts';

/** A line of a data file. */
export interface LinePlace {
  /** Of its chunk in the file. */
  chunkOffset: number;
  /** In the content. */
  lineOffset: number;
}

/** `latest`: all lines; `time`: those of this second (since 1970) and before; `before`: those before this one. */
export type Moment =
  | { kind: 'latest' }
  | { kind: 'time'; time: number }
  | { kind: 'before'; place: LinePlace; time: number };

/** A chunk that is not whole, and of which only what could be read was taken. */
export interface DamagedChunk {
  offset: number;
  end: number;
  reason: string;
  /** Seconds: of the last line before it and the first one behind it; 0 where there is none. */
  timeBefore: number;
  timeBehind: number;
}

export interface PastIndexOptions {
  fd: number;
  /** What of the data file is looked at. */
  sizeBytes: number;
  moment: Moment;
  /** Empty, or describing the file up to `from`. It is the caller's to close. */
  index: BackupIndex;
  /** Where a member begins; by default 0. */
  from?: number;
  /** Threads that read ahead. */
  readers?: MemberReaders | undefined;
  /** Messages that no line up to the moment brings rightly are not looked for behind it. */
  withoutLookAhead?: boolean | undefined;
  /** Gets the head of each line before it is applied, with where its chunk lies in the file. */
  onLine?: ((line: LineStart, chunkOffset: number) => void) | undefined;
  observer?: ApplyObserver | undefined;
  /** Gets how many more bytes of the data file are done with. */
  onProgress?: ((bytes: number) => void) | undefined;
}

export interface PastIndex {
  /** Seconds: of the first line of the file, and of the last one that was applied; 0 if there is none. */
  firstTime: number;
  lastTime: number;
  /** See BackupIndex.historySince(). */
  historySince: number | undefined;
  /** Whether a moment before a line was found: compaction moves lines. */
  isMomentFound: boolean;
  /** Up to the moment. */
  damagedChunks: DamagedChunk[];
  /** The last chunk, which is not behind the moment, has no end: a sync is under way, or was cut short. */
  isUnfinished: boolean;
}

/**
 * What our own notes say of damage is not believed: a message is here if its bytes are right, and if no line up to the
 * moment has brought it rightly a later one may.
 */
const IGNORED_NOTES: ReadonlySet<string> = new Set(['DAMAGE', 'HEAL']);

/** Enters what was so at the moment into an index. */
export async function fillPastIndex(options: PastIndexOptions): Promise<PastIndex> {
  const { fd, sizeBytes, index, from = 0, readers, onProgress } = options;
  index.allowSpill(false); // a larger cache: it is filled as a whole, and nobody else reads it
  index.begin();
  const filler = new Filler(options);
  for await (const read of readMembers(fd, from, sizeBytes, ResumableSha1.create(), readers)) {
    if (!filler.take(read)) break;
    onProgress?.(read.member.end - read.member.offset);
  }
  const { firstTime, lastTime, damagedChunks } = filler;
  index.setState({
    committedEnd: sizeBytes,
    trailer: NOTHING,
    fileSha1State: NOTHING, // nobody appends by this index
    lastTime,
  });
  index.commit();
  index.allowSpill(true);
  const isMomentFound = options.moment.kind !== 'before' || filler.isPlaceFound;
  const { isUnfinished } = filler;
  return {
    firstTime,
    lastTime,
    historySince: index.historySince(),
    isMomentFound,
    damagedChunks,
    isUnfinished,
  };
}

class Filler {
  readonly #o: PastIndexOptions;
  readonly #known: ReadonlyMap<number, number>;
  readonly damagedChunks: DamagedChunk[] = [];
  firstTime = 0;
  lastTime = 0;
  isPlaceFound = false;
  isUnfinished = false;
  /** It is that of a whole chunk, or one before it. */
  #isFirstKnown = false;
  /** A whole chunk behind the moment has been seen. */
  #isPast = false;
  /** Damaged ones of which it is not known what time it was behind them. */
  #open: DamagedChunk[] = [];

  constructor(options: PastIndexOptions) {
    this.#o = options;
    this.#known = new Map(options.index.chunks().map(({ offset, id }) => [offset, id]));
    this.lastTime = options.index.state()?.lastTime ?? 0;
  }

  /** False if nothing behind this member is needed. */
  take({ member, condensed }: ReadMember): boolean {
    const { index, fd, sizeBytes, onLine, observer, withoutLookAhead } = this.#o;
    this.#noteFirstTime(member);
    // What a damaged chunk says of its time may be anything; behind one that is whole it is known.
    this.#isPast ||= member.state === 'complete' && this.#isBehind(member);
    const isBehind = this.#isPast;
    if (isBehind && (withoutLookAhead || !isAnyAwaited(index))) {
      this.#closeDamaged(member.firstTime);
      return false;
    }
    const id = enterChunk(index, member, this.#known, contentEnd(member));
    let isInTime = true;
    replayMember(fd, member, member.contentLength, index, id, {
      condensed,
      observer,
      ignoredNotes: IGNORED_NOTES,
      wants: (line) => {
        isInTime = !isBehind && this.#isInTime(line, member.offset);
        return isInTime || line.verb === 'MESSAGE';
      },
      takesMessage: (guid) => isInTime || isAwaited(index, guid),
      onLine: (line) => {
        if (!isInTime) return;
        this.lastTime = Math.max(this.lastTime, line.time);
        onLine?.(line, member.offset);
      },
    });
    index.endChunk(id, {
      tsEnd: member.lastTime,
      length: contentEnd(member),
      dataSha1: member.contentSha1,
    });
    if (member.state === 'complete') this.#closeDamaged(member.firstTime);
    else if (member.end === sizeBytes && isTorn(fd, member))
      this.isUnfinished = !isBehind && !this.#isBehind(member);
    else if (!isBehind) this.#noteDamaged(member);
    return true;
  }

  /** What a damaged chunk says of its time counts only as far as it is not later than what follows. */
  #noteFirstTime({ firstTime, state }: ScannedMember): void {
    if (firstTime === 0 || this.#isFirstKnown) return;
    this.firstTime = this.firstTime === 0 ? firstTime : Math.min(this.firstTime, firstTime);
    this.#isFirstKnown = state === 'complete';
  }

  #noteDamaged({ offset, end, reason }: ScannedMember): void {
    const chunk: DamagedChunk = { offset, end, reason, timeBefore: this.lastTime, timeBehind: 0 };
    this.damagedChunks.push(chunk);
    this.#open.push(chunk);
  }

  /** @param time of the first line behind them; 0: there is none in this chunk, as in many of Cyrus's */
  #closeDamaged(time: number): void {
    if (time === 0) return;
    for (const chunk of this.#open) chunk.timeBehind = time;
    this.#open = [];
  }

  #isBehind({ firstTime, offset }: ScannedMember): boolean {
    const { moment } = this.#o;
    if (moment.kind === 'latest') return false;
    return moment.kind === 'time' ? firstTime > moment.time : offset > moment.place.chunkOffset;
  }

  #isInTime(line: LineStart, chunkOffset: number): boolean {
    const { moment } = this.#o;
    if (moment.kind === 'latest') return true;
    // In a damaged chunk times may be anything.
    if (moment.kind === 'time') return line.time <= moment.time;
    const { place, time } = moment;
    const isPlace = chunkOffset === place.chunkOffset && line.offset === place.lineOffset;
    this.isPlaceFound ||= isPlace && line.time === time;
    return (
      chunkOffset < place.chunkOffset || (chunkOffset === place.chunkOffset && line.offset < place.lineOffset)
    );
  }
}

/** Whether a record names a message that has not been found. */
function isAnyAwaited(index: BackupIndex): boolean {
  return index.mayHaveRows('cb_record') && index.statement(ANY_AWAITED, 'pluck').get() === 1;
}

function isAwaited(index: BackupIndex, guid: string): boolean {
  return index.statement(IS_AWAITED, 'pluck').get(guid) === 1 && index.messageId(guid) === undefined;
}

const ANY_AWAITED = `SELECT EXISTS (SELECT 1 FROM cb_record r WHERE r.replaced = 0
  AND NOT EXISTS (SELECT 1 FROM message m WHERE m.guid = r.guid))`;
const IS_AWAITED = 'SELECT EXISTS (SELECT 1 FROM cb_record WHERE guid = ? AND replaced = 0)';

/**
 * Enters all messages of a data file whose bytes are right, each at the last place where they are, and nothing else.
 *
 * @returns GUIDs of those whose bytes are not right anywhere
 */
export function fillCopies(fd: number, sizeBytes: number, index: BackupIndex): string[] {
  const damaged = new Set<string>();
  index.begin();
  for (const member of scanMembers(fd, 0, sizeBytes, { fileSha1: ResumableSha1.create() })) {
    const id = enterChunk(index, member, new Map(), contentEnd(member));
    const wants = ({ verb }: LineStart) => verb === 'MESSAGE';
    for (const { guid } of replayMember(fd, member, member.contentLength, index, id, { wants }))
      damaged.add(guid);
  }
  index.setState({ committedEnd: sizeBytes, trailer: NOTHING, fileSha1State: NOTHING, lastTime: 0 });
  index.commit();
  return index.missing([...damaged]);
}

const NOTHING = new Uint8Array(0);
