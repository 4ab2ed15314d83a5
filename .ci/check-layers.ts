/**
 * Fails when a file imports from a layer above its own. The order is docs/architecture.md's: imports go down
 * only, and workers/ are thin entry points over maintenance and what is below it.
 */
import { globSync, readFileSync } from 'node:fs';
import path from 'node:path';

const LAYERS = [
  'cli',
  'server',
  'restore',
  'maintenance',
  'store',
  'pipeline',
  'csync',
  'imap',
  'sasl',
  'config',
  'metrics',
  'platform',
];
const root = path.join(import.meta.dirname, '..');
const rank = (file: string): number => LAYERS.indexOf(file.split('/')[1] ?? '');
let failures = 0;

for (const file of globSync('{src,workers}/**/*.ts', { cwd: root }).sort()) {
  const text = readFileSync(path.join(root, file), 'utf8');
  for (const [, spec] of text.matchAll(/(?:from|import)\s*\(?\s*'(\.[^']+)'/g)) {
    const target = path.normalize(path.join(path.dirname(file), spec!));
    if (!target.startsWith('src/')) continue;
    const from = file.startsWith('workers/') ? LAYERS.indexOf('maintenance') : rank(file);
    if (rank(target) === -1 || (file.startsWith('src/') && from === -1)) {
      console.error(`${file}: ${target} is in no layer`);
      failures++;
    } else if (rank(target) < from) {
      console.error(`${file}: imports ${target}, a layer above its own`);
      failures++;
    }
  }
}
if (failures > 0) process.exit(1);
