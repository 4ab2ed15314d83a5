import { type ChildProcess, spawn } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import net from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { makeKeys, updateCredentials } from '../../src/sasl/credential-file.ts';
import { CsyncWire } from './wire.ts';

export const ROOT = path.join(import.meta.dirname, '..', '..');
const LAUNCH = path.join(ROOT, 'src', 'cli', 'launch.cjs');

export const ACCOUNT = { user: 'backup', password: 'secret' };

export interface Finished {
  status: number | null;
  signal: NodeJS.Signals | null;
  stdout: Buffer;
  stderr: string;
}

/** A port that was free a moment ago. */
export async function freePort(): Promise<number> {
  const server = net.createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as net.AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  return port;
}

/** Runs a program to its end. Never throws for its exit status. */
export function run(
  program: string,
  args: string[],
  o: {
    input?: string;
    env?: NodeJS.ProcessEnv;
    uid?: number;
    gid?: number;
    timeoutMs?: number;
    cwd?: string;
  } = {},
): Promise<Finished> {
  const child = spawn(program, args, {
    stdio: ['pipe', 'pipe', 'pipe'],
    env: { ...process.env, ...o.env },
    uid: o.uid,
    gid: o.gid,
    cwd: o.cwd,
    timeout: o.timeoutMs ?? 120_000,
    killSignal: 'SIGKILL',
  });
  const stdout: Buffer[] = [];
  const stderr: Buffer[] = [];
  child.stdout.on('data', (bytes: Buffer) => stdout.push(bytes));
  child.stderr.on('data', (bytes: Buffer) => stderr.push(bytes));
  child.stdin.on('error', () => {});
  child.stdin.end(o.input ?? '');
  return new Promise((resolve, reject) => {
    child.on('error', reject);
    child.on('close', (status, signal) =>
      resolve({ status, signal, stdout: Buffer.concat(stdout), stderr: Buffer.concat(stderr).toString() }),
    );
  });
}

/**
 * The place of one backup server: a folder with its configuration, credentials and data, which outlives the
 * processes that serve it.
 */
export class BackupSite {
  readonly dir: string;
  readonly configFile: string;
  readonly partition: string;
  readonly port: number;
  readonly metricsPort: number;

  private constructor(dir: string, port: number, metricsPort: number) {
    this.dir = dir;
    this.configFile = path.join(dir, 'imapd.conf');
    this.partition = path.join(dir, 'partition');
    this.port = port;
    this.metricsPort = metricsPort;
  }

  /** Lays out a new site. `config` holds more options, or others than the usual ones. */
  static async create(config: Record<string, string> = {}): Promise<BackupSite> {
    const dir = mkdtempSync(path.join(tmpdir(), 'csync-backup-test-'));
    const site = new BackupSite(dir, await freePort(), await freePort());
    for (const sub of ['conf', 'partition', 'staging', 'tmp'])
      mkdirSync(path.join(dir, sub), { mode: 0o700 });
    site.configure(config);
    // What `csync-backup passwd add` does, without half a second for a process of its own.
    const keys = await makeKeys(ACCOUNT.password);
    const file = config.backup_passwd_file ?? path.join(dir, 'credentials');
    updateCredentials(file, ({ users }) => users.set(ACCOUNT.user, keys));
    return site;
  }

  /** Writes the configuration file anew. */
  configure(config: Record<string, string>): void {
    const options: Record<string, string> = {
      servername: 'backup.test',
      configdirectory: path.join(this.dir, 'conf'),
      temp_path: path.join(this.dir, 'tmp'),
      admins: ACCOUNT.user,
      allowplaintext: 'yes',
      'backuppartition-default': this.partition,
      backup_staging_path: path.join(this.dir, 'staging'),
      backup_passwd_file: path.join(this.dir, 'credentials'),
      backup_listen: `127.0.0.1:${this.port}`,
      backup_metrics_listen: `127.0.0.1:${this.metricsPort}`,
      // A thread takes a tenth of the CPU time of a start, and there are a hundred starts.
      backup_workers: '1',
      backup_shards: '1',
      ...config,
    };
    const lines = Object.entries(options).map(([key, value]) => `${key}: ${value}\n`);
    writeFileSync(this.configFile, lines.join(''));
  }

