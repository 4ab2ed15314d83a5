/** What `npm ci` may count on: a machine with Node and npm, and no compiler, Python or place to download from. */
import { existsSync, readFileSync, realpathSync } from 'node:fs';
import path from 'node:path';
import { describe, expect, test } from 'vitest';

const ROOT = path.join(import.meta.dirname, '..', '..');

interface LockedPackage {
  gypfile?: boolean;
  hasInstallScript?: boolean;
}

const lock = JSON.parse(readFileSync(path.join(ROOT, 'package-lock.json'), 'utf8')) as {
  packages: Record<string, LockedPackage>;
};

describe('npm ci', () => {
  // npm runs node-gyp where there is a binding.gyp. That a package.json forbids it, it overlooks when it goes by a lockfile.
  test('compiles nothing: every package with a binding.gyp says so in the lockfile, too', () => {
    const native = Object.entries(lock.packages).filter(
      ([place]) => place !== '' && existsSync(path.join(ROOT, place, 'binding.gyp')),
    );
    expect(native.map(([place]) => place)).toContain('node_modules/better-sqlite3');
    expect(native.filter(([, { gypfile }]) => gypfile !== false).map(([place]) => place)).toEqual([]);
    expect(native.filter(([place]) => existsSync(path.join(ROOT, place, 'build')))).toEqual([]);
  });

  test('runs no script of a package but that of koffi, which finds its library ready-made', () => {
    const scripted = Object.entries(lock.packages).filter(([, { hasInstallScript }]) => hasInstallScript);
    expect(scripted.map(([place]) => place)).toEqual(['node_modules/koffi']);
  });

  // npm 9 and 10 remove this link with the package for the other kind of processor; "prepare" makes it again.
  test('leaves the bundled Node as the first that npm run finds', () => {
    const bundled = path.join(ROOT, 'node_modules', `node-linux-${process.arch}`, 'bin', 'node');
    expect(realpathSync(path.join(ROOT, 'node_modules', '.bin', 'node'))).toBe(realpathSync(bundled));
  });
});
