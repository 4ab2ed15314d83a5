/** Every command of the admin socket by its name. */
import { BackupError } from '../../platform/errors.ts';
import type { Session } from '../session.ts';
import { numberArgument, secondsArgument, textArgument } from './arguments.ts';
import { type Freeze, type Freezer, MAX_FREEZE_MS } from './freezer.ts';
import { MAX_PAUSE_MS, MAX_PAUSES, type Pause, type Pauses } from './pauses.ts';
import type { AdminRequest } from './protocol.ts';
import { holdSessions, restBackups, type SessionTable, USUAL_LIMITS } from './resting.ts';
import type { AdminHandler, Send } from './socket.ts';

/** What the commands are about: the running server. */
export interface AdminContext extends SessionTable {
  readonly freezer: Freezer;
  readonly pauses: Pauses;
  /** The fields of the answer to `status`. */
  status(): Promise<Record<string, unknown>>;
  /** Own maintenance gives up the backup of this user, whatever it is doing. */
  giveUp(userid: string): Promise<void>;
}

export type AdminCommand = (
  context: AdminContext,
  request: AdminRequest,
  by: string,
  send: Send,
) => Promise<Record<string, unknown>>;

const DEFAULT_FREEZE_MS = 5 * 60_000;
const DEFAULT_PAUSE_MS = 3600_000;

const status: AdminCommand = async (context, _request, _by, send) => {
  await send({ type: 'status', ...(await context.status()) });
  return {};
};

const sessions: AdminCommand = async (context, _request, _by, send) => {
  let count = 0;
  for (const session of [...context.sessions.values()]) {
    await send({ type: 'session', ...session.describe(performance.now()) });
    count++;
  }
  return { sessions: count };
};

/** Cuts a client off; what it has been told OK for stays. */
const endSession: AdminCommand = async (context, request, by) => {
  const id = numberArgument(request, 'id');
  const session = context.sessions.get(id ?? -1);
  if (session === undefined) throw notFound('session', String(id), 'there is no such session (any more)');
  session.close('Ended by the administrator', `ended by the administrator (${by})`);
  session.transport.destroy();
  return { id };
};

const pause: AdminCommand = async (context, request, by) => {
  const userid = textArgument(request, 'userid');
  const limits = { fallbackMs: DEFAULT_PAUSE_MS, minMs: 1000, maxMs: MAX_PAUSE_MS };
  const forMs = secondsArgument(request, 'forSeconds', limits);
  if (context.pauses.list().length >= MAX_PAUSES) {
    throw new BackupError({
      code: 'LIMIT_EXCEEDED',
      tried: 'pause',
      subject: userid,
      reason: `${MAX_PAUSES} users are paused already`,
      remedy: 'Resume some first',
    });
  }
  const now = Date.now();
  const one: Pause = { userid, by, sinceMs: now, untilMs: now + forMs };
  context.pauses.set(one);
  await context.giveUp(userid);
  const busy = await restUser(context, userid, true);
  return { ...pauseFacts(one), busy };
};

const resume: AdminCommand = async (context, request) => {
  const userid = textArgument(request, 'userid');
  return { userid, wasPaused: context.pauses.end(userid) };
};

const flush: AdminCommand = async (context, request) => {
  if (request.userid !== undefined) {
    const userid = textArgument(request, 'userid');
    return { busy: await restUser(context, userid, false) };
  }
  const results = await Promise.all([...context.sessions.values()].map((one) => restSession(context, one)));
  return { busy: results.flat() };
};

const freeze: AdminCommand = async (context, request, by) => {
  const limits = { fallbackMs: DEFAULT_FREEZE_MS, minMs: 1000, maxMs: MAX_FREEZE_MS };
  const forMs = secondsArgument(request, 'forSeconds', limits);
  const withinMs = secondsArgument(request, 'withinSeconds', {
    fallbackMs: USUAL_LIMITS.withinMs,
    minMs: 1000,
    maxMs: 10 * 60_000,
  });
  const graceMs = Math.min(USUAL_LIMITS.graceMs, withinMs / 2);
  return freezeFacts(await context.freezer.freeze({ forMs, by, limits: { graceMs, withinMs } }));
};

const thaw: AdminCommand = async (context, request) => {
  const ended = context.freezer.thaw(numberArgument(request, 'id'));
  return ended === undefined ? { wasFrozen: false } : { wasFrozen: true, ...freezeFacts(ended) };
};

const COMMANDS: Record<string, AdminCommand> = {
  status,
  sessions,
  'end-session': endSession,
  pause,
  resume,
  flush,
  freeze,
  thaw,
};

/** The handler of an admin socket; `more` are commands of what not every server has. */
export function adminHandler(context: AdminContext, more: Record<string, AdminCommand> = {}): AdminHandler {
  const commands = new Map(Object.entries({ ...COMMANDS, ...more }));
  return async (request, by, send) => {
    const command = commands.get(request.command);
    if (command === undefined) {
      throw new BackupError({
        code: 'BAD_COMMAND',
        tried: 'carry out',
        subject: request.command.slice(0, 100),
        reason: 'the server does not know it',
        remedy: `It knows ${[...commands.keys()].join(', ')}; the program and the server should be of one version`,
      });
    }
    return await command(context, request, by, send);
  };
}

export function pauseFacts({ userid, by, sinceMs, untilMs }: Pause) {
  return { userid, by, since: new Date(sinceMs).toISOString(), until: new Date(untilMs).toISOString() };
}

export function freezeFacts({ id, by, state, sinceMs, frozenMs, untilMs, backups }: Freeze) {
  return {
    id,
    by,
    state,
    since: new Date(sinceMs).toISOString(),
    frozenAt: frozenMs === undefined ? null : new Date(frozenMs).toISOString(),
    until: untilMs === undefined ? null : new Date(untilMs).toISOString(),
    backups,
  };
}

/** @returns userids of backups that could not be brought to rest, with why */
async function restUser(context: AdminContext, userid: string, forget: boolean): Promise<string[]> {
  const concerned = [...context.sessions.values()].filter(
    (session) => session.gate.isInside || session.backups.has(userid),
  );
  const release = await holdSessions(concerned, USUAL_LIMITS);
  try {
    return problems(await restBackups(context, { ofUser: userid, forget }));
  } finally {
    release();
  }
}

async function restSession(context: AdminContext, session: Session): Promise<string[]> {
  if (!session.gate.isInside && session.backups.isEmpty) return [];
  try {
    const release = await holdSessions([session], USUAL_LIMITS);
    try {
      return problems(await restBackups(context, { ofSession: session.id }));
    } finally {
      release();
    }
  } catch (error) {
    if (error instanceof BackupError && error.code === 'TIMED_OUT') return [error.message];
    throw error;
  }
}

function problems(rested: readonly { userid: string; problem?: string }[]): string[] {
  return rested.flatMap(({ userid, problem }) => (problem === undefined ? [] : [`${userid}: ${problem}`]));
}

function notFound(what: string, subject: string, reason: string): BackupError {
  const remedy = 'See csync-backup sessions';
  return new BackupError({ code: 'NOT_FOUND', tried: `find ${what}`, subject, reason, remedy });
}
