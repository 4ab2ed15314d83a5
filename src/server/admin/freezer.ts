/**
 * Freeze and thaw. While frozen every backup is at rest and on disk, and no command that could change one is
 * carried out: a copy or snapshot of the filesystem taken meanwhile opens with nothing to recover. It always
 * ends: by thaw, by its deadline, or with the server. Whoever asked for it may die.
 */
import type { Logger } from 'pino';
import { BackupError } from '../../platform/errors.ts';
import type { Session } from '../session.ts';
import { type HoldLimits, holdSessions, restBackups, type SessionTable } from './resting.ts';

/** Clients wait for an answer for their sync_timeout, which is 30 minutes by default. */
export const MAX_FREEZE_MS = 20 * 60_000;

export type FreezeEnd = 'thaw' | 'deadline' | 'stop' | 'failed';

export interface FreezeRequest {
  /** How long at most, from the moment at which all is at rest. */
  forMs: number;
  /** Who asked, for people. */
  by: string;
  limits: HoldLimits;
}

export interface Freeze {
  /** Distinguishes it from earlier and later ones. */
  id: number;
  by: string;
  /** `freezing` until everything is at rest. */
  state: 'freezing' | 'frozen';
  /** When it was asked for, and when it was at rest; Unix time in ms. */
  sinceMs: number;
  frozenMs?: number;
  untilMs?: number;
  /** Backups that had to be brought to rest for it. */
  backups: number;
}

export interface FreezerOptions extends SessionTable {
  log: Logger;
  /** Makes all that was written to the filesystems of the store durable, and its catalog tidy. */
  syncStore(): Promise<void>;
  /** Ends or holds up maintenance that writes. @returns what lets it go on */
  holdMaintenance(): Promise<() => void>;
  /** Keeps tools that change backups from it. @returns what lets them go on @throws BackupError TIMED_OUT */
  holdTools(withinMs: number): Promise<() => void>;
  /** For the metrics. */
  onChange(frozen: boolean): void;
  onEnd(end: FreezeEnd, seconds: number): void;
}

export class Freezer {
  readonly #o: FreezerOptions;
  #current: Freeze | undefined;
  #releases: (() => void)[] = [];
  #timer: NodeJS.Timeout | undefined;
  #lastId = 0;

  constructor(o: FreezerOptions) {
    this.#o = o;
  }

  /** The freeze that is on or being made; undefined if there is none. */
  get current(): Freeze | undefined {
    return this.#current;
  }

  /** A session that begins during a freeze waits like the others. */
  sessionAdded(session: Session): void {
    if (this.#current !== undefined) this.#releases.push(session.gate.hold());
  }

  /**
   * @throws BackupError LOCKED if there is a freeze already, TIMED_OUT if a command did not end in time, or why
   *   syncing failed; nothing is frozen then
   */
  async freeze(request: FreezeRequest): Promise<Freeze> {
    if (this.#current !== undefined) throw alreadyFrozen(this.#current);
    const freeze: Freeze = {
      id: ++this.#lastId,
      by: request.by,
      state: 'freezing',
      sinceMs: Date.now(),
      backups: 0,
    };
    this.#current = freeze;
    const keep = (release: () => void): void => {
      if (this.#current === freeze) this.#releases.push(release);
      else release(); // it was ended meanwhile, and nobody else would
    };
    try {
      keep(await this.#o.holdMaintenance());
      keep(await this.#o.holdTools(request.limits.withinMs));
      keep(await holdSessions(this.#o.sessions.values(), request.limits));
      if (this.#current !== freeze) throw endedEarly();
      const rested = await restBackups(this.#o);
      const failed = rested.find(({ problem }) => problem !== undefined);
      if (failed !== undefined) throw notAtRest(failed.userid, failed.problem!);
      freeze.backups = rested.length;
      await this.#o.syncStore();
    } catch (error) {
      if (this.#current === freeze) this.#end('failed');
      throw error;
    }
    if (this.#current !== freeze) throw endedEarly();
    freeze.state = 'frozen';
    freeze.frozenMs = Date.now();
    freeze.untilMs = freeze.frozenMs + request.forMs;
    this.#timer = setTimeout(() => this.#end('deadline'), request.forMs);
    this.#o.onChange(true);
    const { id, by, backups } = freeze;
    const until = new Date(freeze.untilMs).toISOString();
    this.#o.log.info({ freeze: id, by, backups, until }, 'frozen');
    return { ...freeze };
  }

  /**
   * Ends the freeze, or only the one with this number.
   *
   * @returns the freeze that was ended; undefined if there was none (any more)
   */
  thaw(id?: number): Freeze | undefined {
    const freeze = this.#current;
    if (freeze === undefined || (id !== undefined && freeze.id !== id)) return undefined;
    this.#end('thaw');
    return freeze;
  }

  /** The server stops: what waits is carried out. */
  stop(): void {
    if (this.#current !== undefined) this.#end('stop');
  }

  #end(end: FreezeEnd): void {
    const freeze = this.#current!;
    this.#current = undefined;
    clearTimeout(this.#timer);
    const releases = this.#releases;
    this.#releases = [];
    for (const release of releases) release();
    const seconds = (Date.now() - freeze.sinceMs) / 1000;
    this.#o.onChange(false);
    this.#o.onEnd(end, seconds);
    const facts = { freeze: freeze.id, by: freeze.by, end, seconds };
    if (end === 'thaw') this.#o.log.info(facts, 'thawed');
    else this.#o.log.warn(facts, 'the freeze has ended by itself');
  }
}

function alreadyFrozen(freeze: Freeze): BackupError {
  return new BackupError({
    code: 'LOCKED',
    tried: 'freeze',
    subject: 'the backups',
    reason: `they are frozen since ${new Date(freeze.sinceMs).toISOString()} by ${freeze.by}`,
    remedy: 'Wait until that has ended, or end it with csync-backup thaw',
  });
}

function notAtRest(userid: string, why: string): BackupError {
  return new BackupError({
    code: 'UNAVAILABLE',
    tried: 'bring to rest the backup of',
    subject: userid,
    reason: why,
    remedy: 'Try again; the log says what happened to this backup',
  });
}

function endedEarly(): BackupError {
  return new BackupError({
    code: 'UNAVAILABLE',
    tried: 'freeze',
    subject: 'the backups',
    reason: 'it was ended while it was being made, by thaw or because the server stops',
    remedy: 'Try again',
  });
}
