import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { tryLock, unlock } from '../../src/platform/file-lock.ts';
import { Catalog } from '../../src/store/catalog.ts';

let dir: string;
let file: string;
const catalogs: Catalog[] = [];
const children: ChildProcess[] = [];

beforeEach(() => {
  dir = fs.mkdtempSync(path.join(os.tmpdir(), 'catalog-'));
  file = path.join(dir, 'conf', 'backups.db');
});
afterEach(() => {
  for (const catalog of catalogs.splice(0)) catalog.close();
  for (const child of children.splice(0)) child.kill('SIGKILL');
  fs.rmSync(dir, { recursive: true });
});

function open(): Catalog {
  const catalog = new Catalog(file);
  catalogs.push(catalog);
  return catalog;
}

describe('Catalog', () => {
  test('a missing file is empty, and reading creates nothing', () => {
    const catalog = open();
    expect(catalog.get('anne')).toBeUndefined();
    expect([...catalog.entries()]).toEqual([]);
    catalog.check();
    expect(fs.readdirSync(dir)).toEqual([]);
  });

  test('the first change creates the file and its folder, for the owner only', () => {
    open().put('anne', '/backup/a/anne_AAAAAA');
    expect(fs.statSync(file).mode & 0o777).toBe(0o600);
    expect(fs.statSync(path.dirname(file)).mode & 0o777).toBe(0o700);
    expect(open().get('anne')).toBe('/backup/a/anne_AAAAAA');
  });

  test('is a map for several that use it in turn', () => {
    const userid = fc.constantFrom('anne', 'berta', 'carla', '%SHARED', 'd.e', 'f@example.org');
    const step = fc.oneof(
      fc.record({ op: fc.constant('put' as const), userid, to: fc.string({ maxLength: 30 }) }),
      fc.record({ op: fc.constant('delete' as const), userid, to: fc.constant('') }),
      fc.record({ op: fc.constant('rename' as const), userid, to: userid }),
    );
    fc.assert(
      fc.property(fc.array(fc.tuple(step, fc.nat(2)), { maxLength: 12 }), (steps) => {
        fs.rmSync(file, { force: true });
        const users = [open(), open(), open()];
        const model = new Map<string, string>();
        for (const [{ op, userid: name, to }, who] of steps) {
          const catalog = users[who]!;
          if (op === 'put') {
            catalog.put(name, `/ü/${to}`);
            model.set(name, `/ü/${to}`);
          } else if (op === 'delete') {
            catalog.delete(name);
            model.delete(name);
          } else if (model.has(name) && model.has(to) && name !== to) {
            expect(() => catalog.rename(name, to)).toThrowError(
              expect.objectContaining({ code: 'BAD_PARAMETERS' }) as Error,
            );
          } else if (model.has(name)) {
            catalog.rename(name, to);
            const moved = model.get(name)!;
            model.delete(name);
            model.set(to, moved);
          } else {
            expect(() => catalog.rename(name, to)).toThrowError(
              expect.objectContaining({ code: 'NOT_FOUND' }) as Error,
            );
          }
          for (const each of users) {
            expect(each.get(name)).toBe(model.get(name));
            expect(each.get(to || 'nobody')).toBe(model.get(to));
          }
        }
        expect(new Map(users[0]!.entries())).toEqual(model);
        users[1]!.check();
      }),
      { numRuns: 15 },
    );
  });

  test('userids are bytes: none is refused but the empty one, and no two are mixed up', () => {
    const catalog = open();
    const odd = ['\xff', '\0', 'a/b', '\xc3\xbc', '\xfc', ' '];
    for (const [i, userid] of odd.entries()) catalog.put(userid, `/${i}`);
    expect(odd.map((userid) => catalog.get(userid))).toEqual(['/0', '/1', '/2', '/3', '/4', '/5']);
    expect([...catalog.entries()].map(([userid]) => userid)).toEqual([...odd].sort());
    for (const userid of ['', 'Ł']) {
      expect(() => catalog.get(userid)).toThrowError(
        expect.objectContaining({ code: 'BAD_PARAMETERS' }) as Error,
      );
    }
  });

  test('is rewritten when most of it is of the past, and others go on with the new file', () => {
    const [one, other] = [open(), open()];
    one.put('other', '/other');
    expect(other.get('other')).toBe('/other');
    fs.chmodSync(file, 0o640);
    const inode = fs.statSync(file).ino;
    let longest = 0;
    for (let i = 0; i < 300; i++) {
      one.put(`user${i % 10}`, `/backup/${i}`);
      longest = Math.max(longest, fs.statSync(file).size);
    }
    expect(fs.statSync(file).ino).not.toBe(inode);
    expect(fs.statSync(file).mode & 0o777).toBe(0o640);
    expect(longest).toBeLessThan(18_000);
    expect(one.checkpointFailure).toBeUndefined();
    expect(fs.readdirSync(path.dirname(file))).toEqual(['backups.db']);
    for (const catalog of [one, other]) {
      expect(catalog.get('other')).toBe('/other');
      expect(catalog.get('user9')).toBe('/backup/299');
      expect([...catalog.entries()]).toHaveLength(11);
      catalog.check();
    }
    other.put('more', '/more');
    expect(one.get('more')).toBe('/more');
  });

  test('lists more than it reads under one lock, also while others change it', () => {
    const [one, other] = [open(), open()];
    for (let i = 0; i < 400; i++) one.put(`user${String(i).padStart(3, '0')}`, `/${i}`);
    const seen: string[] = [];
    for (const [userid] of one.entries()) {
      seen.push(userid);
      if (userid === 'user100') {
        other.delete('user050');
        other.delete('user390');
        other.delete('user255');
        other.put('user255', '/new');
      }
    }
    expect(seen).toEqual([...new Set(seen)].sort());
    expect(seen).toHaveLength(399);
  });

  test('a file that was removed or replaced behind its back is seen', () => {
    const catalog = open();
    catalog.put('anne', '/1');
    fs.rmSync(file);
    expect(catalog.get('anne')).toBeUndefined();
    catalog.put('berta', '/2');
    expect([...open().entries()]).toEqual([['berta', '/2']]);
  });

  test('what a killed writer left is undone by the next reader', () => {
    const catalog = open();
    catalog.put('anne', '/1');
    const committed = fs.readFileSync(file);
    catalog.put('berta', '/2');
    // The header of before with everything behind it: the last step of the commit did not reach the disk.
    const torn = fs.readFileSync(file);
    committed.copy(torn, 0, 0, 64);
    fs.writeFileSync(file, torn);
    expect([...catalog.entries()]).toEqual([['anne', '/1']]);
    expect(fs.statSync(file).size).toBe(committed.length);
    catalog.check();
  });

  test('damage is an error that names the file, and is never taken for an empty catalog', () => {
    const catalog = open();
    catalog.put('anne', '/1');
    const bytes = fs.readFileSync(file);
    bytes[70]! ^= 1;
    fs.writeFileSync(file, bytes);
    const corrupt = expect.objectContaining({ code: 'CATALOG_CORRUPT', subject: file }) as Error;
    expect(() => catalog.get('anne')).toThrowError(corrupt);
    expect(() => catalog.put('berta', '/2')).toThrowError(corrupt);
    expect(() => [...catalog.entries()]).toThrowError(corrupt);
    fs.writeFileSync(file, 'not a catalog');
    expect(() => catalog.get('anne')).toThrowError(corrupt);
  });

  test('a failed system call is an error of its own kind', () => {
    fs.writeFileSync(path.join(dir, 'conf'), '');
    expect(() => open().put('anne', '/1')).toThrowError(
      expect.objectContaining({ code: 'BAD_PARAMETERS' }) as Error,
    );
  });
});

