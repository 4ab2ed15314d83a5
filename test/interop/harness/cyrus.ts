import { type ChildProcess, spawn } from 'node:child_process';
import {
  chmodSync,
  chownSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import net from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { type Finished, freePort, run } from '../../support/backup-server.ts';
import {
  ADMIN,
  channelOptions,
  confText,
  type InstanceName,
  type InstancePorts,
  instanceOptions,
  mastersText,
} from './cyrus-conf.ts';
import { ImapClient } from './imap.ts';
import { type Account, CYRUS_BIN, requireCyrus } from './requirements.ts';

export interface SyncOptions {
  /** Port of the backup server. */
  port: number;
  /** SASL mechanism that sync_client is made to use; its own choice otherwise. */
  mechanism?: string;
  /** More imapd.conf options for this sync_client. */
  options?: Record<string, string>;
}

/**
 * Up to three Cyrus instances on loopback below one temporary folder: `source`, a mail server whose sync_client
 * pushes backups; `peer`, Cyrus's own backup server; `target`, a server to restore into.
 */
export class CyrusSite {
  readonly dir: string;
  readonly account: Account;
  readonly #ports = new Map<InstanceName, InstancePorts>();
  readonly #running: InstanceName[] = [];
  readonly #children = new Set<ChildProcess>();
  #confs = 0;

  private constructor(dir: string, account: Account) {
    this.dir = dir;
    this.account = account;
  }

  /**
   * A site with these instances running; `backupPort` is where the source's XBACKUP goes, `more` are options of the
   * source, `ofTarget` those of the target.
   */
  static async start(
    names: InstanceName[],
    backupPort?: number,
    more: Record<string, string> = {},
    ofTarget: Record<string, string> = {},
  ): Promise<CyrusSite> {
    const account = requireCyrus();
    const dir = mkdtempSync(path.join(tmpdir(), 'csync-interop-'));
    chmodSync(dir, 0o755);
    const site = new CyrusSite(dir, account);
    for (const name of ['source', 'peer', 'target']) await site.#addPassword(name);
    site.giveToCyrus(site.sasldb);
    for (const name of names) {
      await site.#startInstance(name, backupPort, { source: more, peer: {}, target: ofTarget }[name]);
    }
    return site;
  }

  get sasldb(): string {
    return path.join(this.dir, 'sasldb2');
  }

  ports(name: InstanceName): InstancePorts {
    return this.#ports.get(name)!;
  }

  conf(name: InstanceName): string {
    return path.join(this.dir, name, 'imapd.conf');
  }

  giveToCyrus(file: string): void {
    chownSync(file, this.account.uid, this.account.gid);
  }

  /** A folder that belongs to the user cyrus. */
  makeDir(...parts: string[]): string {
    const dir = path.join(this.dir, ...parts);
    mkdirSync(dir, { recursive: true, mode: 0o755 });
    this.giveToCyrus(dir);
    return dir;
  }

  /** IMAP as a mail user, or as the admin. */
  imap(user?: string, name: InstanceName = 'source'): Promise<ImapClient> {
    return ImapClient.login(this.ports(name).imap, ADMIN, user);
  }

  /** Runs one of Cyrus's programs as the user cyrus. */
  tool(program: string, conf: string, args: string[], timeoutMs = 60_000): Promise<Finished> {
    const { uid, gid } = this.account;
    return run(path.join(CYRUS_BIN, program), ['-C', conf, ...args], { uid, gid, timeoutMs, cwd: this.dir });
  }

  /** Runs the real sync_client once; throws unless it succeeds, or with `status` ends so. */
  async sync(args: string[], to: SyncOptions, status = 0): Promise<Finished> {
    const done = await this.tool('sync_client', this.clientConf(to), ['-n', 'backup', '-v', '-o', ...args]);
    if (done.status !== status) {
      throw new Error(
        `sync_client ${args.join(' ')}: status ${done.status} ${done.signal}\n${done.stdout}${done.stderr}`,
      );
    }
    return done;
  }

  /** Starts the real sync_client in rolling mode; `stop` ends it. */
  rolling(to: SyncOptions): { stop(): Promise<void>; child: ChildProcess } {
    const child = spawn(
      path.join(CYRUS_BIN, 'sync_client'),
      ['-C', this.clientConf(to), '-n', 'backup', '-v', '-l', '-r'],
      // CYRUS_ISDAEMON keeps sync_client -r from forking away.
      { ...this.account, stdio: 'ignore', env: { ...process.env, CYRUS_ISDAEMON: '1' }, cwd: this.dir },
    );
    this.#children.add(child);
    const ended = new Promise<void>((resolve) => child.on('exit', () => resolve()));
    return {
      child,
      stop: async () => {
        child.kill('SIGTERM');
        await ended;
        this.#children.delete(child);
      },
    };
  }

  /** The source's configuration with the channel pointed at a server. */
  clientConf(to: SyncOptions): string {
    const file = path.join(this.dir, `client-${++this.#confs}.conf`);
    const source = instanceOptions('source', path.join(this.dir, 'source'), this.sasldb);
    writeFileSync(file, confText({ ...source, ...channelOptions(to.port, to.mechanism), ...to.options }));
    this.giveToCyrus(file);
    return file;
  }

  async stopInstance(name: InstanceName): Promise<void> {
    const pid = Number(readFileSync(path.join(this.dir, name, 'master.pid'), 'utf8'));
    process.kill(pid, 'SIGTERM');
    await until(`${name} has ended`, () => !existsSync(`/proc/${pid}`) || state(pid) === 'Z');
    this.#running.splice(this.#running.indexOf(name), 1);
  }

  /** Starts one again that was stopped, over the files that are there by now. Its ports are others. `backupPort` as of `start`. */
  startInstance(name: InstanceName, backupPort?: number): Promise<void> {
    return this.#startInstance(name, backupPort, {});
  }

  /** Ends everything and removes the folder. */
  async close(): Promise<void> {
    for (const child of this.#children) child.kill('SIGKILL');
    for (const name of [...this.#running]) await this.stopInstance(name);
    rmSync(this.dir, { recursive: true, force: true });
  }

  async #startInstance(
    name: InstanceName,
    backupPort: number | undefined,
    more: Record<string, string>,
  ): Promise<void> {
    const dir = this.makeDir(name);
    for (const sub of [
      'conf',
      'spool',
      'spool2',
      'sieve',
      'tmp',
      'run',
      'run/lock',
      'run/proc',
      'backup',
      'staging',
    ]) {
      this.makeDir(name, sub);
    }
    for (const sub of ['db', 'proc', 'log', 'msg', 'socket', 'sync', 'lock', 'user', 'quota']) {
      this.makeDir(name, 'conf', sub);
    }
    const ports: InstancePorts = {
      ...{ imap: await freePort(), imaps: await freePort() },
      ...{ sieve: await freePort(), csync: await freePort() },
    };
    this.#ports.set(name, ports);
    const channel = {
      ...(name === 'source' && backupPort !== undefined ? channelOptions(backupPort) : {}),
      ...more,
    };
    writeFileSync(this.conf(name), confText({ ...instanceOptions(name, dir, this.sasldb), ...channel }));
    writeFileSync(path.join(dir, 'cyrus.conf'), mastersText(name, dir, ports));
    const pidFile = path.join(dir, 'master.pid');
    const started = await run(path.join(CYRUS_BIN, 'master'), [
      ...['-C', this.conf(name), '-M', path.join(dir, 'cyrus.conf'), '-p', pidFile],
      ...['-d', '-L', path.join(dir, 'master.log')],
    ]);
    if (started.status !== 0) throw new Error(`Cyrus's master for ${name}: ${started.stderr}`);
    this.#running.push(name);
    const port = name === 'peer' ? ports.csync : ports.imap;
    await until(`${name} accepts connections`, () => accepts(port));
  }

  async #addPassword(name: string): Promise<void> {
    const realm = `${name}.interop.test`;
    const added = await run(
      '/usr/sbin/saslpasswd2',
      ['-p', '-c', '-f', this.sasldb, '-u', realm, ADMIN.user],
      {
        input: ADMIN.password,
      },
    );
    if (added.status !== 0) throw new Error(`saslpasswd2: ${added.stderr}`);
  }
}

/** Waits until something holds; throws if that takes longer than anything here should. */
export async function until(
  what: string,
  holds: () => boolean | Promise<boolean>,
  timeoutMs = 30_000,
): Promise<void> {
  const end = Date.now() + timeoutMs;
  while (!(await holds())) {
    if (Date.now() > end) throw new Error(`not so after ${timeoutMs / 1000} s: ${what}`);
    await sleep(50);
  }
}

function state(pid: number): string {
  return /\) (\w)/.exec(readFileSync(`/proc/${pid}/stat`, 'utf8'))![1]!;
}

function accepts(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = net.connect(port, '127.0.0.1');
    socket.on('connect', () => {
      socket.destroy();
      resolve(true);
    });
    socket.on('error', () => resolve(false));
  });
}
