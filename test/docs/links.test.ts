import { existsSync, globSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { expect, test } from 'vitest';
import { anchors } from './anchors.ts';

const root = path.join(import.meta.dirname, '../..');
const pages = ['README.md', 'CHANGELOG.md', ...globSync('docs/*.md', { cwd: root })];
const read = (page: string): string => readFileSync(path.join(root, page), 'utf8');

test.each(pages)('%s links to what exists', (page) => {
  const broken: string[] = [];
  const prose = read(page).replaceAll(/^```[\s\S]*?^```/gm, '');
  for (const [, link = ''] of prose.matchAll(/\]\(([^)\s]+)\)/g)) {
    if (/^https?:/.test(link)) continue;
    const [file = '', anchor] = link.split('#');
    const target = file === '' ? page : path.join(path.dirname(page), file);
    if (!existsSync(path.join(root, target))) broken.push(link);
    else if (anchor !== undefined && !anchors(read(target)).has(anchor)) broken.push(link);
  }
  expect(broken).toEqual([]);
});
