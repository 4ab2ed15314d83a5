'use strict';
// Compiles src/ and workers/ into dist/, from scratch, and marks when: launch.cjs runs a build only if it is
// newer than the sources.
const { spawnSync } = require('node:child_process');
const fs = require('node:fs');
const path = require('node:path');

const root = path.join(__dirname, '..', '..');
const dist = path.join(root, 'dist');
const startedAt = new Date();
fs.rmSync(dist, { recursive: true, force: true });
const tsc = path.join(root, 'node_modules', '.bin', 'tsc');
const run = spawnSync(tsc, ['-p', 'tsconfig.build.json'], { cwd: root, stdio: 'inherit' });
if (run.error) throw run.error;
if (run.status === 0) {
  const stamp = path.join(dist, '.built');
  fs.writeFileSync(stamp, '');
  fs.utimesSync(stamp, startedAt, startedAt);
}
process.exit(run.status ?? 70);
