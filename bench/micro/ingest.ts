/**
 * The whole server, from socket to disk: this process serves, another one is the client, and what is measured is the
 * CPU time of this one.
 */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import pino from 'pino';
import { loadConfig } from '../../src/config/load.ts';
import { loadDeflateEngine } from '../../src/platform/deflate.ts';
import { makeKeys, updateCredentials } from '../../src/sasl/credential-file.ts';
import { CsyncServer } from '../../src/server/server.ts';
import { prepareStore } from '../../src/store/prepare.ts';
import type { Job, JobResult } from '../load/jobs.ts';
import type { Target } from '../load/player.ts';
import { LoadProcess } from '../load/process.ts';
import { ACCOUNT, freePort } from '../peer/server.ts';
import type { Benchmark, Prepared, Size } from './benchmark.ts';

/** Bytes of a first push, and users of a round of small updates. */
const PUSH_BYTES: Record<Size, number> = { small: 10e6, full: 100e6 };
const USERS: Record<Size, number> = { small: 40, full: 400 };

class OwnServer {
  readonly #folder: string;
  readonly #server: CsyncServer;
  readonly #load = new LoadProcess();
  readonly target: Target;

  private constructor(folder: string, server: CsyncServer, target: Target) {
    this.#folder = folder;
    this.#server = server;
    this.target = target;
  }

  static async start(more: Record<string, string> = {}): Promise<OwnServer> {
    const folder = mkdtempSync(path.join(tmpdir(), 'csync-bench-ingest-'));
    for (const name of ['conf', 'backup', 'staging', 'tmp'])
      mkdirSync(path.join(folder, name), { mode: 0o700 });
    const port = await freePort();
    const options: Record<string, string> = {
      servername: 'ours.bench.test',
      configdirectory: path.join(folder, 'conf'),
      temp_path: path.join(folder, 'tmp'),
      admins: ACCOUNT.user,
      allowplaintext: 'yes',
      'backuppartition-default': path.join(folder, 'backup'),
      backup_staging_path: path.join(folder, 'staging'),
      backup_passwd_file: path.join(folder, 'credentials'),
      backup_listen: `127.0.0.1:${port}`,
      ...more,
    };
    const file = path.join(folder, 'imapd.conf');
    const lines = Object.entries(options).map(([key, value]) => `${key}: ${value}\n`);
    writeFileSync(file, lines.join(''));
    const config = { ...loadConfig({ file }), metricsListen: undefined };
    const keys = await makeKeys(ACCOUNT.password);
    updateCredentials(config.passwdFile, ({ users }) => users.set(ACCOUNT.user, keys));
    prepareStore(config);
    const log = pino({ level: 'silent' });
    const engine = loadDeflateEngine('auto').name;
    const server = new CsyncServer({ config, log, version: 'bench', engine });
    await server.start();
    return new OwnServer(folder, server, { host: '127.0.0.1', port, ...ACCOUNT, store: folder });
  }

  run(job: Job): Promise<JobResult> {
    return this.#load.run(job);
  }

  async stop(): Promise<void> {
    this.#load.stop();
    await this.#server.stop();
    rmSync(this.#folder, { recursive: true, force: true });
  }
}

/** Another new user each time, over one connection. */
async function push(size: Size): Promise<Prepared> {
  const server = await OwnServer.start();
  let users = 0;
  const next = () =>
    server.run({ kind: 'grow', target: server.target, userid: `push${users++}`, bytes: PUSH_BYTES[size] });
  await next();
  return { bytes: PUSH_BYTES[size], isAsync: true, run: next, close: () => server.stop() };
}

/**
 * A small update of each of some users, over two connections; without syncs, since where they are done, and so what they
 * cost, depends on how fast the disk is at the moment. The benchmarks of appends have them.
 */
async function updates(size: Size): Promise<Prepared> {
  const server = await OwnServer.start({ backup_durability: 'none' });
  const { target } = server;
  const users = USERS[size];
  await server.run({ kind: 'small-users', target, users });
  return {
    items: users,
    isAsync: true,
    run: () => server.run({ kind: 'turns', target, users, connections: 2 }),
    close: () => server.stop(),
  };
}

const FACTS = ['deflate', 'sha1', 'cpuFlags'] as const;

export const INGEST: readonly Benchmark[] = [
  {
    name: 'ingest-push',
    // All threads of a server: beside other work their CPU time was 1.2 to 1.45 times that on an idle machine.
    tolerance: 0.5,
    clock: 'process',
    calibrations: { zlib: 15, sha1: 15, memcpy: 5, javascript: 5, fdatasync1m: 6 },
    facts: FACTS,
    prepare: push,
  },
  {
    name: 'ingest-updates',
    // All threads of a server: beside other work their CPU time was 1.2 to 1.45 times that on an idle machine.
    tolerance: 0.5,
    clock: 'process',
    calibrations: { javascript: 20, sqlite: 8, memcpy: 1 },
    facts: FACTS,
    prepare: updates,
  },
];
