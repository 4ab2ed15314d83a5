import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import vm from 'node:vm';
import { afterAll, describe, expect, it } from 'vitest';
import { makePage } from '../../bench/profile/page.ts';
import { readProfiles, type ThreadProfile, totalUs } from '../../bench/profile/read.ts';
import { makeTables } from '../../bench/profile/tables.ts';

const ROOT = path.join(import.meta.dirname, '..', '..');
const folder = mkdtempSync(path.join(tmpdir(), 'csync-backup-profile-'));
afterAll(() => rmSync(folder, { recursive: true }));

type Node = [id: number, name: string, url: string, children: number[]];

/** As `node --cpu-prof` writes it; each sample took a millisecond. */
function profileFile(name: string, nodes: Node[], samples: number[]): string {
  const file = path.join(folder, name);
  const profile = {
    nodes: nodes.map(([id, functionName, url, children]) => ({
      id,
      callFrame: { functionName, url, lineNumber: 6 },
      children,
    })),
    startTime: 0,
    endTime: samples.length * 1000,
    samples,
    timeDeltas: samples.map(() => 1000),
  };
  writeFileSync(file, JSON.stringify(profile));
  return file;
}

const dist = `file://${ROOT}/dist/`;
const main = profileFile(
  'main',
  [
    [1, '(root)', '', [2, 3, 4, 8]],
    [2, '(idle)', '', []],
    [3, '(garbage collector)', '', []],
    [4, '#accept', `${dist}src/server/server.js`, [5, 6]],
    [5, 'push', `${dist}src/csync/decoder.js`, [7]],
    [6, 'push', `${dist}src/csync/decoder.js`, []],
    [7, 'writeBuffer', '', []],
    [8, '</script>', `file://${ROOT}/node_modules/pino/lib/x.js`, []],
  ],
  [2, 2, 2, 2, 2, 3, 4, 5, 5, 6, 7, 8],
);
const store = (name: string) =>
  profileFile(
    name,
    [
      [1, '(root)', '', [2]],
      [2, 'handle', `${dist}workers/store.js`, [3]],
      [3, 'hash', `${ROOT}/src/store/shard.ts`, []],
    ],
    [2, 3, 3],
  );
const launcher = profileFile(
  'launcher',
  [
    [1, '(root)', '', [2]],
    [2, 'launch', 'node:internal/main', []],
  ],
  [2],
);
const threads = readProfiles([main, store('store-1'), store('store-2'), launcher]);

describe('profiles', () => {
  it('name threads by their worker, and leave the launcher out', () => {
    expect(threads.map(({ name }) => name)).toEqual(['main', 'store 1', 'store 2']);
  });

  it('tell idle from busy', () => {
    const [first] = threads as [ThreadProfile];
    expect(first).toMatchObject({ idleUs: 5000, totalUs: 12_000 });
    expect(totalUs(first.root)).toBe(7000);
  });

  it('put calls of one function from one place of the tree together', () => {
    const accept = threads[0]!.root.children.find(({ name }) => name === '#accept')!;
    expect(accept.children).toHaveLength(1);
    expect(accept.children[0]).toMatchObject({ name: 'push', place: 'src/csync/decoder.ts', selfUs: 3000 });
    expect(accept.children[0]!.children[0]).toMatchObject({ name: 'writeBuffer', place: '', selfUs: 1000 });
  });

  it('are summed up by area, native code for its caller', () => {
    const { areas, functions } = makeTables(threads, 3);
    const seconds = Object.fromEntries(areas.map(({ area, seconds }) => [area, seconds]));
    expect(seconds['src/csync']).toEqual({ main: 0.004 });
    expect(seconds['src/store']).toEqual({ store: 0.004 });
    expect(seconds.workers).toEqual({ store: 0.002 });
    expect(seconds.pino).toEqual({ main: 0.001 });
    expect(seconds['garbage collection']).toEqual({ main: 0.001 });
    expect(functions).toHaveLength(3);
    expect(functions[0]).toMatchObject({ name: 'hash', place: 'src/store/shard.ts:7', thread: 'store' });
  });
});

describe('the page', () => {
  interface Box {
    textContent: string;
    style: { cssText: string };
    classes: Set<string>;
    onclick: () => void;
    onmouseenter: () => void;
  }

  /** The page's script with as much of a browser as it uses. */
  function open() {
    const html = makePage('a <title>', threads);
    const boxes: Box[] = [];
    const element = () => {
      const classes = new Set<string>();
      return {
        textContent: '',
        style: { cssText: '' },
        classes,
        classList: { add: (name: string) => classes.add(name) },
      };
    };
    const elements = Object.fromEntries(
      ['graph', 'told', 'share', 'search', 'reset'].map((id) => [id, { ...element(), value: '' } as never]),
    ) as Record<string, { value: string; textContent: string; oninput(): void; onclick(): void }>;
    Object.assign(elements.graph!, {
      clientWidth: 1000,
      append: (box: Box) => boxes.push(box),
      replaceChildren: () => boxes.splice(0),
    });
    const script = /<script>([\s\S]*)<\/script>/.exec(html)![1]!;
    const document = { getElementById: (id: string) => elements[id], createElement: element };
    vm.runInNewContext(script, { document, window: {} });
    return { html, boxes, elements, find: (name: string) => boxes.find((box) => box.textContent === name)! };
  }

  it('needs nothing else, and no name ends its script', () => {
    const { html } = open();
    expect(html).toContain('<title>a &lt;title></title>');
    expect(html).not.toMatch(/(?:src|href)=|https?:/);
    expect(html.match(/<\/script>/g)).toHaveLength(1);
  });

  it('shows all threads, as wide as they were busy', () => {
    const { boxes, find } = open();
    expect(boxes[0]!.style.cssText).toContain('width:1000px');
    const width = (name: string) => Number(/width:([\d.]+)px/.exec(find(name).style.cssText)![1]);
    expect(width('main')).toBeCloseTo((1000 * 7) / 13);
    expect(width('store 2')).toBeCloseTo((1000 * 3) / 13);
  });

  it('looks into a box, and back', () => {
    const { boxes, find, elements } = open();
    find('push').onclick();
    expect(find('push').style.cssText).toContain('width:1000px');
    expect(find('#accept').classes).toContain('above');
    expect(boxes.some(({ textContent }) => textContent === 'store 1')).toBe(false);
    elements.reset!.onclick();
    expect(find('store 1')).toBeDefined();
  });

  it('finds functions and files, and tells their share', () => {
    const { elements, boxes } = open();
    elements.search!.value = 'src/store';
    elements.search!.oninput();
    expect(elements.share!.textContent).toBe('4.0 ms, 30.8 % of what is shown');
    expect(boxes.filter(({ classes }) => classes.has('found'))).toHaveLength(2);
    elements.search!.value = '(';
    expect(() => elements.search!.oninput()).not.toThrow();
  });
});
