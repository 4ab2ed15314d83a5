/** A configured store of two partitions with small backups, and commands that are killed while they work on it. */
import { spawnSync } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import type { Config } from '../../src/config/config.ts';
import { loadConfig } from '../../src/config/load.ts';
import { verifyBackup } from '../../src/maintenance/verify.ts';
import type { CrashPoint } from '../../src/platform/crash-points.ts';
import { Catalog } from '../../src/store/catalog.ts';
import { hashFolder } from '../../src/store/partition.ts';
import { prepareStore } from '../../src/store/prepare.ts';
import { LAUNCHER } from '../cli/run.ts';
import { mailboxLine, messageLine, SampleBackup } from '../maintenance/backup-files.ts';
import { stateText } from '../store/state-text.ts';

export interface Ran {
  status: number | null;
  signal: string | null;
  stdout: string;
  stderr: string;
}

export class SmallStore implements Disposable {
  readonly folder: string = fs.mkdtempSync(path.join(os.tmpdir(), 'small-store-'));
  readonly configFile: string = path.join(this.folder, 'imapd.conf');
  readonly config: Config;

  constructor(options = '') {
    for (const name of ['conf', 'one', 'two', 'staging'])
      fs.mkdirSync(path.join(this.folder, name), { mode: 0o700 });
    fs.writeFileSync(
      this.configFile,
      [
        `configdirectory: ${this.folder}/conf`,
        `backuppartition-one: ${this.folder}/one`,
        `backuppartition-two: ${this.folder}/two`,
        `backup_staging_path: ${this.folder}/staging`,
        options,
        '',
      ].join('\n'),
    );
    this.config = loadConfig({ file: this.configFile });
  }

  get catalog(): Catalog {
    return new Catalog(this.config.backupDbPath);
  }

  /** Entries of backups.db. */
  entries(): Record<string, string> {
    return Object.fromEntries(this.catalog.entries());
  }

  /** Makes a backup with a few mailboxes and messages; returns the path of its data file. */
  add(
    userid: string,
    o: { partition?: 'one' | 'two'; key?: string | null; lines?: (string | Buffer)[]; random?: string } = {},
  ): string {
    const { partition = 'one', key = userid, random = 'x1Y2z3' } = o;
    const contents = [`of ${userid}`, 'two', 'three'];
    const records = contents.map((content, i) => ({ uid: i + 1, content }));
    using sample = new SampleBackup([
      [messageLine(contents), mailboxLine(`user.${userid}`, records)],
      [mailboxLine(`user.${userid}.Sent`, []), mailboxLine(`DELETED.user.${userid}.Old.6B04A1C0`, [])],
      ...(o.lines === undefined ? [] : [o.lines]),
    ]);
    const folder = path.join(this.folder, partition, hashFolder(userid, false));
    fs.mkdirSync(folder, { recursive: true, mode: 0o700 });
    const dataPath = path.join(folder, `${userid}_${random}`);
    fs.copyFileSync(sample.dataPath, dataPath);
    fs.copyFileSync(sample.indexPath, `${dataPath}.index`);
    if (key !== null) this.catalog.put(key, dataPath);
    return dataPath;
  }

  /** `csync-backup ARGS -C FILE`, perhaps killed at a step. */
  run(args: string[], crashAt?: CrashPoint): Ran {
    const done = spawnSync(process.execPath, [LAUNCHER, ...args, '-C', this.configFile], {
      env: { ...process.env, CSYNC_BACKUP_CRASH_AT: crashAt ?? '' },
      encoding: 'utf8',
    });
    const { status, signal, stdout, stderr } = done;
    return { status, signal: signal ?? (status === 137 ? 'SIGKILL' : null), stdout, stderr };
  }

  /** What a start of the server does first. */
  restart(): void {
    prepareStore(this.config);
  }

  /** All files on the partitions, relative to the store. */
  files(): string[] {
    const found: string[] = [];
    for (const partition of ['one', 'two']) {
      for (const entry of fs.readdirSync(path.join(this.folder, partition), {
        recursive: true,
        withFileTypes: true,
      })) {
        if (entry.isFile()) found.push(path.relative(this.folder, path.join(entry.parentPath, entry.name)));
      }
    }
    return found.sort();
  }

  /** Writes a file, named relative to the store. */
  spoil(name: string, bytes: Uint8Array): void {
    fs.writeFileSync(path.join(this.folder, name), bytes);
  }

  /** What the backup under this key says; throws unless verification finds nothing wrong. */
  async state(key: string): Promise<string> {
    const dataPath = this.catalog.get(key);
    if (dataPath === undefined) throw new Error(`no backup of ${key}`);
    const { ok, findings } = await verifyBackup({ dataPath });
    if (!ok) throw new Error(JSON.stringify(findings));
    return stateText(`${dataPath}.index`);
  }

  [Symbol.dispose](): void {
    fs.rmSync(this.folder, { recursive: true, force: true });
  }
}
