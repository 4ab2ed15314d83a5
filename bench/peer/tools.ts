/**
 * Tools over one store: ours and Cyrus's read the very same files, in the same run. The store is what our server
 * makes of one user's mail, and Cyrus's configuration is added to its own.
 */
import { spawn } from 'node:child_process';
import {
  appendFileSync,
  chmodSync,
  chownSync,
  copyFileSync,
  mkdirSync,
  readdirSync,
  rmSync,
  statSync,
} from 'node:fs';
import path from 'node:path';
import { BackupError } from '../../src/platform/errors.ts';
import type { LoadProcess } from '../load/process.ts';
import { BIN, cyrusUser } from './cyrus.ts';
import { LAUNCH, startOurs } from './ours.ts';
import { MemoryWatch, treeCpuSeconds } from './process-tree.ts';
import type { Measured } from './scenarios.ts';

/** How often ours is run; the fastest counts, as it takes so little time that anything disturbs it. */
const OUR_RUNS = 3;
export const USER = 'big';

export interface ToolScenario {
  name: string;
  /** It changes the files: each run gets a copy, and how large that is afterwards is a figure. */
  changes?: boolean;
  /** Arguments of `csync-backup`, and of Cyrus's `ctl_backups`, for this data file. */
  ours(file: string): string[];
  peer(file: string): string[];
}

export const TOOLS: readonly ToolScenario[] = [
  { name: 'verify', ours: (file) => ['verify', '-f', file], peer: (file) => ['verify', '-f', file] },
  {
    name: 'reindex',
    changes: true,
    ours: (file) => ['reindex', '-f', file],
    peer: (file) => ['reindex', '-f', file],
  },
  {
    name: 'compact',
    changes: true,
    ours: (file) => ['compact', '--force', '-f', file],
    peer: (file) => ['-F', 'compact', '-f', file],
  },
];

/** A store with one large backup that both can read. */
export class ToolStore {
  readonly dir: string;
  readonly dataFile: string;
  readonly config: string;

  private constructor(dir: string) {
    this.dir = dir;
    this.config = path.join(dir, 'imapd.conf');
    const backups = path.join(dir, 'backup');
    const names = readdirSync(backups, { recursive: true, encoding: 'utf8' });
    this.dataFile = path.join(
      backups,
      names.find((name) => path.basename(name).startsWith(`${USER}_`) && !name.endsWith('.index'))!,
    );
  }

  /**
   * @param bytes of the data file, about
   * @param messageBytes of each message; mixed mail if absent
   */
  static async create(load: LoadProcess, bytes: number, messageBytes?: number): Promise<ToolStore> {
    const server = await startOurs({ keep: true });
    const dir = server.target.store;
    try {
      // Mixed mail is stored at 0.7 of its size.
      await load.run({
        kind: 'grow',
        target: server.target,
        userid: USER,
        bytes: bytes / 0.7,
        messageBytes,
      });
    } finally {
      await server.stop();
    }
    return new ToolStore(dir);
  }

  get megabytes(): number {
    return statSync(this.dataFile).size / 1e6;
  }

  async run(side: 'ours' | 'peer', tool: ToolScenario): Promise<Measured> {
    if (side === 'peer') this.shareWithCyrus();
    const runs: ToolRun[] = [];
    for (let i = 0; i < (side === 'ours' ? OUR_RUNS : 1); i++) {
      const file = tool.changes ? this.#copy(side) : this.dataFile;
      const run = side === 'ours' ? await this.#ours(tool, file) : await this.#peer(tool, file);
      runs.push(tool.changes ? { ...run, afterBytes: sizeOfBackup(file) } : run);
    }
    const best = runs.reduce((a, b) => (b.elapsedMs < a.elapsedMs ? b : a));
    const { megabytes } = this;
    return {
      jobs: {},
      figures: {
        megabytes,
        megabytesPerSecond: megabytes / (best.elapsedMs / 1e3),
        cpuSecondsPerGigabyte: best.cpuSeconds / (megabytes / 1e3),
        peakMegabytes: Math.max(...runs.map(({ peakBytes }) => peakBytes)) / 1e6,
        ...(best.afterBytes !== undefined && { megabytesAfter: best.afterBytes / 1e6 }),
      },
    };
  }