  /** Runs `csync-backup ARGS -C FILE` of the checkout. */
  cli(args: string[], input?: string): Promise<Finished> {
    return run(process.execPath, [LAUNCH, ...args, '-C', this.configFile], { input });
  }

  /** Starts a server and waits until it accepts connections. */
  async start(env: Record<string, string> = {}): Promise<BackupServer> {
    if (Number(process.versions.node.split('.')[0]) < 24) {
      throw new Error(`the tests need Node 24 or newer, this is ${process.version}; run them by npm`);
    }
    // With the flag for which the launcher would begin anew, which takes a tenth of a second.
    const args = ['--max-semi-space-size=1', LAUNCH, 'serve', '-C', this.configFile];
    const child = spawn(process.execPath, args, {
      stdio: ['ignore', 'pipe', 'pipe'],
      env: { ...process.env, ...env },
    });
    const server = new BackupServer(this, child);
    await server.ready();
    return server;
  }

  remove(): void {
    rmSync(this.dir, { recursive: true, force: true });
  }
}

/** Servers that run: none outlives the tests, even if these are cut off. */
const running = new Set<ChildProcess>();
process.on('exit', () => {
  for (const child of running) child.kill('SIGKILL');
});

/** One process of ours that serves a site. */
export class BackupServer {
  readonly site: BackupSite;
  readonly child: ChildProcess;
  /** Lines of its log so far. */
  readonly log: string[] = [];
  readonly exited: Promise<{ status: number | null; signal: NodeJS.Signals | null }>;
  #exited = false;
  #onLine: (() => void) | undefined;

  constructor(site: BackupSite, child: ChildProcess) {
    this.site = site;
    this.child = child;
    for (const stream of [child.stdout!, child.stderr!]) {
      let rest = '';
      stream.setEncoding('utf8').on('data', (text: string) => {
        const lines = (rest + text).split('\n');
        rest = lines.pop()!;
        this.log.push(...lines);
        this.#onLine?.();
      });
    }
    running.add(child);
    this.exited = new Promise((resolve) => {
      child.on('exit', (status, signal) => {
        running.delete(child);
        this.#exited = true;
        this.#onLine?.();
        resolve({ status, signal });
      });
    });
  }

  get pid(): number {
    return this.child.pid!;
  }

  get alive(): boolean {
    return !this.#exited;
  }

  /** Resolves at the log line that says it accepts connections; throws if it ends before. */
  async ready(): Promise<void> {
    while (!this.log.some((line) => /"msg":"ready"/.test(line))) {
      if (this.#exited) throw new Error(`the server ended before it was ready:\n${this.log.join('\n')}`);
      await new Promise<void>((resolve) => (this.#onLine = resolve));
    }
    this.#onLine = undefined;
  }

  /** SIGTERM, and its exit status. */
  async stop(): Promise<number | null> {
    if (!this.#exited) this.child.kill('SIGTERM');
    return (await this.exited).status;
  }

  /** SIGKILL: no clean-up at all. */
  async kill(): Promise<void> {
    if (!this.#exited) this.child.kill('SIGKILL');
    await this.exited;
  }

  /** A connection, logged in. */
  async connect(): Promise<CsyncWire> {
    const wire = await CsyncWire.connect(this.site.port);
    return wire.login(ACCOUNT.user, ACCOUNT.password);
  }

  /** Highest resident memory so far, of all its threads, in bytes. */
  peakMemoryBytes(): number {
    const status = readFileSync(`/proc/${this.pid}/status`, 'utf8');
    return Number(/^VmHWM:\s+(\d+) kB$/m.exec(status)![1]) * 1024;
  }

  /** Resident memory now, in bytes. */
  memoryBytes(): number {
    const status = readFileSync(`/proc/${this.pid}/status`, 'utf8');
    return Number(/^VmRSS:\s+(\d+) kB$/m.exec(status)![1]) * 1024;
  }

  /** Value of a sample in /metrics, all its label sets added up; 0 if there is none. */
  async metric(name: string): Promise<number> {
    const answer = await fetch(`http://127.0.0.1:${this.site.metricsPort}/metrics`);
    let sum = 0;
    for (const line of (await answer.text()).split('\n')) {
      const match = /^([a-zA-Z_:][\w:]*)(?:\{[^}]*\})? (\S+)$/.exec(line);
      if (match?.[1] === name) sum += Number(match[2]);
    }
    return sum;
  }
}
