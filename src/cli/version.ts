import { existsSync, readFileSync } from 'node:fs';
import path from 'node:path';

/** The version in package.json, which lies above the sources and above dist/ alike. */
export function programVersion(): string {
  for (let dir = import.meta.dirname; ; dir = path.dirname(dir)) {
    const file = path.join(dir, 'package.json');
    if (existsSync(file)) return (JSON.parse(readFileSync(file, 'utf8')) as { version: string }).version;
    if (dir === path.dirname(dir)) return 'unknown';
  }
}
