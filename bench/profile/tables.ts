/** Self time by thread and area, and by function: what the tables in docs/performance.md are made from. */
import type { Frame, ThreadProfile } from './read.ts';

/** Microseconds by key. */
type Sums = Map<string, number>;

const NATIVE = 'native';
const OTHER = 'other';

export interface Tables {
  /** Seconds by area and thread; areas are folders of the sources, libraries, Node, garbage collection. */
  areas: { area: string; seconds: Record<string, number>; sum: number }[];
  functions: { name: string; place: string; thread: string; seconds: number }[];
}

export function makeTables(threads: readonly ThreadProfile[], mostFunctions: number): Tables {
  const areas = new Map<string, Sums>();
  const functions = new Map<string, Tables['functions'][number]>();
  for (const { name, root } of threads) {
    const thread = kindOf(name);
    walk(root, OTHER, (frame, area) => {
      const sums = areas.get(area) ?? new Map<string, number>();
      areas.set(area, sums);
      sums.set(thread, (sums.get(thread) ?? 0) + frame.selfUs / 1e6);
      const place = frame.place === '' ? `${NATIVE}, in ${area}` : frame.place;
      const key = `${thread}\0${frame.name}\0${place}`;
      const known = functions.get(key) ?? { name: frame.name, place, thread, seconds: 0 };
      known.seconds += frame.selfUs / 1e6;
      functions.set(key, known);
    });
  }
  return {
    areas: [...areas]
      .map(([area, sums]) => ({
        area,
        seconds: Object.fromEntries(sums),
        sum: [...sums.values()].reduce((a, b) => a + b, 0),
      }))
      .sort((a, b) => b.sum - a.sum),
    functions: [...functions.values()].sort((a, b) => b.seconds - a.seconds).slice(0, mostFunctions),
  };
}

/** `store 2` is a store thread. */
export function kindOf(thread: string): string {
  return thread.replace(/ \d+$/, '');
}

function walk(frame: Frame, above: string, visit: (frame: Frame, area: string) => void): void {
  const area = areaOf(frame, above);
  if (frame.selfUs > 0) visit(frame, area);
  for (const child of frame.children) walk(child, area, visit);
}

/** Native code and Node's own work for whoever called it. */
function areaOf({ name, place }: Frame, above: string): string {
  if (name === '(garbage collector)') return 'garbage collection';
  if (name === '(program)') return 'V8 and the kernel, outside of JavaScript';
  if (place === '' || place.startsWith('node:')) return above === OTHER && place !== '' ? 'Node' : above;
  const file = /^((?:src|workers|bench)\/.*)\/[^/]+$/.exec(place)?.[1];
  if (file !== undefined) return file;
  return place.startsWith('workers/') ? 'workers' : place.replace(/:\d+$/, '');
}
