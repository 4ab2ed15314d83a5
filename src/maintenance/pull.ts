/**
 * Having IMAP servers push: backups whose last change is long ago are asked for by XBACKUP, user by user, at the first
 * server that knows the user.
 */
import fs from 'node:fs';
import type { Config } from '../config/config.ts';
import type { PullServer } from '../config/pull-values.ts';
import { printPullServer } from '../config/pull-values.ts';
import {
  type NameRules,
  parseMailboxName,
  SHARED_USERID,
  toAdmin,
  userInbox,
} from '../csync/mailbox-name.ts';
import { BackupError, type ErrorCode } from '../platform/errors.ts';
import { ioError } from '../platform/io-error.ts';
import { indexPathOf } from '../store/data-file.ts';
import { BackupIndex } from '../store/index/backup-index.ts';
import { mailboxes } from '../store/index/queries.ts';
import { ImapClient } from './imap-client.ts';

/** The puller of a configuration. @throws BackupError USAGE, CREDENTIALS_INVALID, NOT_FOUND, ... */
export function configuredPuller(config: Config): Puller {
  return new Puller({
    servers: config.pullServers,
    authname: config.pullAuthname,
    password: readPasswordFile(config.pullPasswordFile ?? ''),
    caFile: config.tlsServerCa,
    channel: config.pullChannel,
    rules: config,
  });
}

export interface PullerOptions {
  servers: readonly PullServer[];
  authname: string;
  password: string;
  caFile?: string;
  /** '': none. */
  channel: string;
  /** What the names of mailboxes mean. */
  rules: NameRules;
}

export interface PullResult {
  /** All that was asked for was pushed. */
  ok: boolean;
  /** The server that knew the user, or the last that was asked. */
  server: string;
  /** Its answers, such as `OK USER anne`. */
  lines: string[];
  /** Where it is not ok: a stable code, and why. */
  code?: ErrorCode;
  text?: string;
}

/** A server that was not reached is not tried again so soon. */
const DOWN_MS = 60_000;

export class Puller {
  readonly #o: PullerOptions;
  readonly #clients = new Map<PullServer, ImapClient>();
  readonly #down = new Map<PullServer, { untilMs: number; error: BackupError }>();

  /** @throws BackupError USAGE for a channel that cannot be one */
  constructor(o: PullerOptions) {
    if (!/^[\w.-]*$/.test(o.channel)) throw badChannel(o.channel);
    this.#o = o;
  }

