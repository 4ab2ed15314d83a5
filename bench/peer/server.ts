import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import net from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import type { Target } from '../load/player.ts';

/** A csync server with an empty store, started for one scenario. */
export interface BenchServer {
  readonly target: Target;
  /** The process whose tree is the server. */
  readonly pid: number;
  /** It has a certificate. backupd answers STARTTLS with `NO command not implemented`, though it offers it. */
  readonly hasTls: boolean;
  /** Data files and indexes, for the figures of stored size. */
  readonly partition: string;
  /** How its ctl_backups is started: what comes before the command's own arguments. */
  readonly ctlBackups: { program: string; args: string[]; uid?: number; gid?: number };
  /** Ends the server in order and removes its files. */
  stop(): Promise<void>;
}

export interface StartOptions {
  /** Leave the files behind. */
  keep?: boolean;
  /** Offer STARTTLS. */
  tls?: boolean;
  /** Of imapd.conf, for a benchmark that is about them; ours only. */
  settings?: Record<string, string>;
  /** For the process of the server, and so for its threads; ours only. */
  nodeFlags?: readonly string[];
}

/** A certificate that nobody vouches for, and its key. */
export const TLS_FILES: readonly [certificate: string, key: string] = ['cert.pem', 'key.pem'];
const TLS_FOLDER = path.join(import.meta.dirname, '..', '..', 'test', 'fixtures', 'tls');

export const ACCOUNT = { user: 'backup', password: 'secret' };
const START_TIMEOUT_MS = 20_000;

/** A folder of its own for a server's configuration and data. */
export class Workspace {
  readonly dir: string;
  readonly #keep: boolean;

  constructor(name: string, keep: boolean) {
    this.dir = mkdtempSync(path.join(tmpdir(), `csync-bench-${name}-`));
    this.#keep = keep;
  }

  path(...names: string[]): string {
    return path.join(this.dir, ...names);
  }

  /** Copies of TLS_FILES, readable only by the owner. @returns the options of imapd.conf that name them */
  addCertificate(): Record<string, string> {
    for (const name of TLS_FILES) {
      writeFileSync(this.path(name), readFileSync(path.join(TLS_FOLDER, name)), { mode: 0o600 });
    }
    const [certificate, key] = TLS_FILES;
    return { tls_server_cert: this.path(certificate), tls_server_key: this.path(key) };
  }

  remove(): void {
    if (!this.#keep) rmSync(this.dir, { recursive: true, force: true });
  }
}

/** A port that was free a moment ago. */
export async function freePort(): Promise<number> {
  const server = net.createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as net.AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  return port;
}

/** Waits until the port greets; false if `alive` says that nobody is left to do so, or after 20 s. */
export async function greets(port: number, alive: () => boolean): Promise<boolean> {
  const deadline = performance.now() + START_TIMEOUT_MS;
  while (alive() && performance.now() < deadline) {
    if (await greetsNow(port)) return true;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  return false;
}

function greetsNow(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = net.connect({ host: '127.0.0.1', port });
    const end = (greeted: boolean) => {
      socket.destroy();
      resolve(greeted);
    };
    socket.once('data', () => end(true));
    socket.once('error', () => end(false));
    socket.once('close', () => end(false));
  });
}
