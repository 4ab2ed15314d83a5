import { readdirSync, readFileSync } from 'node:fs';

/** Linux counts CPU time in hundredths of a second here, whatever its own tick is (man 5 proc, sysconf). */
const TICKS_PER_SECOND = 100;
const SAMPLE_MS = 50;

interface ProcessStat {
  pid: number;
  parent: number;
  /** Own and that of ended children. */
  cpuSeconds: number;
}

/**
 * CPU-seconds of a process and all it started so far: those of the living, and of the dead through the
 * processes that waited for them.
 */
export function treeCpuSeconds(root: number): number {
  return tree(root).reduce((sum, { cpuSeconds }) => sum + cpuSeconds, 0);
}

/** Watches the resident memory of a process tree while a scenario runs. */
export class MemoryWatch {
  readonly #root: number;
  readonly #timer: NodeJS.Timeout;
  #peakBytes = 0;
  #peakOfRootBytes = 0;

  /** @param sampleMs more where there are so many processes that looking at them is work */
  constructor(root: number, sampleMs = SAMPLE_MS) {
    this.#root = root;
    this.#timer = setInterval(() => this.#sample(), sampleMs);
  }

  /** So far, as stop() gives it. */
  get peakBytes(): number {
    this.#sample();
    return this.#peakBytes;
  }

  /** Of the first process alone. */
  get peakOfRootBytes(): number {
    this.#sample();
    return this.#peakOfRootBytes;
  }

  /** Ends the watch: the largest sum of the peaks (VmHWM) of processes that lived at the same time. */
  stop(): number {
    clearInterval(this.#timer);
    this.#sample();
    return this.#peakBytes;
  }

  #sample(): void {
    const sum = tree(this.#root).reduce((bytes, { pid }) => bytes + peakResidentBytes(pid), 0);
    this.#peakBytes = Math.max(this.#peakBytes, sum);
    this.#peakOfRootBytes = Math.max(this.#peakOfRootBytes, peakResidentBytes(this.#root));
  }
}

function tree(root: number): ProcessStat[] {
  const children = new Map<number, ProcessStat[]>();
  let top: ProcessStat | undefined;
  for (const name of readdirSync('/proc')) {
    if (!/^\d+$/.test(name)) continue;
    const stat = readStat(Number(name));
    if (stat === undefined) continue;
    if (stat.pid === root) top = stat;
    const siblings = children.get(stat.parent);
    if (siblings === undefined) children.set(stat.parent, [stat]);
    else siblings.push(stat);
  }
  const found = top === undefined ? [] : [top];
  for (let at = 0; at < found.length; at++) found.push(...(children.get(found[at]!.pid) ?? []));
  return found;
}

/** Undefined for a process that has just ended. */
function readStat(pid: number): ProcessStat | undefined {
  const text = readProc(`/proc/${pid}/stat`);
  if (text === undefined) return undefined;
  // The name in parentheses may hold anything; the third field comes after its end.
  const fields = text.slice(text.lastIndexOf(')') + 2).split(' ');
  const ticks = fields.slice(11, 15).reduce((sum, field) => sum + Number(field), 0);
  return { pid, parent: Number(fields[1]), cpuSeconds: ticks / TICKS_PER_SECOND };
}

function peakResidentBytes(pid: number): number {
  const kilobytes = /^VmHWM:\s+(\d+) kB$/m.exec(readProc(`/proc/${pid}/status`) ?? '')?.[1];
  return Number(kilobytes ?? 0) * 1024;
}

function readProc(file: string): string | undefined {
  try {
    return readFileSync(file, 'utf8');
  } catch {
    return undefined;
  }
}
