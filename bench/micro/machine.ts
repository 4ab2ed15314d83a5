/** Facts about the machine and what runs on it that results depend on. */
import { execFileSync, spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { availableParallelism, cpus, release, tmpdir, totalmem } from 'node:os';
import path from 'node:path';
import { loadDeflateEngine } from '../../src/platform/deflate.ts';
import { inflateEngine } from '../../src/platform/inflate.ts';
import { loadLibdeflate } from '../../src/platform/libdeflate.ts';
import { sha1Engines } from '../../src/platform/sha1.ts';

/** Instructions that change how fast hashing, compressing and copying are in relation to each other. */
const CPU_FLAGS = ['sha_ni', 'avx2', 'avx512f', 'vpclmulqdq', 'sha1', 'pmull'];

/** All values are text or numbers, so that they compare and print alike. */
export interface MachineFacts {
  cpu: string;
  cpuFlags: string;
  arch: string;
  cores: number;
  memoryGigabytes: number;
  kernel: string;
  node: string;
  deflate: string;
  inflate: string;
  sha1: string;
  /** Of the folder for temporary files, where the benchmarks write. */
  fileSystem: string;
}

const engines = await sha1Engines();

export type Fact = keyof MachineFacts;

export function machineFacts(): MachineFacts {
  const deflate = loadDeflateEngine('auto').name;
  return {
    cpu: [cpus()[0]?.model.trim() ?? 'unknown', ...generation()].join(', '),
    cpuFlags: cpuFlags(),
    arch: process.arch,
    cores: availableParallelism(),
    memoryGigabytes: Math.round(totalmem() / 2 ** 30),
    kernel: release(),
    node: process.version,
    deflate: deflate === 'isal' && loadLibdeflate() !== undefined ? 'isal+libdeflate' : deflate,
    inflate: inflateEngine().name,
    sha1: engines[0]?.name ?? 'none',
    fileSystem: fileSystem(tmpdir()),
  };
}

/** A virtual machine tells the same name for CPUs that are years apart. Empty where there are no such numbers. */
function generation(): string[] {
  const info = readFileSync('/proc/cpuinfo', 'utf8');
  return ['cpu family', 'model'].flatMap((name) => {
    const value = new RegExp(`^${name}\\s*:\\s*(\\d+)$`, 'm').exec(info)?.[1];
    return value === undefined ? [] : [`${name.replace('cpu ', '')} ${value}`];
  });
}

function cpuFlags(): string {
  const line = /^(?:flags|Features)\s*:(.*)$/m.exec(readFileSync('/proc/cpuinfo', 'utf8'))?.[1] ?? '';
  const all = new Set(line.trim().split(/\s+/));
  return CPU_FLAGS.filter((flag) => all.has(flag)).join(' ');
}

function fileSystem(folder: string): string {
  const { status, stdout } = spawnSync('stat', ['-f', '-c', '%T', folder], { encoding: 'utf8' });
  return status === 0 ? stdout.trim() : 'unknown';
}

/** Commit of the checkout, with `+` if files have changed since; `unknown` outside of one. */
export function commit(): string {
  const cwd = path.join(import.meta.dirname, '..', '..');
  try {
    const git = (...args: string[]) =>
      execFileSync('git', args, { cwd, encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] }).trim();
    const changed = git('status', '--porcelain', '--', 'src', 'workers', 'bench', 'package-lock.json');
    return git('rev-parse', '--short=10', 'HEAD') + (changed === '' ? '' : '+');
  } catch {
    return 'unknown';
  }
}
