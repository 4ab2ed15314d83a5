/**
 * The members of a data file one after the other, each read once: what the scan says of it, and its condensed
 * content. Threads may read ahead; where the next member begins is known only when the one before was read, so they
 * begin at what looks like one, and what was begun at a wrong place is thrown away.
 */
import { ResumableSha1 } from '../platform/sha1.ts';
import { hashRange } from './chunk/hash-range.ts';
import { findMemberHeader } from './chunk/member-decoder.ts';
import { type ScannedMember, scanMembers } from './chunk/scan.ts';
import { type CondensedContent, Condenser } from './condensed.ts';

export interface ReadMember {
  member: ScannedMember;
  /** Undefined: read it from the file. */
  condensed: CondensedContent | undefined;
}

/** Members from `offset` on, up to the first that ends at or behind `until`. */
export interface MemberTask {
  /** Threads share descriptors; it stays open until the task has ended. */
  fd: number;
  offset: number;
  until: number;
  /** Of the file. */
  size: number;
}

/** Threads that read members; `fileSha1` and `fileSha1State` of what they return are empty. */
export interface MemberReaders {
  readonly threads: number;
  /** What a thread reads at a time, in bytes of the file. */
  readonly sliceBytes: number;
  read(task: MemberTask): Promise<ReadMember[]>;
}

/** What a thread does. */
export function readSlice({ fd, offset, until, size }: MemberTask): ReadMember[] {
  const read: ReadMember[] = [];
  for (const next of readHere(fd, offset, size, ResumableSha1.create())) {
    read.push(next);
    if (next.member.end >= until) break;
  }
  return read;
}

/**
 * All members from `from` up to `size`, in order. Each is to be done with before the next is asked for.
 *
 * @param fileSha1 of the bytes before `from`
 */
export async function* readMembers(
  fd: number,
  from: number,
  size: number,
  fileSha1: ResumableSha1,
  readers?: MemberReaders,
): AsyncGenerator<ReadMember, void> {
  if (readers === undefined || size - from < 2 * readers.sliceBytes) {
    yield* readHere(fd, from, size, fileSha1);
    return;
  }
  const ahead = new ReadAhead(fd, from, size, readers);
  const sha1 = fileSha1.clone();
  try {
    for (let at = from; at < size; ) {
      for (const { member, condensed } of await ahead.take(at)) {
        member.fileSha1 = sha1.digestHex();
        member.fileSha1State = sha1.save();
        yield { member, condensed };
        hashRange(fd, member.offset, member.end, sha1);
        at = member.end;
      }
    }
  } finally {
    await ahead.end();
  }
}

/** The same in this thread at once. */
export function* readHere(
  fd: number,
  from: number,
  size: number,
  fileSha1: ResumableSha1,
): Generator<ReadMember, void> {
  const condenser = new Condenser();
  condenser.reset();
  const content = (bytes: Uint8Array): void => condenser.push(bytes);
  const restart = (): void => condenser.reset();
  for (const member of scanMembers(fd, from, size, { fileSha1, content, restart })) {
    const condensed = member.state === 'corrupt' ? undefined : condenser.finish(member.contentLength);
    yield { member, condensed };
    condenser.reset();
  }
}

class ReadAhead {
  readonly #fd: number;
  readonly #size: number;
  readonly #readers: MemberReaders;
  /** By the offset at which it begins, in order. */
  readonly #running = new Map<number, Promise<ReadMember[]>>();
  /** Tasks that have not ended, thrown away ones too. */
  readonly #all = new Set<Promise<void>>();
  /** Where the next task begins; undefined when there is none. */
  #next: number | undefined;

  constructor(fd: number, from: number, size: number, readers: MemberReaders) {
    this.#fd = fd;
    this.#size = size;
    this.#readers = readers;
    this.#next = from;
  }

  /** The members from `offset` on that one task reads. */
  async take(offset: number): Promise<ReadMember[]> {
    for (const begun of this.#running.keys()) if (begun < offset) this.#running.delete(begun);
    if (!this.#running.has(offset)) {
      this.#running.clear();
      this.#next = offset;
    }
    while (this.#running.size <= this.#readers.threads && this.#next !== undefined) this.#start(this.#next);
    const task = this.#running.get(offset)!;
    const members = await task;
    this.#running.delete(offset);
    return members;
  }

  #start(offset: number): void {
    const [size, until] = [this.#size, offset + this.#readers.sliceBytes];
    const task = this.#readers.read({ fd: this.#fd, offset, until, size });
    const ended = task.then(
      () => {},
      () => {}, // whoever takes it sees it; a guess may never be taken
    );
    this.#all.add(ended);
    void ended.then(() => this.#all.delete(ended));
    this.#running.set(offset, task);
    this.#next = until < size ? findMemberHeader(this.#fd, until, size) : undefined;
  }

  /** Resolves when nobody reads any more. */
  async end(): Promise<void> {
    this.#next = undefined;
    await Promise.all(this.#all);
  }
}
