import { type ChildProcess, spawn } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import net from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { BackupError } from '../platform/errors.ts';

export const DEMO_ACCOUNT = { user: 'backup', password: 'demonstration' };
const START_TIMEOUT_MS = 20_000;

export interface Finished {
  status: number | null;
  stdout: Buffer;
  stderr: string;
}

/** A folder with a configuration, credentials and data of its own, outside of any installation. */
export class DemoSite {
  readonly dir: string;
  readonly configFile: string;
  readonly port: number;

  private constructor(dir: string, port: number) {
    this.dir = dir;
    this.port = port;
    this.configFile = path.join(dir, 'imapd.conf');
  }

  static async create(): Promise<DemoSite> {
    const site = new DemoSite(mkdtempSync(path.join(tmpdir(), 'csync-backup-demo-')), await freePort());
    for (const folder of ['conf', 'backup', 'staging', 'tmp'])
      mkdirSync(path.join(site.dir, folder), { mode: 0o700 });
    const options: Record<string, string> = {
      servername: 'demo.example',
      configdirectory: path.join(site.dir, 'conf'),
      temp_path: path.join(site.dir, 'tmp'),
      admins: DEMO_ACCOUNT.user,
      'backuppartition-default': path.join(site.dir, 'backup'),
      backup_staging_path: path.join(site.dir, 'staging'),
      backup_passwd_file: path.join(site.dir, 'credentials'),
      backup_listen: `127.0.0.1:${site.port}`,
      backup_metrics_listen: `127.0.0.1:${await freePort()}`,
    };
    const lines = Object.entries(options).map(([key, value]) => `${key}: ${value}\n`);
    writeFileSync(site.configFile, lines.join(''));
    await site.runWell(['passwd', 'add', DEMO_ACCOUNT.user], `${DEMO_ACCOUNT.password}\n`);
    return site;
  }

  /** Runs `csync-backup ARGS -C FILE` to its end. */
  run(args: readonly string[], input = ''): Promise<Finished> {
    const child = spawn(process.execPath, [launcher(), ...args, '-C', this.configFile], { stdio: 'pipe' });
    const stdout: Buffer[] = [];
    let stderr = '';
    child.stdout.on('data', (bytes: Buffer) => stdout.push(bytes));
    child.stderr.setEncoding('utf8').on('data', (text: string) => (stderr += text));
    child.stdin.end(input);
    return new Promise((resolve, reject) => {
      child.on('error', reject);
      child.on('close', (status) => resolve({ status, stdout: Buffer.concat(stdout), stderr }));
    });
  }

  /** As `run`, for a command that has to succeed. */
  async runWell(args: readonly string[], input?: string): Promise<Buffer> {
    const { status, stdout, stderr } = await this.run(args, input);
    if (status !== 0) throw failed(args.join(' '), stderr);
    return stdout;
  }

  remove(): void {
    rmSync(this.dir, { recursive: true, force: true });
  }
}

/** One process that serves the site. */
export class DemoServer {
  /** Its log so far: JSON lines. */
  readonly log: string[] = [];
  readonly #child: ChildProcess;
  readonly #exited: Promise<number | null>;
  #alive = true;
  #onLine: () => void = () => {};

  private constructor(child: ChildProcess) {
    this.#child = child;
    let rest = '';
    child.stderr!.setEncoding('utf8').on('data', (text: string) => {
      const lines = (rest + text).split('\n');
      rest = lines.pop()!;
      this.log.push(...lines);
      this.#onLine();
    });
    this.#exited = new Promise((resolve) => {
      child.on('close', (status) => {
        this.#alive = false;
        this.#onLine();
        resolve(status);
      });
    });
  }

  /** Starts it and waits for the log line that says it accepts connections. */
  static async start(site: DemoSite): Promise<DemoServer> {
    const args = [launcher(), 'serve', '-C', site.configFile];
    const server = new DemoServer(spawn(process.execPath, args, { stdio: ['ignore', 'ignore', 'pipe'] }));
    const ready = await server.#logged((line) => messageOf(line) === 'ready');
    if (!ready) {
      await server.kill();
      throw failed('serve', server.log.join('\n'));
    }
    return server;
  }

  get pid(): number {
    return this.#child.pid!;
  }

  /** SIGKILL: it gets no chance to tidy up. */
  async kill(): Promise<void> {
    this.#child.kill('SIGKILL');
    await this.#exited;
  }

  /** SIGTERM, and its exit status. */
  async stop(): Promise<number | null> {
    this.#child.kill('SIGTERM');
    return await this.#exited;
  }

  /** False if no such line came while it lived, or in 20 s. */
  async #logged(wanted: (line: string) => boolean): Promise<boolean> {
    let late = false;
    const timer = setTimeout(() => {
      late = true;
      this.#onLine();
    }, START_TIMEOUT_MS);
    while (!this.log.some(wanted) && this.#alive && !late) {
      await new Promise<void>((resolve) => {
        this.#onLine = resolve;
      });
    }
    clearTimeout(timer);
    return this.log.some(wanted);
  }
}

/** The text of a log line; undefined for what is no log line. */
export function messageOf(line: string): string | undefined {
  try {
    return (JSON.parse(line) as { msg?: string }).msg;
  } catch {
    return undefined;
  }
}

/** The program's entry, seen from the sources or from dist. */
function launcher(): string {
  const here = path.join(import.meta.dirname, 'launch.cjs');
  return existsSync(here)
    ? here
    : path.join(import.meta.dirname, '..', '..', '..', 'src', 'cli', 'launch.cjs');
}

async function freePort(): Promise<number> {
  const server = net.createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as net.AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  return port;
}

function failed(command: string, log: string): BackupError {
  return new BackupError({
    code: 'UNAVAILABLE',
    tried: 'run',
    subject: `csync-backup ${command}`,
    reason: 'it failed',
    remedy: `It said:\n${log.slice(-4000)}`,
  });
}
