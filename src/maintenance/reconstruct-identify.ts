/**
 * Whose backup a data file is, by what is in it: the mailboxes that its index names, else the lines of the file itself,
 * else its name. The name alone proves nothing: a user who was renamed keeps the file.
 */
import fs from 'node:fs';
import path from 'node:path';
import type { Config } from '../config/config.ts';
import type { ScalarView } from '../csync/dlist-sax.ts';
import { LineParser } from '../csync/line-parser.ts';
import { mailboxOwner, parseMailboxName } from '../csync/mailbox-name.ts';
import { BackupError } from '../platform/errors.ts';
import { readContent } from '../store/chunk/reader.ts';
import { scanMembers } from '../store/chunk/scan.ts';
import { indexPathOf } from '../store/data-file.ts';
import { BackupIndex } from '../store/index/backup-index.ts';
import { mailboxes, subscriptions } from '../store/index/queries.ts';
import { useridOfDataFile } from '../store/partition.ts';

export interface IdentifiedFile {
  path: string;
  sizeBytes: number;
  /** Undefined if nothing tells. */
  userid: string | undefined;
  /** What told it. */
  by: 'index' | 'lines' | 'name';
  /** Time of the last line, seconds since 1970; 0 if there is none. */
  lastTime: number;
  /** When the mail server deleted the user, if it did. */
  unuserAt: number | undefined;
  /** Catalog keys of former owners of the userid. */
  formerKeys: string[];
}

/** Owners of what is named in a backup, by how good a sign it is. */
class Owners {
  readonly #named: (string | undefined)[] = [];
  readonly #config: Config;

  constructor(config: Config) {
    this.#config = config;
  }

  /** The owner of the INBOX decides, of a deleted one too; of equal signs the last. */
  mailbox(name: string, isLive: boolean): void {
    if (name === '') return;
    const { folders, localpart, deletedSuffix } = parseMailboxName(name, this.#config);
    const isInbox = localpart !== undefined && folders.length === 0;
    const rank = deletedSuffix !== undefined ? IN_DELETED_NAMESPACE : (isLive ? 0 : 2) + (isInbox ? 0 : 1);
    this.#named[rank] = mailboxOwner(name, this.#config);
  }

  /** A USERID that goes with a subscription, a script or the like. */
  user(userid: string): void {
    if (userid !== '') this.#named[USERID] = userid;
  }

  get best(): string | undefined {
    return this.#named.find((userid) => userid !== undefined);
  }
}

const IN_DELETED_NAMESPACE = 4;
const USERID = 5;

/** @throws BackupError when the file cannot be read at all. */
export function identify(dataPath: string, config: Config): IdentifiedFile {
  const found: IdentifiedFile = {
    path: dataPath,
    sizeBytes: fs.statSync(dataPath).size,
    userid: undefined,
    by: 'index',
    lastTime: 0,
    unuserAt: undefined,
    formerKeys: [],
  };
  if (found.sizeBytes > 0 && !fromIndex(found, config)) fromLines(found, config);
  if (found.userid === undefined) {
    found.userid = useridOfDataFile(path.basename(dataPath));
    found.by = 'name';
  }
  return found;
}

/** @returns false if the index is missing, damaged or in the middle of a change, or names no owner. */
function fromIndex(found: IdentifiedFile, config: Config): boolean {
  const owners = new Owners(config);
  let index: BackupIndex | undefined;
  try {
    index = BackupIndex.open(indexPathOf(found.path), { readonly: true });
    for (const { mboxname, deleted } of mailboxes(index)) owners.mailbox(mboxname, deleted === null);
    if (owners.best === undefined) for (const name of subscriptions(index)) owners.mailbox(name, true);
    const last = index
      .statement('SELECT max(max(coalesce(ts_end, 0)), max(ts_start)) FROM chunk', 'pluck')
      .get();
    found.lastTime = Math.max(Number(last ?? 0), index.state()?.lastTime ?? 0);
    found.unuserAt = index.unuserAt();
    found.formerKeys = index.formerKeys();
  } catch (error) {
    if (!(error instanceof BackupError) && !isSqlite(error)) throw error;
    return false;
  } finally {
    index?.close();
  }
  found.userid = owners.best;
  return found.userid !== undefined;
}

function isSqlite(error: unknown): boolean {
  return String((error as { code?: unknown }).code).startsWith('SQLITE_');
}

/** One pass over the data file; what is damaged is passed over. */
function fromLines(found: IdentifiedFile, config: Config): void {
  const owners = new Owners(config);
  const fd = fs.openSync(found.path, 'r');
  try {
    const lines = new LineFields((verb, time, fields) => {
      found.lastTime = Math.max(found.lastTime, time);
      learn(found, owners, verb, time, fields);
    });
    for (const member of scanMembers(fd)) {
      const parser = new LineParser(lines);
      parser.reset(0);
      try {
        for (const block of readContent(fd, { offset: member.offset, end: member.end })) parser.push(block);
      } catch (error) {
        if (!(error instanceof BackupError && error.code === 'CHUNK_CORRUPT')) throw error;
      }
      parser.end();
    }
  } finally {
    fs.closeSync(fd);
  }
  found.by = 'lines';
  found.userid = owners.best;
}

function learn(
  found: IdentifiedFile,
  owners: Owners,
  verb: string,
  time: number,
  fields: ReadonlyMap<string, string>,
): void {
  const name = fields.get('NEWMBOXNAME') ?? fields.get('MBOXNAME');
  switch (verb) {
    case 'MAILBOX':
    case 'RENAME':
    case 'EXPUNGE':
      if (name !== undefined) owners.mailbox(name, true);
      return;
    case 'UNMAILBOX':
      owners.mailbox(fields.get('') ?? '', false);
      return;
    case 'SUB':
    case 'SEEN':
    case 'SIEVE':
      owners.user(fields.get('USERID') ?? '');
      return;
    case 'RESERVE':
      if (fields.get('NOTE') === 'UNUSER') {
        owners.user(fields.get('VALUE') ?? '');
        found.unuserAt = time;
      } else if (fields.get('NOTE') === 'FORMER' && fields.has('KEY'))
        found.formerKeys.push(fields.get('KEY')!);
  }
}

/** Calls back at the end of each line with its scalars: those of the outermost list, and of the one list of a note. */
class LineFields {
  readonly #done: (verb: string, time: number, fields: ReadonlyMap<string, string>) => void;
  #fields = new Map<string, string>();
  #verb = '';
  #time = 0;
  #depth = 0;
  #key = '';

  constructor(done: (verb: string, time: number, fields: ReadonlyMap<string, string>) => void) {
    this.#done = done;
  }

  lineStart({ verb, time }: { verb: string; time: number }): void {
    this.#verb = verb;
    this.#time = time;
    this.#depth = 0;
    this.#key = '';
    this.#fields = new Map();
  }

  lineEnd(): void {
    this.#done(this.#verb, this.#time, this.#fields);
  }

  key(name: string): void {
    if (this.#depth === 1 || (this.#depth === 2 && this.#verb === 'RESERVE')) this.#key = name;
  }

  scalar(value: ScalarView): void {
    const deepest = this.#verb === 'RESERVE' ? 2 : 1;
    if (this.#depth > deepest || value.isNil || !value.held || this.#fields.has(this.#key)) return;
    this.#fields.set(this.#key, value.latin1());
  }

  beginKvlist(): void {
    this.#depth++;
  }

  beginList(): void {
    this.#depth++;
  }

  end(): void {
    this.#depth--;
  }

  malformed(): void {}
  file(): void {}
}
