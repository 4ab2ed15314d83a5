import fs from 'node:fs';
import path from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { type BackupServer, freePort, run } from '../../support/backup-server.ts';
import type { Random } from '../../support/random.ts';
import { SharedBackup } from './backup.ts';
import type { CyrusSite } from './cyrus.ts';
import { ADMIN } from './cyrus-conf.ts';
import { pickChance } from './life-act.ts';
import type { Certificates } from './tls.ts';

export interface BackupLifeOptions {
  cyrus: CyrusSite;
  random: Random;
  certificates: Certificates;
  retentionSeconds: number;
  done: string[];
  users(): readonly string[];
  /** What the backup had before this time, seconds, it may not have any more; or after it. */
  forget(from: number, to: number): void;
}

const PUSHES = {
  user: 6,
  users: 1,
  all: 2,
  rolling: 2,
  cached: 2,
  mailbox: 2,
  meta: 1,
  force: 1,
  tls: 1,
  pull: 1,
  two: 1,
  killed: 2,
  killedRolling: 1,
  held: 1,
  nothing: 1,
};
const CARES = {
  compact: 4,
  reindex: 2,
  verify: 2,
  restart: 2,
  move: 1,
  freeze: 1,
  lostIndex: 1,
  lostCatalog: 1,
  killedCompact: 1,
  snapshot: 1,
  putBack: 1,
  damage: 1,
  nothing: 4,
};

/** The backup server of a life: clients push to it in all their ways, and it is cared for, or not. */
export class BackupLife {
  readonly backup: SharedBackup;
  server!: BackupServer;
  readonly #options: BackupLifeOptions;
  readonly #tlsPort: number;
  #copies: { time: number; folder: string } | undefined;
  /** Bytes were damaged: what lies in a damaged chunk is kept as it is, and compaction may keep more. */
  isDamaged = false;

  private constructor(options: BackupLifeOptions, backup: SharedBackup, tlsPort: number) {
    this.#options = options;
    this.backup = backup;
    this.#tlsPort = tlsPort;
  }

  static async create(options: BackupLifeOptions): Promise<BackupLife> {
    const { cyrus, certificates } = options;
    const backup = await SharedBackup.create(cyrus);
    const tlsPort = await freePort();
    const second = path.join(backup.site.dir, 'second');
    fs.mkdirSync(second, { mode: 0o700 });
    const { site } = backup;
    fs.appendFileSync(
      site.configFile,
      [
        `backup_retention: ${options.retentionSeconds}s`,
        'backup_chunk_max_size: 1M',
        `backuppartition-second: ${second}`,
        `tls_server_cert: ${certificates.cert}`,
        `tls_server_key: ${certificates.key}`,
        '',
      ].join('\n'),
    );
    const text = fs.readFileSync(site.configFile, 'utf8');
    const listen = `backup_listen: 127.0.0.1:${site.port} 127.0.0.1:${tlsPort}/tls`;
    fs.writeFileSync(site.configFile, text.replace(/^backup_listen: .*$/m, listen));
    return new BackupLife(options, backup, tlsPort);
  }

  get port(): number {
    return this.backup.site.port;
  }

  async start(): Promise<void> {
    this.server = await this.backup.site.start();
  }

  async close(): Promise<void> {
    await this.server?.kill();
    this.backup.site.remove();
  }

