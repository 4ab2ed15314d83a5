/** Bringing backups to rest while their sessions go on: nothing half received, files finished, locks given up. */
import type { RestedBackup, RestRequest } from '../../pipeline/messages.ts';
import type { Shards } from '../../pipeline/shard-pools.ts';
import { BackupError } from '../../platform/errors.ts';
import type { Session } from '../session.ts';

/** What is asked of the sessions of a server. */
export interface SessionTable {
  /** All that are connected, by number. */
  readonly sessions: ReadonlyMap<number, Session>;
  readonly shards: Shards;
}

export interface HoldLimits {
  /** A command that is half received has this long to be received; then it is refused. */
  graceMs: number;
  /** No command may be under way by then. */
  withinMs: number;
}

export const USUAL_LIMITS: HoldLimits = { graceMs: 5000, withinMs: 30_000 };

/**
 * Keeps these sessions from beginning a command that works on backups, and waits until none is under way. A
 * client that sends its command too slowly is refused it (IMAP_MAILBOX_LOCKED: it comes again later); one that
 * does not take its answer is cut off, as nobody can say when it will.
 *
 * @returns what lets them go on
 * @throws BackupError TIMED_OUT; they go on then
 */
export async function holdSessions(sessions: Iterable<Session>, limits: HoldLimits): Promise<() => void> {
  const held = [...sessions].map((session) => ({ session, release: session.gate.hold() }));
  const release = () => {
    for (const one of held) one.release();
  };
  const inside = () => held.filter(({ session }) => session.gate.isInside).map(({ session }) => session);
  const quiet = Promise.all(held.map(({ session }) => session.gate.quiet()));
  try {
    if (await within(quiet, limits.graceMs)) return release;
    for (const session of inside()) void hurry(session);
    if (await within(quiet, limits.withinMs - limits.graceMs)) return release;
    throw new BackupError({
      code: 'TIMED_OUT',
      tried: 'bring to rest',
      subject: `session ${inside()
        .map(({ id }) => id)
        .join(', ')}`,
      reason: `a command was still being carried out after ${limits.withinMs / 1000} seconds`,
      remedy: 'Try again; csync-backup sessions shows what it is doing',
    });
  } catch (error) {
    release();
    throw error;
  }
}

async function hurry(session: Session): Promise<void> {
  if (session.state === 'receiving' || session.state === 'waiting') {
    await session.interrupt('The backups are being brought to rest, try again later');
  } else if (session.transport.isClogged) {
    session.close(undefined, 'did not take its answer while the backups were brought to rest');
    session.transport.destroy();
  }
}

/**
 * Finishes and unlocks backups; expects that commands for them are held.
 *
 * @returns all that were locked, those that could not be brought to rest with a `problem`
 */
export async function restBackups(
  table: SessionTable,
  request: Omit<RestRequest, 'op'> = {},
): Promise<RestedBackup[]> {
  const { shards, sessions } = table;
  const replies = await Promise.all(
    Array.from({ length: shards.count }, (_, shard) => shards.ask(shard, { op: 'rest', ...request })),
  );
  const rested: RestedBackup[] = [];
  for (const { code, text, rested: ofShard } of replies) {
    if (ofShard === undefined) {
      throw new BackupError({
        code: 'UNAVAILABLE',
        tried: 'bring to rest',
        subject: 'the backups of a store thread',
        reason: text || code,
        remedy: 'Try again; the log says what happened',
      });
    }
    rested.push(...ofShard);
  }
  for (const { session: number, userid, staged, problem } of rested) {
    const session = sessions.get(number);
    if (session === undefined || problem !== undefined) continue;
    for (const message of staged) session.routing.staged.add(message);
    session.backups.setPending(userid, false);
  }
  return rested;
}

async function within(work: Promise<unknown>, ms: number): Promise<boolean> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<boolean>((resolve) => {
    timer = setTimeout(() => resolve(false), ms);
  });
  try {
    return await Promise.race([work.then(() => true), late]);
  } finally {
    clearTimeout(timer);
  }
}
