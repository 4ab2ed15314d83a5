/** A server to which everything happens that dashboards and alerts have something to show of. */
import { spawnSync } from 'node:child_process';
import { closeSync, mkdirSync, openSync, writeSync } from 'node:fs';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Target } from '../../../bench/load/player.ts';
import { LoadProcess } from '../../../bench/load/process.ts';
import { ask, dataPathOf } from '../../support/admin.ts';
import { ACCOUNT, type BackupServer, BackupSite } from '../../support/backup-server.ts';
import { CsyncWire } from '../../support/wire.ts';

const SMALL_USERS = 40;
const FIRST_USERS = 6;
const FIRST_MESSAGES = 300;
/** A filesystem of its own, so that it can be seen to fill. */
const PARTITION_KILOBYTES = 1 << 20;

export class LoadedServer {
  readonly site: BackupSite;
  readonly #load = new LoadProcess();
  readonly #target: Target;
  #server: BackupServer;
  readonly #mounted: string[] = [];

  private constructor(site: BackupSite, server: BackupServer, mounted: (string | undefined)[]) {
    this.site = site;
    this.#server = server;
    this.#mounted.push(...mounted.filter((folder) => folder !== undefined));
    process.once('exit', () => this.#remove());
    this.#target = { host: '127.0.0.1', port: site.port, ...ACCOUNT, store: site.dir };
  }

  static async start(): Promise<LoadedServer> {
    const site = await BackupSite.create({ backup_shards: '2' });
    const second = path.join(site.dir, 'disk2');
    mkdirSync(second, { mode: 0o700 });
    const mounted = [site.partition, second].map(mountSmall);
    site.configure({
      'backuppartition-disk2': second,
      // The other has more room, and would get all.
      partition_select_exclude: 'disk2',
      backup_drill_every: '1d',
      backup_drill_messages: '10',
      backup_compact_at: '04:00',
      backup_retention: '0',
    });
    return new LoadedServer(site, await site.start(), mounted);
  }

  /**
   * First pushes, small syncs, maintenance of all kinds, and mishaps.
   *
   * @param gatewayUrl where a command pushes what came of it
   */
  async everything(gatewayUrl: string): Promise<void> {
    await this.firstPushes();
    await this.largeMessages();
    await this.#load.run({ kind: 'small-users', target: this.#target, users: SMALL_USERS });
    await this.turns(4);
    await this.crash();
    await this.mishaps();
    for (const kind of ['verify', 'compact', 'drill']) await this.maintain(kind);
    await this.interruptMaintenance();
    await this.freeze(2);
    // Under a name that is not this machine's.
    const group = `${gatewayUrl}/metrics/job/csync-backup/instance/backup.example.com/task/verify`;
    await this.site.cli(['verify', '-A', '--quick', '--wait', '--push-gateway', group]);
    await this.damage('push0');
    await this.maintain('verify', ['push0']);
    await this.largeMessages();
    await this.turns(4);
  }

  async firstPushes(): Promise<void> {
    await this.#load.run({
      kind: 'first-push',
      target: this.#target,
      connections: 3,
      users: FIRST_USERS,
      messages: FIRST_MESSAGES,
    });
  }

  /** Messages that are large enough to be compressed by threads of their own. */
  async largeMessages(): Promise<void> {
    await this.#load.run({
      kind: 'grow',
      target: this.#target,
      userid: 'large',
      bytes: 60 << 20,
      messageBytes: 600_000,
    });
  }

  async turns(connections: number): Promise<void> {
    await this.#load.run({ kind: 'turns', target: this.#target, users: SMALL_USERS, connections });
  }

  /** kill -9 in the middle of a user's chunk, and a new start. */
  async crash(): Promise<void> {
    const wire = await this.#server.connect();
    await wire.ok('GET USER push1');
    await wire.ok('APPLY SUB %(USERID push1 MBOXNAME user.push1.Unfinished)');
    await this.#server.kill();
    wire.destroy();
    this.#server = await this.site.start();
    const again = await this.#server.connect();
    await again.command('GET USER push1');
    await again.command('EXIT');
    again.destroy();
  }

  /** A wrong password, a held lock, a command that is none. */
  async mishaps(): Promise<void> {
    const stranger = await CsyncWire.connect(this.site.port);
    await stranger.login(ACCOUNT.user, 'guessed').catch(() => {});
    stranger.destroy();
    const [one, other] = [await this.#server.connect(), await this.#server.connect()];
    await one.command('GET USER small1');
    await other.command('GET USER small1');
    await other.command('MAKE TEA');
    await one.command('EXIT');
    for (const wire of [one, other]) wire.destroy();
  }

  async maintain(kind: string, userids?: string[]): Promise<void> {
    await ask(this.site, 'run-maintenance', userids === undefined ? { kind } : { kind, userids });
    for (let quiet = 0; quiet < 3; ) {
      await sleep(200);
      quiet = (await ask(this.site, 'maintenance')).running === null ? quiet + 1 : 0;
    }
  }

  /** A client that comes for a backup while it is verified. */
  async interruptMaintenance(): Promise<void> {
    const wire = await this.#server.connect();
    await ask(this.site, 'run-maintenance', { kind: 'verify', userids: ['large'] });
    const running = async () => (await ask(this.site, 'maintenance')).running as { userid: string } | null;
    for (let waitedMs = 0; (await running())?.userid !== 'large'; waitedMs += 10) {
      if (waitedMs > 30_000) throw new Error('the verification does not begin, or is over before it is seen');
      await sleep(10);
    }
    await wire.ok('GET USER large');
    await wire.ok('EXIT');
    wire.destroy();
  }

  async freeze(seconds: number): Promise<void> {
    await ask(this.site, 'freeze', { forSeconds: 60 });
    await sleep(seconds * 1000);
    await ask(this.site, 'thaw');
  }

  /** Overwrites some bytes of a data file. */
  async damage(userid: string): Promise<void> {
    const fd = openSync(dataPathOf(this.site, userid), 'r+');
    writeSync(fd, Buffer.alloc(20, 0xff), 0, 20, 60);
    closeSync(fd);
  }

  async stop(): Promise<void> {
    this.#load.stop();
    await this.#server.stop();
    this.#remove();
  }

  #remove(): void {
    for (const folder of this.#mounted.splice(0)) spawnSync('umount', ['-l', folder]);
    this.site.remove();
  }
}

/** Only root can; without, the partition is in the filesystem of the folder. */
function mountSmall(folder: string): string | undefined {
  if (process.getuid?.() !== 0) return undefined;
  const options = `size=${PARTITION_KILOBYTES}k,mode=0700`;
  const { status, stderr } = spawnSync('mount', ['-t', 'tmpfs', '-o', options, 'tmpfs', folder]);
  if (status !== 0) throw new Error(`mount: ${stderr}`);
  return folder;
}
