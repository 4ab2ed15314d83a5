/** One HTML page with everything in it: a flame graph of all threads, to be searched and looked into. */
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { type Frame, type ThreadProfile, totalUs } from './read.ts';

/** `[name, place, self µs, children]`, as small as JSON gets. */
type Packed = [name: string, place: string, selfUs: number, children: Packed[]];

/** Less of a thread than this is not drawn. */
const MIN_SHARE = 0.0002;

/** @param title as plain text */
export function makePage(title: string, threads: readonly ThreadProfile[]): string {
  const all: Packed = [
    'all threads',
    '',
    0,
    threads.map((thread): Packed => {
      const least = totalUs(thread.root) * MIN_SHARE;
      const { children } = thread.root;
      const idle = `idle ${Math.round((100 * thread.idleUs) / thread.totalUs)} %`;
      return [thread.name, idle, thread.root.selfUs, children.map((child) => packed(child, least))];
    }),
  ];
  const template = readFileSync(path.join(import.meta.dirname, 'page.html'), 'utf8');
  // `<` could end the script element in which it stands.
  const data = JSON.stringify(all).replaceAll('<', '\\u003c');
  return template.replaceAll('{{title}}', () => escapeHtml(title)).replace('"{{data}}"', () => data);
}

function packed(frame: Frame, least: number): Packed {
  const drawn = frame.children.filter((child) => totalUs(child) >= least);
  const small = frame.children.filter((child) => !drawn.includes(child));
  const selfUs = frame.selfUs + small.reduce((sum, child) => sum + totalUs(child), 0);
  return [frame.name, frame.place, Math.round(selfUs), drawn.map((child) => packed(child, least))];
}

function escapeHtml(text: string): string {
  return text.replaceAll('&', '&amp;').replaceAll('<', '&lt;');
}