/** A descriptor of the file that has this name, locked: a checkpoint puts another one in its place. */
async function lockedNow(file: string): Promise<number> {
  for (;;) {
    const fd = fs.openSync(file, 'r+');
    while (!tryLock(fd, 'exclusive')) await new Promise((resolve) => setTimeout(resolve, 1));
    if (fs.fstatSync(fd).ino === fs.statSync(file).ino) return fd;
    fs.closeSync(fd);
  }
}

describe('several processes', () => {
  const writer = `
    import fs from 'node:fs';
    import { Catalog } from ${JSON.stringify(path.resolve(import.meta.dirname, '../../src/store/catalog.ts'))};
    const [file, name, progress] = process.argv.slice(1);
    const catalog = new Catalog(file);
    for (let i = 0; ; i++) {
      catalog.put(name + (i % 7), '/' + i);
      fs.appendFileSync(progress, i + '\\n');
    }`;

  /** Puts entries without end; `last` is the number of the last one that put() returned for, or -1. */
  function start(name: string): { child: ChildProcess; last: () => number } {
    const progress = path.join(dir, `progress-${name}`);
    fs.writeFileSync(progress, '');
    const child = spawn(process.execPath, ['--input-type=module', '-e', writer, file, name, progress], {
      stdio: ['ignore', 'inherit', 'inherit'],
    });
    children.push(child);
    return { child, last: () => Number(fs.readFileSync(progress, 'latin1').split('\n').at(-2) ?? -1) };
  }

  test('write at the same time, are killed, and lose nothing that they were told is done', async () => {
    const writers = ['a', 'b', 'c'].map(start);
    const reader = open();
    while (writers.some(({ last }) => last() < 10)) {
      reader.check();
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
    for (const { child } of writers) {
      child.kill('SIGKILL');
      await once(child, 'exit');
    }
    reader.check();
    const entries = new Map(reader.entries());
    expect(entries.size).toBe(21);
    writers.forEach(({ last }, i) => {
      const name = 'abc'[i]!;
      for (let at = last(); at > last() - 7; at--) {
        const stored = Number(entries.get(name + (at % 7))!.slice(1));
        // At most one more was written than was said.
        expect([at, last() + 1]).toContain(stored);
      }
    });
  });

  test('wait for each other', async () => {
    const catalog = open();
    catalog.put('anne', '/1');
    const { child, last } = start('w');
    while (last() < 1) await new Promise((resolve) => setTimeout(resolve, 5));
    const fd = await lockedNow(file);
    const before = fs.readFileSync(file);
    await new Promise((resolve) => setTimeout(resolve, 100));
    expect(fs.readFileSync(file)).toEqual(before);
    const stopped = last();
    unlock(fd);
    fs.closeSync(fd);
    while (last() <= stopped + 1) await new Promise((resolve) => setTimeout(resolve, 5));
    child.kill('SIGKILL');
    await once(child, 'exit');
    catalog.check();
  });
});
