'use strict';
// Compiles src/ and workers/ into dist/, from scratch, and marks when: launch.cjs runs a build only if it is
// newer than the sources. With --if-possible it does nothing where the development tools are not installed.
const { spawnSync } = require('node:child_process');
const fs = require('node:fs');
const path = require('node:path');

const root = path.join(__dirname, '..', '..');
const dist = path.join(root, 'dist');
const startedAt = new Date();
const tsc = path.join(root, 'node_modules', '.bin', 'tsc');
if (process.argv.includes('--if-possible') && !fs.existsSync(tsc)) {
  process.stderr.write('csync-backup: installed without the compiler; the sources are run as they are\n');
  process.exit(0);
}
fs.rmSync(dist, { recursive: true, force: true });
const run = spawnSync(tsc, ['-p', 'tsconfig.build.json'], { cwd: root, stdio: 'inherit' });
if (run.error) throw run.error;
if (run.status === 0) {
  const stamp = path.join(dist, '.built');
  fs.writeFileSync(stamp, '');
  fs.utimesSync(stamp, startedAt, startedAt);
}
process.exit(run.status ?? 70);