  remove(): void {
    rmSync(this.dir, { recursive: true, force: true });
  }

  /** A copy of the backup, instead of the one before. */
  #copy(side: 'ours' | 'peer'): string {
    const folder = path.join(this.dir, 'copy');
    rmSync(folder, { recursive: true, force: true });
    mkdirSync(folder);
    const file = path.join(folder, path.basename(this.dataFile));
    for (const suffix of ['', '.index']) copyFileSync(this.dataFile + suffix, file + suffix);
    if (side === 'peer') {
      const { uid, gid } = cyrusUser();
      for (const name of [folder, file, `${file}.index`]) chownSync(name, uid, gid);
    }
    return file;
  }

  #ours(tool: ToolScenario, file: string): Promise<ToolRun> {
    return runTool(process.execPath, [LAUNCH, ...tool.ours(file), '-C', this.config], {});
  }

  #peer(tool: ToolScenario, file: string): Promise<ToolRun> {
    const { uid, gid } = cyrusUser();
    return runTool(path.join(BIN, 'ctl_backups'), ['-C', this.config, ...tool.peer(file)], {
      uid,
      gid,
    });
  }

  #isShared = false;
  /** Cyrus's programs can read it from now on. @param more options of theirs */
  shareWithCyrus(more: Record<string, string> = {}): void {
    const added = Object.entries(more).map(([key, value]) => `${key}: ${value}\n`);
    appendFileSync(this.config, added.join(''));
    if (this.#isShared) return;
    this.#isShared = true;
    const owner = cyrusUser();
    const options: Record<string, string> = {
      defaultpartition: 'default',
      'partition-default': path.join(this.dir, 'spool'),
      backup_db: 'twoskip',
      backup_db_path: path.join(this.dir, 'conf', 'backups.db'),
    };
    for (const name of ['spool', 'conf/lock', 'conf/proc', 'conf/db', 'conf/socket']) {
      mkdirSync(path.join(this.dir, name), { recursive: true });
    }
    const lines = Object.entries(options).map(([key, value]) => `${key}: ${value}\n`);
    appendFileSync(this.config, lines.join(''));
    chmodSync(this.dir, 0o755);
    for (const name of ['', ...readdirSync(this.dir, { recursive: true, encoding: 'utf8' })]) {
      chownSync(path.join(this.dir, name), owner.uid, owner.gid);
    }
  }
}

interface ToolRun {
  elapsedMs: number;
  cpuSeconds: number;
  peakBytes: number;
  /** Of data file and index, where the tool changes them. */
  afterBytes?: number;
}

function sizeOfBackup(file: string): number {
  return statSync(file).size + statSync(`${file}.index`).size;
}

export async function runTool(
  program: string,
  args: string[],
  as: { uid?: number; gid?: number },
): Promise<ToolRun> {
  const cpuBefore = treeCpuSeconds(process.pid);
  const begin = performance.now();
  const child = spawn(program, args, { ...as, stdio: ['ignore', 'pipe', 'pipe'] });
  const memory = new MemoryWatch(child.pid!);
  const said: Buffer[] = [];
  child.stdout.on('data', (bytes: Buffer) => said.push(bytes));
  child.stderr.on('data', (bytes: Buffer) => said.push(bytes));
  const status = await new Promise<number | null>((resolve) => child.on('close', resolve));
  const elapsedMs = performance.now() - begin;
  const peakBytes = memory.stop();
  if (status !== 0) {
    throw new BackupError({
      code: 'UNAVAILABLE',
      tried: 'run',
      subject: `${program} ${args.join(' ')}`,
      reason: `it ended with status ${status}`,
      remedy: `Its last words:\n${Buffer.concat(said).toString('latin1').slice(-2000)}`,
    });
  }
  return { elapsedMs, cpuSeconds: treeCpuSeconds(process.pid) - cpuBefore, peakBytes };
}
