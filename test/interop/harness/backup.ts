import { chmodSync, copyFileSync, mkdirSync, readdirSync } from 'node:fs';
import path from 'node:path';
import { BackupSite, type Finished, run } from '../../support/backup-server.ts';
import type { CyrusSite } from './cyrus.ts';
import { commonOptions, restoreOptions } from './cyrus-conf.ts';

/**
 * A site of our server whose one configuration file also serves Cyrus's own backup programs. The server runs
 * as root; what it wrote is handed to the user cyrus before a program of Cyrus's looks at it.
 */
export class SharedBackup {
  readonly site: BackupSite;
  readonly #cyrus: CyrusSite;

  private constructor(site: BackupSite, cyrus: CyrusSite) {
    this.site = site;
    this.#cyrus = cyrus;
  }

  static async create(cyrus: CyrusSite, config: Record<string, string> = {}): Promise<SharedBackup> {
    const site = await BackupSite.create();
    chmodSync(site.dir, 0o755);
    const own = commonOptions('backup', site.dir, cyrus.sasldb);
    const { configdirectory, temp_path, allowplaintext: _, servername: __, ...forCyrus } = own;
    const restore = cyrus.ports('target') === undefined ? {} : restoreOptions(cyrus.ports('target').csync);
    site.configure({ ...forCyrus, backup_db: 'twoskip', ...restore, backup_shards: '2', ...config });
    return new SharedBackup(site, cyrus);
  }

  /** Runs one of Cyrus's programs over this site's files. */
  async tool(program: string, args: string[], timeoutMs?: number): Promise<Finished> {
    const { uid, gid } = this.#cyrus.account;
    await run('chown', ['-R', `${uid}:${gid}`, this.site.dir]);
    return this.#cyrus.tool(program, this.site.configFile, args, timeoutMs);
  }

  /** As `tool`, but throws unless it exits with 0; returns its standard output. */
  async toolOk(program: string, args: string[]): Promise<string> {
    const done = await this.tool(program, args);
    if (done.status !== 0) {
      const how = done.signal ?? `status ${done.status}`;
      throw new Error(`${program} ${args.join(' ')}: ${how}\n${done.stdout}\n${done.stderr}`);
    }
    return done.stdout.toString();
  }

  /**
   * Has Cyrus make the index of a user's data file anew, on a copy, and verify that. Returns the GUIDs of the
   * messages that it found.
   */
  async reindexCopy(user: string): Promise<string[]> {
    const { path: file } = (await this.listed()).find((row) => row.userid === user)!;
    const copy = path.join(this.site.dir, 'copies', path.basename(file));
    mkdirSync(path.dirname(copy), { recursive: true });
    copyFileSync(file, copy);
    const reindexed = await this.toolOk('ctl_backups', ['reindex', '-f', copy]);
    if (/error|failed/.test(reindexed)) throw new Error(`ctl_backups reindex of ${user}: ${reindexed}`);
    await this.toolOk('ctl_backups', ['verify', '-f', copy]);
    return (await this.toolOk('cyr_backup', ['-f', copy, 'list', 'messages'])).trim().split('\n');
  }

  /** `csync-backup ARGS`; throws unless it exits with 0; returns its standard output. */
  async cliOk(args: string[]): Promise<Buffer> {
    const done = await this.site.cli(args);
    if (done.status !== 0)
      throw new Error(`csync-backup ${args.join(' ')}: status ${done.status}\n${done.stdout}${done.stderr}`);
    return done.stdout;
  }

  /** What `csync-backup list --json` knows. */
  async listed(): Promise<{ userid: string; path: string }[]> {
    const rows = (await this.cliOk(['list', '--json']))
      .toString()
      .split('\n')
      .filter((row) => row !== '');
    return rows.map((row) => JSON.parse(row) as { userid: string; path: string });
  }

  /** Data files by userid, found on the partition by their names. */
  dataFiles(): Map<string, string> {
    return dataFilesOf(this.site.partition);
  }
}

/** Data files on a partition by userid: `H/USERID_XXXXXX`. */
export function dataFilesOf(partition: string): Map<string, string> {
  const found = new Map<string, string>();
  for (const entry of readdirSync(partition, { recursive: true, withFileTypes: true })) {
    const match = /^(.+)_[^_.]{6}$/.exec(entry.name);
    if (entry.isFile() && match !== null && !entry.parentPath.includes('/.')) {
      found.set(match[1]!, path.join(entry.parentPath, entry.name));
    }
  }
  return found;
}
