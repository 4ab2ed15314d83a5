'use strict';
// npm links a package's own "bin" entries only where it is installed as a dependency. In a checkout this
// makes the same links, so that `npx csync-backup` works there too, and that of the bundled Node, which npm 9 and 10
// remove again together with the package for the other kind of processor. Run by npm's "prepare".
const fs = require('node:fs');
const path = require('node:path');

const root = path.join(__dirname, '..', '..');
const { bin } = JSON.parse(fs.readFileSync(path.join(root, 'package.json'), 'utf8'));
const binDir = path.join(root, 'node_modules', '.bin');
fs.mkdirSync(binDir, { recursive: true });
const bundledNode = path.join('node_modules', `node-linux-${process.arch}`, 'bin', 'node');
for (const [name, target] of Object.entries({ ...bin, node: bundledNode })) {
  const file = path.join(root, target);
  if (target === bundledNode && !fs.existsSync(file)) continue;
  const link = path.join(binDir, name);
  fs.chmodSync(file, 0o755);
  fs.rmSync(link, { force: true });
  fs.symlinkSync(path.relative(binDir, file), link);
}
