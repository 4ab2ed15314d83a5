'use strict';
// npm links a package's own "bin" entries only where it is installed as a dependency. In a checkout this
// makes the same links, so that `npx csync-backup` works there too. Run by npm's "prepare".
const fs = require('node:fs');
const path = require('node:path');

const root = path.join(__dirname, '..', '..');
const { bin } = JSON.parse(fs.readFileSync(path.join(root, 'package.json'), 'utf8'));
const binDir = path.join(root, 'node_modules', '.bin');
fs.mkdirSync(binDir, { recursive: true });
for (const [name, target] of Object.entries(bin)) {
  const file = path.join(root, target);
  const link = path.join(binDir, name);
  fs.chmodSync(file, 0o755);
  fs.rmSync(link, { force: true });
  fs.symlinkSync(path.relative(binDir, file), link);
}