  /**
   * Has the backup of a user pushed, or with SHARED_USERID those shared mailboxes that the backup knows.
   *
   * @param onLine gets each answer with the server that gives it, as it comes
   * @throws BackupError USAGE if no server is responsible for the user
   */
  async pull(
    userid: string,
    dataPath: string,
    onLine: (server: string, line: string) => void = () => {},
  ): Promise<PullResult> {
    const servers = serversOf(userid, this.#o.servers);
    if (servers.length === 0) throw noServer(userid);
    const patterns =
      userid === SHARED_USERID
        ? sharedPatterns(dataPath, this.#o.rules)
        : [toAdmin(userInbox(userid, this.#o.rules), this.#o.rules)];
    let failed: PullResult | undefined;
    for (const server of servers) {
      const result = await this.#pullFrom(server, patterns, onLine);
      const isElsewhere =
        result.code === 'NOT_FOUND' || (result.code === 'UNAVAILABLE' && result.lines.length === 0);
      if (!isElsewhere) return result;
      // Whoever is not reached may be the one that has the user.
      if (failed === undefined || failed.code === 'NOT_FOUND') failed = result;
    }
    return failed!;
  }

  async close(): Promise<void> {
    await Promise.all([...this.#clients.values()].map((client) => client.logout()));
    this.#clients.clear();
  }

  async #pullFrom(
    server: PullServer,
    patterns: readonly string[],
    onLine: (server: string, line: string) => void,
  ): Promise<PullResult> {
    const name = printPullServer({ ...server, patterns: [] });
    const lines: string[] = [];
    try {
      const client = await this.#client(server);
      let failure: { code: ErrorCode; text: string } | undefined;
      for (const pattern of patterns) {
        const { status, text } = await client.xbackup(pattern, this.#o.channel, (line) => {
          lines.push(line);
          onLine(name, line);
        });
        failure ??= failureOf(status, text, lines);
      }
      return failure === undefined
        ? { ok: true, server: name, lines }
        : { ok: false, server: name, lines, ...failure };
    } catch (error) {
      if (!(error instanceof BackupError)) throw error;
      if (error.code === 'UNAVAILABLE') {
        this.#clients.get(server)?.close();
        this.#clients.delete(server);
        this.#down.set(server, { untilMs: Date.now() + DOWN_MS, error });
      }
      return { ok: false, server: name, lines, code: error.code, text: error.message };
    }
  }

  async #client(server: PullServer): Promise<ImapClient> {
    const open = this.#clients.get(server);
    if (open !== undefined && !open.isClosed) return open;
    const down = this.#down.get(server);
    if (down !== undefined && down.untilMs > Date.now()) throw down.error;
    const { authname, password, caFile } = this.#o;
    const client = await ImapClient.open({ server, authname, password, caFile });
    this.#clients.set(server, client);
    this.#down.delete(server);
    return client;
  }
}

/** Servers that a user may live on: those whose patterns say so, then those that have none. */
export function serversOf(userid: string, servers: readonly PullServer[]): PullServer[] {
  const named = servers.filter(({ patterns }) => patterns.some((pattern) => matches(pattern, userid)));
  return [...named, ...servers.filter(({ patterns }) => patterns.length === 0)];
}

function matches(pattern: string, userid: string): boolean {
  const source = pattern.split('*').map((part) => part.replaceAll(/[\\^$.|?+()[\]{}]/g, '\\$&'));
  return new RegExp(`^${source.join('.*')}$`, 's').test(userid);
}

function failureOf(
  status: string,
  text: string,
  lines: readonly string[],
): { code: ErrorCode; text: string } | undefined {
  const refused = lines.filter((line) => /^NO /i.test(line));
  if (status === 'OK' && refused.length === 0) return undefined;
  if (refused.length > 0) return { code: 'UNAVAILABLE', text: `it could not push: ${refused.join('; ')}` };
  if (status === 'BAD')
    return {
      code: 'BAD_COMMAND',
      text: `it knows no XBACKUP (${text}): set xbackup_enabled in its imapd.conf`,
    };
  if (/permission denied/i.test(text)) {
    const remedy = 'log in as one of its admins, and set xbackup_enabled in its imapd.conf';
    return { code: 'PERMISSION_DENIED', text: `${text}: ${remedy}` };
  }
  if (/does not exist/i.test(text)) return { code: 'NOT_FOUND', text: 'it does not have this user' };
  return { code: 'UNAVAILABLE', text };
}

/** Each top of the shared namespace that the backup knows, with what is below it. */
function sharedPatterns(dataPath: string, rules: NameRules): string[] {
  const tops = new Set<string>();
  const index = BackupIndex.open(indexPathOf(dataPath), { readonly: true });
  try {
    for (const { mboxname, deleted } of mailboxes(index)) {
      const { folders, deletedSuffix, domain } = parseMailboxName(mboxname, rules);
      if (deleted !== null || deletedSuffix !== undefined || folders[0] === undefined) continue;
      tops.add(
        toAdmin(`${domain === undefined ? '' : `${domain}!`}${folders[0].replaceAll('.', '^')}`, rules),
      );
    }
  } finally {
    index.close();
  }
  const below = rules.unixHierarchySep ? '/*' : '.*';
  return [...tops].flatMap((top) => {
    const at = rules.virtDomains === 'off' ? -1 : top.lastIndexOf('@');
    return [top, at === -1 ? top + below : `${top.slice(0, at)}${below}${top.slice(at)}`];
  });
}

/**
 * When the last line was stored, in Unix milliseconds; 0 if there is none or the index cannot be read, for then a
 * pull can only help.
 */
export function lastChangeMs(dataPath: string): number {
  try {
    const index = BackupIndex.open(indexPathOf(dataPath), { readonly: true });
    try {
      const seconds = index.statement('SELECT max(ts_end) FROM chunk', 'pluck').get() as number | null;
      return (seconds ?? 0) * 1000;
    } finally {
      index.close();
    }
  } catch (error) {
    if (error instanceof BackupError) return 0;
    throw error;
  }
}

/** The first line of a password file. @throws BackupError CREDENTIALS_INVALID if others may read it, NOT_FOUND, ... */
export function readPasswordFile(file: string): string {
  let text: string;
  let mode: number;
  try {
    text = fs.readFileSync(file, 'utf8');
    mode = fs.statSync(file).mode;
  } catch (error) {
    throw ioError(error, 'read the password file', file);
  }
  const problem = (mode & 0o027) !== 0 ? 'others may read or change it' : undefined;
  const password = text.split(/\r?\n/, 1)[0]!;
  if (problem === undefined && password !== '') return password;
  throw new BackupError({
    code: 'CREDENTIALS_INVALID',
    tried: 'use the password file',
    subject: file,
    reason: problem ?? 'its first line is empty',
    remedy: problem === undefined ? 'Write the password into it' : 'Set its mode to 0600 or 0640',
  });
}

function badChannel(channel: string): BackupError {
  return new BackupError({
    code: 'USAGE',
    tried: 'pull by channel',
    subject: JSON.stringify(channel),
    reason: 'it has other characters than letters, digits, "-", "_" and "."',
    remedy: 'Give the name before _sync_host in the imapd.conf of the IMAP servers',
  });
}

function noServer(userid: string): BackupError {
  return new BackupError({
    code: 'USAGE',
    tried: 'pull',
    subject: userid,
    reason: 'no IMAP server is named that the user may live on',
    remedy: 'Name one with backup_pull_servers or --server',
  });
}
