/** Profiles as `node --cpu-prof` writes them (the inspector's Profiler.Profile), read into trees of self time. */
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

const ROOT = path.join(import.meta.dirname, '..', '..');

interface RawProfile {
  nodes: {
    id: number;
    callFrame: { functionName: string; url: string; lineNumber: number };
    children?: number[];
  }[];
  startTime: number;
  endTime: number;
  samples: number[];
  /** Microseconds before each sample. */
  timeDeltas: number[];
}

export interface Frame {
  /** Function, or `(garbage collector)` and the like. */
  name: string;
  /** `src/store/shard.ts:85`, `node:fs`, or empty for native code. */
  place: string;
  /** Microseconds in this function itself. */
  selfUs: number;
  children: Frame[];
}

export interface ThreadProfile {
  /** `main`, or the worker's file: `store`, `deflate`. Several of one kind are told apart by a number. */
  name: string;
  root: Frame;
  /** Microseconds in which it waited for events. */
  idleUs: number;
  totalUs: number;
}

const IDLE = '(idle)';
const SERVER = 'src/server/';
const WORKER = /\/workers\/([\w-]+)\.(?:ts|js)$/;

/** One thread for each file; without the launcher, which was the process before it became the server. */
export function readProfiles(files: readonly string[]): ThreadProfile[] {
  const threads = files.map(readProfile).filter(({ name, root }) => name !== 'main' || has(root, SERVER));
  const kinds = Map.groupBy(threads, ({ name }) => name);
  for (const same of kinds.values()) {
    if (same.length < 2) continue;
    for (const [at, thread] of same.entries()) thread.name += ` ${at + 1}`;
  }
  return threads.sort((a, b) => b.totalUs - b.idleUs - (a.totalUs - a.idleUs));
}

function readProfile(file: string): ThreadProfile {
  const raw = JSON.parse(readFileSync(file, 'utf8')) as RawProfile;
  const self = new Map<number, number>();
  for (const [at, id] of raw.samples.entries()) {
    // A sample tells what ran up to it; the clock may step back between threads.
    self.set(id, (self.get(id) ?? 0) + Math.max(0, raw.timeDeltas[at]!));
  }
  const frames = new Map(raw.nodes.map((node) => [node.id, frameOf(node, self.get(node.id) ?? 0)]));
  for (const { id, children } of raw.nodes) {
    frames.get(id)!.children = (children ?? []).map((child) => frames.get(child)!);
  }
  const root = frames.get(raw.nodes[0]!.id)!;
  const idleUs = root.children
    .filter(({ name }) => name === IDLE)
    .reduce((sum, { selfUs }) => sum + selfUs, 0);
  root.children = root.children.filter(({ name }) => name !== IDLE);
  const totalUs = [...self.values()].reduce((sum, us) => sum + us, 0);
  return { name: threadName(raw), root: merged(root), idleUs, totalUs };
}

function threadName({ nodes }: RawProfile): string {
  for (const { callFrame } of nodes) {
    const kind = WORKER.exec(callFrame.url)?.[1];
    if (kind !== undefined) return kind;
  }
  return 'main';
}

function frameOf(
  { callFrame: { functionName, url, lineNumber } }: RawProfile['nodes'][number],
  selfUs: number,
): Frame {
  return { name: functionName || '(anonymous)', place: placeOf(url, lineNumber), selfUs, children: [] };
}

/** What is built keeps the names of the sources, but not their lines. */
function placeOf(url: string, line: number): string {
  if (url === '') return '';
  if (!url.startsWith('file:') && !path.isAbsolute(url)) return url;
  const file = path.relative(ROOT, url.startsWith('file:') ? fileURLToPath(url) : url);
  const built = /^dist\/(.*)\.js$/.exec(file)?.[1];
  if (built !== undefined) return `${built}.ts`;
  const library = /node_modules\/((?:@[^/]+\/)?[^/]+)(?!.*node_modules)/.exec(file)?.[1];
  return library ?? `${file}:${line + 1}`;
}

/** V8 has a node for each place of a call; one for each function is what people look for. */
function merged(frame: Frame): Frame {
  const children = new Map<string, Frame>();
  for (const child of frame.children) {
    const key = `${child.name}\0${child.place}`;
    const same = children.get(key);
    if (same === undefined) children.set(key, { ...child, children: [...child.children] });
    else {
      same.selfUs += child.selfUs;
      same.children.push(...child.children);
    }
  }
  return { ...frame, children: [...children.values()].map(merged) };
}

/** Whether a function of these sources was seen. */
function has({ place, children }: Frame, folder: string): boolean {
  return place.startsWith(folder) || children.some((child) => has(child, folder));
}

export function totalUs(frame: Frame): number {
  return frame.children.reduce((sum, child) => sum + totalUs(child), frame.selfUs);
}
