import { randomUUID } from 'node:crypto';
import { rmSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import type { CrashPoint } from '../../src/platform/crash-points.ts';
import { allFaults } from '../support/admin.ts';
import type { BackupServer, BackupSite } from '../support/backup-server.ts';
import { Random } from '../support/random.ts';
import { ConnectionLost } from '../support/wire.ts';
import { MessageStore } from './model.ts';
import { Pusher } from './pusher.ts';
import { expectContent, expectSurvived } from './survivors.ts';

/** A site that is pushed to by two clients at once, killed, and looked at after each restart. */
export class CrashWorld {
  readonly site: BackupSite;
  readonly random: Random;
  readonly pushers: Pusher[];
  readonly store = new MessageStore();
  server: BackupServer | undefined;
  /** Processes that were killed by now. */
  kills = 0;

  /** A world on this site; `literals` says whether scripts travel as text literals, which Cyrus's reindex cannot read. */
  constructor(site: BackupSite, seed: string, options: { pushers?: number; literals?: boolean } = {}) {
    this.site = site;
    this.random = new Random(seed);
    this.reboot();
    this.pushers = ['ada', 'bea']
      .slice(0, options.pushers ?? 2)
      .map((name) => new Pusher(name, new Random(`${seed}/${name}`), this.store, options.literals ?? true));
  }

  /** Starts the server, and checks that everything acknowledged before is there. */
  async restart(crashAt?: `${CrashPoint}:${number}`): Promise<void> {
    await this.server?.kill();
    rmSync(this.#armed, { force: true });
    const env = {
      CSYNC_BACKUP_CRASH_AT: crashAt ?? '',
      CSYNC_BACKUP_CRASH_WHEN: this.#armed,
      CSYNC_BACKUP_BOOT_ID_FILE: this.#bootIdFile,
    };
    this.server = await this.site.start(env);
    const wire = await this.server.connect();
    for (const pusher of this.pushers) {
      pusher.acknowledged = await expectSurvived(wire, pusher.acknowledged, pusher.inDoubt);
      pusher.inDoubt = [];
      await expectContent(wire, pusher.acknowledged, this.store, 20);
    }
    await wire.ok('EXIT');
    await wire.closed();
    wire.destroy();
    writeFileSync(this.#armed, '');
  }

  /** From now on processes find themselves on a machine that was restarted. */
  reboot(): void {
    writeFileSync(this.#bootIdFile, `${randomUUID()}\n`);
  }

  get #bootIdFile(): string {
    return path.join(this.site.dir, 'boot_id');
  }

  /** While this file exists the crash point counts: not while the test looks at what survived. */
  get #armed(): string {
    return path.join(this.site.dir, 'armed');
  }

  /**
   * Lets all clients push until the server ends or they are through. A lost connection is what this
   * is about; any other failure is the test's. If one was lost the server is dead when this resolves.
   */
  async pushUntilKilled(push: (pusher: Pusher, index: number) => Promise<void>): Promise<void> {
    let lost = false;
    const runs = this.pushers.map(async (pusher, index) => {
      try {
        await push(pusher, index);
      } catch (error) {
        if (!(error instanceof ConnectionLost) && (error as NodeJS.ErrnoException).code !== 'ECONNREFUSED')
          throw error;
        lost = true;
      }
    });
    await Promise.all(runs);
    if (lost) await this.server!.exited;
  }

  /** SIGKILL, if it did not do that to itself before. */
  async kill(): Promise<{ itself: boolean }> {
    const itself = !this.server!.alive;
    await this.server!.kill();
    this.kills++;
    return { itself };
  }

  /** All clients push one of everything. */
  async pushEverythingInto(): Promise<void> {
    await this.pushUntilKilled(async (pusher) => {
      const wire = await this.server!.connect();
      await pusher.pushEverything(wire);
      await wire.ok('EXIT');
      wire.destroy();
    });
  }

  /** All clients push at random until the server is killed after a random time. */
  async pushUntilRandomKill(longestMs: number): Promise<void> {
    const timer = setTimeout(() => this.server!.child.kill('SIGKILL'), this.random.int(1, longestMs));
    await this.pushUntilKilled(async (pusher) => {
      while (this.server!.alive) {
        const wire = await this.server!.connect();
        await pusher.push(wire, 15);
        await wire.ok('EXIT');
        wire.destroy();
      }
    });
    clearTimeout(timer);
  }

  /** Throws unless `csync-backup verify -A` would find nothing wrong. */
  async verify(): Promise<void> {
    const faults = await allFaults(this.site);
    if (faults.length > 0) throw new Error(`verify: ${faults.join('\n')}`);
  }

  async close(): Promise<void> {
    await this.server?.kill();
    this.site.remove();
  }
}
