/** A server of sessions without threads: real sockets, real decoder, shards as the test wants them. */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import net from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { Writable } from 'node:stream';
import type { SecureContext } from 'node:tls';
import { pino } from 'pino';
import { expect } from 'vitest';
import type { Config } from '../../src/config/config.ts';
import { loadConfig } from '../../src/config/load.ts';
import { createMetrics } from '../../src/metrics/registry.ts';
import { startAtZero } from '../../src/metrics/zeros.ts';
import { type DeflateTask, runDeflateTask } from '../../src/pipeline/deflate-task.ts';
import { SlabPool } from '../../src/pipeline/slab-pool.ts';
import { loadDeflateEngine } from '../../src/platform/deflate.ts';
import type { SaslServerMechanism } from '../../src/sasl/mechanism.ts';
import { ANSWERED_VERBS } from '../../src/server/answered-verbs.ts';
import { ConnectionCompression } from '../../src/server/compression.ts';
import type { ServerContext } from '../../src/server/context.ts';
import { GuidBudget } from '../../src/server/guid-map.ts';
import { Session } from '../../src/server/session.ts';
import { loadSecureContext } from '../../src/server/tls-context.ts';
import { FREE_ACCESS, type UserAccess } from '../../src/server/user-access.ts';
import { CsyncWire } from '../support/wire.ts';
import { FakeShards } from './fake-shards.ts';

export const TLS_FIXTURES = path.join(import.meta.dirname, '..', 'fixtures', 'tls');

/** expect.poll with time enough for a busy machine. */
export function eventually<T>(poll: () => T, intervalMs = 20) {
  return expect.poll(poll, { timeout: 20_000, interval: intervalMs });
}

/** A configuration file in a new folder, loaded; `options` are lines of imapd.conf. */
export function testConfig(options: Record<string, string> = {}): {
  dir: string;
  file: string;
  config: Config;
} {
  const dir = mkdtempSync(path.join(tmpdir(), 'csync-backup-server-'));
  for (const sub of ['conf', 'partition', 'staging', 'tmp']) mkdirSync(path.join(dir, sub), { mode: 0o700 });
  const all: Record<string, string> = {
    servername: 'backup.test',
    configdirectory: path.join(dir, 'conf'),
    temp_path: path.join(dir, 'tmp'),
    admins: 'backup',
    allowplaintext: 'yes',
    failedloginpause: '0',
    'backuppartition-default': path.join(dir, 'partition'),
    backup_staging_path: path.join(dir, 'staging'),
    backup_passwd_file: path.join(dir, 'credentials'),
    backup_listen: '127.0.0.1:0',
    backup_metrics_listen: '127.0.0.1:0',
    backup_log_level: 'info',
    ...options,
  };
  const file = path.join(dir, 'imapd.conf');
  writeFileSync(
    file,
    Object.entries(all)
      .map(([key, value]) => `${key}: ${value}\n`)
      .join(''),
  );
  return { dir, file, config: loadConfig({ file }) };
}

/** PLAIN with one password for every user, so that tests need no credential file. */
function plainSecret(): SaslServerMechanism {
  return {
    async step(response) {
      if (response === null) return { type: 'challenge', data: new Uint8Array(0) };
      const [, user, password] = Buffer.from(response).toString('utf8').split('\0');
      return password === 'secret' ? { type: 'success', user: user! } : { type: 'failure', reason: 'wrong' };
    },
  };
}

/** Results of commands that a sync which goes well meets too. */
const BELONG_TO_SYNCS = new Set(['OK', 'none', 'IMAP_SYNC_CHECKSUM', 'IMAP_MAILBOX_NONEXISTENT']);

export class Harness implements ServerContext {
  config: Config;
  readonly version = '0.0.0';
  readonly shards: FakeShards;
  readonly slabs: SlabPool;
  /** The pool's work, done in this thread. */
  readonly deflate = {
    run: async (task: DeflateTask) => {
      await new Promise((resolve) => setImmediate(resolve));
      return runDeflateTask(task, this.slabs.memory, loadDeflateEngine('zlib'));
    },
  };
  readonly compression = new ConnectionCompression('auto');
  readonly guidBudget = new GuidBudget(1 << 20);
  access: UserAccess = FREE_ACCESS;
  readonly metrics = createMetrics();
  readonly logLines: Record<string, unknown>[] = [];
  readonly log = pino(
    { level: 'info' },
    new Writable({
      write: (chunk: Buffer, _encoding, done) => {
        this.logLines.push(JSON.parse(chunk.toString()) as Record<string, unknown>);
        done();
      },
    }),
  );
  secureContext: SecureContext | undefined;
  readonly sessions: Session[] = [];
  readonly #dir: string;
  readonly #wires: CsyncWire[] = [];
  readonly #server: net.Server;
  #tls = false;

  constructor(
    o: { options?: Record<string, string>; slabs?: number; shards?: FakeShards; tls?: boolean } = {},
  ) {
    const { dir, config } = testConfig(o.options);
    this.#dir = dir;
    this.config = config;
    startAtZero(this.metrics, ANSWERED_VERBS);
    this.secureContext = loadSecureContext(config);
    this.shards = o.shards ?? new FakeShards();
    this.slabs = new SlabPool(o.slabs ?? 8, {
      waited: (seconds) => this.metrics.backPressureSeconds.inc(seconds),
    });
    this.shards.slabs = this.slabs;
    this.#tls = o.tls ?? false;
    this.#server = net.createServer({ allowHalfOpen: true }, (socket) => {
      const session = new Session(this.sessions.length + 1, this, socket);
      this.sessions.push(session);
      void session.start(this.#tls);
    });
  }

  mechanism(name: string): SaslServerMechanism | undefined {
    return name.toUpperCase() === 'PLAIN' ? plainSecret() : undefined;
  }

  get port(): number {
    return (this.#server.address() as net.AddressInfo).port;
  }

  async listen(): Promise<this> {
    await new Promise<void>((resolve) => this.#server.listen(0, '127.0.0.1', resolve));
    return this;
  }

  /** A connection that has read the greeting. */
  async connect(): Promise<CsyncWire> {
    const wire = await CsyncWire.connect(this.port, { tls: this.#tls });
    this.#wires.push(wire);
    return wire;
  }

  async login(): Promise<CsyncWire> {
    return (await this.connect()).login();
  }

  /** Refusals that were counted in series which were not there from the start, so that `increase()` does not see them. */
  async unexpectedRefusals(): Promise<string[]> {
    const fresh = createMetrics();
    startAtZero(fresh, ANSWERED_VERBS);
    const [counted, atStart] = await Promise.all([this.metrics, fresh].map(({ commands }) => commands.get()));
    const key = ({ verb, result }: { verb?: string | number; result?: string | number }) =>
      `${verb}: ${result}`;
    const known = new Set(atStart!.values.map(({ labels }) => key(labels)));
    return counted!.values
      .filter(({ labels }) => labels.verb !== 'imap probe' && !BELONG_TO_SYNCS.has(String(labels.result)))
      .map(({ labels }) => key(labels))
      .filter((one) => !known.has(one));
  }

  async close(): Promise<void> {
    for (const wire of this.#wires) wire.destroy();
    for (const session of this.sessions) session.transport.destroy();
    await Promise.all(this.sessions.map((session) => session.ended));
    await new Promise((resolve) => this.#server.close(resolve));
    rmSync(this.#dir, { recursive: true, force: true });
  }
}