  /** A client pushes in one of its ways. */
  async push(): Promise<void> {
    const { cyrus, random, done, users } = this.#options;
    const to = { port: this.port };
    const how = pickChance(PUSHES, random);
    done.push(`push ${how}`);
    const user = random.pick(users());
    switch (how) {
      case 'user':
        await cyrus.sync(['-u', user], to);
        return;
      case 'users':
        await cyrus.sync(['-u', ...users()], to);
        return;
      case 'all':
        await cyrus.sync(['-A'], to);
        return;
      case 'mailbox':
        await cyrus.sync(['-m', ...(await this.#someMailboxes())], to);
        return;
      case 'meta':
        await cyrus.sync(['-s', user], to);
        return;
      case 'force':
        // It fetches nothing back, and gives up where it would have to behind a mail server that was put back.
        await cyrus.tool('sync_client', cyrus.clientConf(to), ['-n', 'backup', '-o', '-O', '-u', user]);
        return;
      case 'tls': {
        const options = { backup_sync_host: `127.0.0.1:${this.#tlsPort}/tls` };
        await cyrus.sync(['-z', '-u', user], { port: this.#tlsPort, options });
        return;
      }
      case 'rolling':
        await this.roll();
        return;
      case 'cached':
        await this.roll({
          backup_sync_cache_db_path: path.join(cyrus.dir, 'source', 'conf', 'backup-cache.db'),
          sync_batchsize: random.pick(['8192', '30']),
        });
        return;
      case 'pull':
        await this.#pull(user);
        return;
      case 'two': {
        // One of them may find what the other holds locked.
        const all = this.#client('-A');
        await Promise.all([all, this.#client('-u', user)]);
        return;
      }
      case 'killed':
        await this.#killDuring(this.#client('-A'));
        return;
      case 'killedRolling': {
        const client = cyrus.rolling(to);
        await pause(random.int(200, 2500));
        await this.server.kill();
        await this.start();
        await pause(random.int(500, 2000));
        await client.stop();
        return;
      }
      case 'held':
        await this.#pushWhileHeld();
    }
  }

  /** A rolling client works off its log for a while. */
  async roll(options: Record<string, string> = {}, forMs?: number): Promise<void> {
    const { cyrus, random } = this.#options;
    const client = cyrus.rolling({ port: this.port, options });
    await pause(forMs ?? random.int(1500, 4000));
    await client.stop();
  }

  /** The administrator of the backup server does something, or something happens to it. */
  async care(): Promise<void> {
    const { random, done, retentionSeconds, forget } = this.#options;
    const what = pickChance(CARES, random);
    done.push(what);
    const now = Math.floor(Date.now() / 1000);
    switch (what) {
      case 'compact':
        if (retentionSeconds < 10) await pause(random.int(0, 1000 * retentionSeconds));
        await this.compact();
        return;
      case 'reindex':
        await this.#cli('reindex', '-A', '--wait');
        return;
      case 'verify':
        await this.#verify();
        return;
      case 'restart':
        await this.stopAnd(async () => {});
        return;
      case 'move':
        await this.backup.cliOk(['move', '-A', '--to', random.pick(['second', 'default']), '--wait']);
        return;
      case 'freeze': {
        const client = this.#client('-A');
        await pause(random.int(0, 150));
        await this.backup.cliOk(['freeze', '--exec', `sleep 0.${random.int(1, 9)}`]);
        await client;
        return;
      }
      case 'lostIndex':
        await this.stopAnd(async () => {
          for (const file of this.dataFiles())
            if (random.chance(0.7)) fs.rmSync(`${file}.index`, { force: true });
        });
        return;
      case 'lostCatalog':
        await this.stopAnd(async () => {
          fs.rmSync(path.join(this.backup.site.dir, 'conf', 'backups.db'));
          // Two files of one user, who went and came again, are named.
          const { status, stdout } = await this.backup.site.cli(['reconstruct', '--apply']);
          done.push(stdout.toString());
          if (status !== 0 && !/^duplicate/m.test(stdout.toString()))
            throw new Error(`reconstruct: ${stdout}`);
        });
        return;
      case 'killedCompact':
        await this.#killedCompact();
        return;
      case 'snapshot': {
        const folder = path.join(this.backup.site.dir, 'copies');
        fs.rmSync(folder, { recursive: true, force: true });
        fs.mkdirSync(folder);
        const { dir } = this.backup.site;
        const from = ['partition', 'second', 'conf/backups.db'].map((name) => path.join(dir, name)).join(' ');
        await this.backup.cliOk(['freeze', '--exec', `cp -a ${from} ${folder}`]);
        this.#copies = { time: now, folder };
        return;
      }
      case 'putBack': {
        const copies = this.#copies;
        if (copies === undefined) return;
        await this.stopAnd(async () => {
          const { dir } = this.backup.site;
          for (const name of ['partition', 'second', 'conf/backups.db']) {
            fs.rmSync(path.join(dir, name), { recursive: true });
            await run('cp', ['-a', path.join(copies.folder, path.basename(name)), path.join(dir, name)]);
          }
        });
        forget(copies.time, now);
        return;
      }
      case 'damage':
        await this.#damage();
    }
  }

  /** Where the index is lost verify says so, with 65, and has it made anew. */
  async #verify(): Promise<void> {
    const isLost = this.dataFiles().some((file) => !fs.existsSync(`${file}.index`));
    const { status, stdout, stderr } = await this.backup.site.cli(['verify', '-A', '--wait']);
    if (status !== 0 && !(status === 65 && (isLost || this.isDamaged)))
      throw new Error(`verify: status ${status}\n${stdout}${stderr}`);
  }

  async compact(): Promise<void> {
    const said = await this.#cli('compact', '-A', '--json', '--force', '--wait');
    for (const line of said.toString().trim().split('\n')) {
      const report = JSON.parse(line) as { type: string; keptAll: unknown; damagedPath: unknown };
      if (report.type !== 'backup' || this.isDamaged) continue;
      if (report.keptAll !== null || report.damagedPath !== null)
        throw new Error(`compaction was not complete: ${line}`);
    }
  }

  async stopAnd(act: () => Promise<void>): Promise<void> {
    const status = await this.server.stop();
    if (status !== 0) throw new Error(`the server ended with status ${status}`);
    await act();
    await this.start();
  }

  /** Who is gone on the mail server is never synced again, so that a lost index would stay lost. */
  async reindexLost(): Promise<void> {
    for (const file of this.dataFiles())
      if (!fs.existsSync(`${file}.index`)) await this.#cli('reindex', '-f', file, '--wait');
  }

  /** All data files on the partitions. */
  dataFiles(): string[] {
    const { site } = this.backup;
    return [site.partition, path.join(site.dir, 'second')].flatMap((partition) =>
      fs
        .readdirSync(partition, { recursive: true, withFileTypes: true })
        .filter(
          (entry) => entry.isFile() && /_[^_.]{6}$/.test(entry.name) && !entry.parentPath.includes('/.'),
        )
        .map((entry) => path.join(entry.parentPath, entry.name)),
    );
  }

  /** `csync-backup ARGS`, which names what is damaged. */
  async #cli(...args: string[]): Promise<Buffer> {
    const { status, stdout, stderr } = await this.backup.site.cli(args);
    if (status === 0 || (status === 65 && this.isDamaged)) return stdout;
    throw new Error(`csync-backup ${args.join(' ')}: status ${status}\n${stdout}${stderr}`);
  }

  /** A run that may fail. */
  #client(...args: string[]) {
    const { cyrus } = this.#options;
    const conf = cyrus.clientConf({ port: this.port });
    // One that has lost its server may try for long.
    return cyrus.tool('sync_client', conf, ['-n', 'backup', '-v', '-o', ...args], 5000);
  }

  async #killDuring(client: Promise<unknown>): Promise<void> {
    await pause(this.#options.random.int(5, 400));
    await this.server.kill();
    await client;
    await this.start();
  }

  async #killedCompact(): Promise<void> {
    const { random } = this.#options;
    const { site } = this.backup;
    const client = random.chance(0.5) ? this.#client('-A') : undefined;
    const compacting = run(
      'timeout',
      [
        ...['-s', 'KILL', `${(random.int(150, 900) / 1000).toFixed(3)}`, process.execPath],
        ...[
          path.join(import.meta.dirname, '../../../src/cli/launch.cjs'),
          'compact',
          '-A',
          '--force',
          '--wait',
        ],
        ...['-C', site.configFile],
      ],
      {},
    );
    if (random.chance(0.3)) await this.#killDuring(compacting);
    await compacting;
    await client;
  }

  async #someMailboxes(): Promise<string[]> {
    const { cyrus, random, users } = this.#options;
    const names: string[] = [];
    for (const user of users().filter(() => random.chance(0.5))) {
      const imap = await cyrus.imap(user);
      const own = (await imap.folders()).filter((name) => !/^(?:Shared Folders|Other Users)/.test(name));
      for (const name of own.filter(() => random.chance(0.4)))
        names.push(name === 'INBOX' ? `user/${user}` : `user/${user}/${name}`);
      await imap.logout();
    }
    if (random.chance(0.5)) names.push('shared', 'shared/announce');
    return names.length === 0 ? [`user/${random.pick(users())}`] : names;
  }

  /** Who has a backup, with an index or without. */
  async #users(): Promise<string[]> {
    const { stdout } = await this.backup.site.cli(['list', '--json']);
    const lines = stdout
      .toString()
      .split('\n')
      .filter((line) => line !== '');
    return lines.map((line) => (JSON.parse(line) as { userid: string }).userid);
  }

  async #pull(user: string): Promise<void> {
    const { cyrus } = this.#options;
    if (!(await this.#users()).includes(user)) return;
    const passwords = path.join(cyrus.dir, 'pull-password');
    fs.writeFileSync(passwords, `${ADMIN.password}\n`, { mode: 0o600 });
    const server = `127.0.0.1:${cyrus.ports('source').imap}/insecure`;
    const args = ['pull', '-u', user, '--server', server, '--channel', 'backup', '--authname', ADMIN.user];
    await this.backup.cliOk([...args, '--password-file', passwords]);
  }

  async #pushWhileHeld(): Promise<void> {
    const { random, users } = this.#options;
    const user = random.pick(users());
    if (!(await this.#users()).includes(user)) return;
    const held = this.backup.site.cli(['lock', '-u', user, '--wait', '-x', `sleep 0.${random.int(2, 9)}`]);
    await pause(random.int(0, 500));
    await this.#client('-A');
    await held;
  }

  /** A bit flips, or some bytes are overwritten, somewhere in a data file. */
  async #damage(): Promise<void> {
    const { random, forget, done } = this.#options;
    await this.stopAnd(async () => {
      const file = random.pick(this.dataFiles().sort());
      const bytes = fs.readFileSync(file);
      if (bytes.length < 100) return;
      const at = random.int(0, bytes.length - 1);
      const length = random.pick([1, 1, 20, 3000]);
      if (length === 1) bytes[at]! ^= 1 << random.int(0, 7);
      else bytes.fill(0, at, Math.min(at + length, bytes.length));
      fs.writeFileSync(file, bytes);
      done.push(`${length} bytes at ${at} of ${bytes.length} of ${path.basename(file)}`);
    });
    this.isDamaged = true;
    forget(0, Number.POSITIVE_INFINITY);
    // Says what it found, and 65.
    const { status, stderr } = await this.backup.site.cli(['verify', '-A', '--wait']);
    if (status !== 0 && status !== 65) throw new Error(`verify: status ${status}\n${stderr}`);
  }
}
