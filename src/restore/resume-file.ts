/**
 * What of a restore of many users is done, as JSON lines: a header, then a line for each user and pass. A restore that
 * was interrupted reads it and goes on behind it; what it had begun, the target finds again by itself.
 */
import fs from 'node:fs';
import path from 'node:path';
import { syncDirectorySync, writeAllSync } from '../platform/durable.ts';
import { BackupError } from '../platform/errors.ts';
import { ioError } from '../platform/io-error.ts';
import { isoSeconds } from './moments.ts';

/** Which restore it is about: going on with another would leave gaps. */
export interface ResumeHeader {
  type: 'restore-all';
  target: string;
  into: string | null;
  /** The moment, UNIX seconds; null: the latest state. */
  at: number | null;
  /** What was given for it, if that was how long ago it was, as `-2d`: counted from the first run. */
  atAgo: string | null;
  /** Mail that is as new as this comes in a first pass, UNIX seconds. */
  recentSince: number | null;
}

export interface DoneLine {
  type: 'done';
  userid: string;
  pass: 'recent' | 'all';
}

export class ResumeFile implements Disposable {
  readonly header: ResumeHeader;
  /** It is of a run that began before this one. */
  readonly isOld: boolean;
  readonly #path: string;
  readonly #fd: number;
  #end: number;
  readonly #done: Set<string>;

  private constructor(path: string, fd: number, end: number, header: ResumeHeader, done?: Set<string>) {
    this.isOld = done !== undefined;
    this.#path = path;
    this.#fd = fd;
    this.#end = end;
    this.header = header;
    this.#done = done ?? new Set();
  }

  /**
   * Goes on with the file if there is one, else begins it.
   *
   * @param wanted of a new one; `into`, `recentSince` and `at` of one that exists are kept: they depend on when it began
   * @throws BackupError USAGE if it is of a restore to somewhere else, or no such file; IO_ERROR and the like
   */
  static open(file: string, wanted: ResumeHeader): ResumeFile {
    let fd: number;
    try {
      fd = fs.openSync(file, fs.constants.O_RDWR | fs.constants.O_CREAT, 0o600);
    } catch (error) {
      throw ioError(error, 'open the resume file', file);
    }
    try {
      const text = fs.readFileSync(fd, 'utf8');
      // What a crash left half written is written over.
      const whole = text.slice(0, text.lastIndexOf('\n') + 1);
      const end = Buffer.byteLength(whole);
      fs.ftruncateSync(fd, end);
      const lines = whole.split('\n').filter((line) => line !== '');
      if (lines.length > 0) {
        const [header, ...done] = lines.map((line) => parse(line, file));
        check(header, wanted, file);
        return new ResumeFile(file, fd, end, header, new Set((done as DoneLine[]).map(keyOf)));
      }
      const begun = new ResumeFile(file, fd, 0, wanted);
      begun.#append(wanted);
      syncDirectorySync(path.dirname(path.resolve(file)));
      return begun;
    } catch (error) {
      fs.closeSync(fd);
      throw error;
    }
  }

  /** Of whom everything is done the recent mail is done, too. */
  isDone(line: Omit<DoneLine, 'type'>): boolean {
    return this.#done.has(keyOf(line)) || this.#done.has(keyOf({ ...line, pass: 'all' }));
  }

  /** It is on disk when this returns. @throws BackupError NO_SPACE, IO_ERROR */
  done(line: Omit<DoneLine, 'type'>): void {
    this.#append({ type: 'done', ...line });
    this.#done.add(keyOf(line));
  }

  [Symbol.dispose](): void {
    fs.closeSync(this.#fd);
  }

  #append(line: object): void {
    try {
      const bytes = Buffer.from(`${JSON.stringify(line)}\n`);
      writeAllSync(this.#fd, [bytes], this.#end);
      fs.fdatasyncSync(this.#fd);
      this.#end += bytes.length;
    } catch (error) {
      throw ioError(error, 'write the resume file', this.#path);
    }
  }
}

function keyOf({ userid, pass }: Omit<DoneLine, 'type'>): string {
  return `${pass} ${userid}`;
}

function parse(line: string, file: string): unknown {
  try {
    return JSON.parse(line);
  } catch {
    throw notOurs(file, 'it is no resume file');
  }
}

function check(header: unknown, wanted: ResumeHeader, file: string): asserts header is ResumeHeader {
  const found = header as Partial<ResumeHeader> | null;
  if (found?.type !== 'restore-all') throw notOurs(file, 'it is no resume file');
  if (found.target !== wanted.target) throw notOurs(file, `it is of a restore to ${found.target}`);
  const { at = null, atAgo = null } = found;
  if (at !== wanted.at && (atAgo === null || atAgo !== wanted.atAgo)) {
    if (at === null) throw notOurs(file, 'it is of a restore of the latest state', 'Leave --at out as then');
    const moment = isoSeconds(at);
    throw notOurs(file, `it is of a restore at ${moment}`, `Give --at ${atAgo ?? moment} as then`);
  }
  if ((found.into === null) !== (wanted.into === null)) {
    throw notOurs(file, `it is of a restore ${found.into === null ? 'in place' : `into ${found.into}`}`);
  }
}

function notOurs(
  file: string,
  reason: string,
  better = 'Give the options of the restore that it is of',
): BackupError {
  return new BackupError({
    code: 'USAGE',
    tried: 'go on with',
    subject: file,
    reason,
    remedy: `${better}, or name another file with --resume`,
  });
}
